"""FLAME 2017/2020/2023 (.pkl or npz export), with whatever lies beside it: landmarks, masks, UVs.

Metres, +y up, +z out of the face, +x to the subject's left already; the origin moves between the
ear canals. Joints, skinning weights and pose correctives are FLAME's own:

  v = LBS(template + B (shape, expression) + P vec(R_neck - I, R_jaw - I, R_eyes - I))

with joints regressed from the shaped vertices, expressions included. Our root turns about the
canonical origin, FLAME's about its root joint: `flame_pose` converts.

Source: Li et al., Learning a model of facial shape and expression from 4D scans (2017).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.geometry import axis_angle_to_matrix
from headworks.headfiles import HeadFileError
from headworks.heads.base import HeadModel, HeadPose
from headworks.heads.importers.finish import Foreign
from headworks.heads.importers.landmarks import Marks, read_landmarks
from headworks.heads.importers.unpickle import read_pickle

LICENCE = (
    "FLAME: Max Planck Society, research and non-commercial use only unless you hold another "
    "licence (flame.is.tue.mpg.de, modellicense); the 2023 release may be under CC-BY-4.0. "
    "This converted copy is bound by the same terms and must not be passed on"
)
_EXPRESSIONS = 100
"""FLAME's last shape columns are expressions: 300 + 100 in the official files."""

_JOINTS = 5
_PARENTS = (0, 1, 1, 1)
_MASKS = {
    "scalp": ("scalp",), "neck": ("neck", "boundary"), "ears": ("left_ear", "right_ear"),
    "eyes": ("left_eyeball", "right_eyeball"), "lips": ("lips",),
}  # fmt: skip
_NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "inner": ("flame_static_embedding.pkl", "flame_static_embedding_68.pkl"),
    "jaw": ("flame_dynamic_embedding.npy",),
    "all": ("landmark_embedding.npy", "landmark_embedding_with_eyes.npy"),
    "masks": ("FLAME_masks.pkl",),
    "uv": ("head_template_mesh.obj", "head_template.obj", "FLAME_texture.npz"),
    "lid_left": ("l_eyelid.npy",),
    "lid_right": ("r_eyelid.npy",),
}
"""Files that are looked for beside the model and one folder up."""


def read_flame(
    path: Path, landmarks: Path | None = None, identity: int = 0, expressions: int = 0
) -> tuple[Foreign, list[Path]]:
    """Read a FLAME model.

    Args:
        path: the model, .pkl or .npz, or a folder that holds exactly one.
        landmarks: a landmark file, instead of what lies beside the model.
        identity, expressions: how many modes to keep; 0 keeps all.

    Returns:
        The model, and all files that were read.

    Raises:
        HeadFileError: the file is none of FLAME's, or names anything but arrays.
    """
    path = _model_file(path)
    data = _arrays(path)
    used = [path]
    template = data["v_template"]
    count = len(template)
    faces = data["f"]
    shapes = data["shapedirs"].transpose(2, 0, 1)
    split = len(shapes) - _EXPRESSIONS
    regressor = data["J_regressor"]
    joints = regressor @ template
    by_shape = np.einsum("jv,kvc->kjc", regressor, shapes)
    weights = data["weights"]
    correctives = data["posedirs"].transpose(2, 0, 1)
    if joints[3, 0] < joints[4, 0]:  # ours lists the subject's left eye first
        swap = [0, 1, 2, 4, 3]
        joints, by_shape, weights = joints[swap], by_shape[:, swap], weights[:, swap]
        correctives = correctives[[*range(18), *range(27, 36), *range(18, 27)]]
    keep_id = slice(0, min(identity or split, split))
    keep_expr = slice(split, split + min(expressions or _EXPRESSIONS, _EXPRESSIONS))
    names = [f"expression{k:03d}" for k in range(keep_expr.stop - split)]
    expression, joint_expression = shapes[keep_expr], by_shape[keep_expr]
    signed = [True] * len(names)
    for name, what in (("eyeBlinkLeft", "lid_left"), ("eyeBlinkRight", "lid_right")):
        lid = _beside(path, what)
        if lid is not None:
            shape = np.load(lid, allow_pickle=False).astype(np.float64).reshape(-1, 3)
            if len(shape) != count:
                raise HeadFileError(f"{lid}: {len(shape)} vertices, the model has {count}")
            used.append(lid)
            names.append(name)
            signed.append(False)
            expression = np.concatenate([expression, shape[None]])
            # Eyelid shapes of public trackers move the skin after the joints are placed.
            joint_expression = np.concatenate([joint_expression, np.zeros((1, _JOINTS, 3))])
    marks, note = _landmarks(path, landmarks, faces, used)
    uvs, faces_uv = _uvs(path, faces, used)
    return (
        Foreign(
            kind="flame",
            vertices=template,
            faces=faces,
            identity=shapes[keep_id],
            expression=expression,
            expression_names=tuple(names),
            signed=tuple(signed),
            marks=marks,
            mark_note=note,
            uvs=uvs,
            faces_uv=faces_uv,
            joints=joints,
            joint_identity=by_shape[keep_id],
            joint_expression=joint_expression,
            skin_weights=weights / weights.sum(1, keepdims=True),
            pose_basis=correctives,
            regions=_masks(path, count, used),
        ),
        used,
    )


def flame_pose(
    head: HeadModel, identity: Tensor, expression: Tensor, pose: HeadPose, origin: Tensor
) -> HeadPose:
    """FLAME's pose parameters as ours: only the translation differs.

    Args:
        head: an imported FLAME. identity: [B, Ki]. expression: [B, Ke].
        pose: FLAME's rotation (about its root joint), translation, neck, jaw and eyes.
        origin: [3], `HeadRecord.origin` of the import.

    Returns:
        The pose that puts our vertices where FLAME puts its own.
    """
    root = head.joints[0] + origin + torch.einsum("bk,kc->bc", identity, head.joint_identity[:, 0])
    if head.joint_expression is not None:
        root = root + torch.einsum("bk,kc->bc", expression, head.joint_expression[:, 0])
    turn = axis_angle_to_matrix(pose.rotation)
    # R (x + origin - root) + root + t = R x + [root + t - R (root - origin)]
    shifted = root + pose.translation - torch.einsum("bij,bj->bi", turn, root - origin)
    return replace(pose, translation=shifted)


def _model_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [
        p
        for p in sorted([*path.glob("*.pkl"), *path.glob("*.npz")])
        if "embedding" not in p.name and "mask" not in p.name.lower() and "texture" not in p.name
    ]
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise HeadFileError(f"{path}: expected one FLAME model (.pkl or .npz), found {names}")
    return found[0]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The model's arrays, of checked shapes, float64 (faces int64)."""
    if path.suffix.lower() == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                data: Any = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise HeadFileError(f"{path}: not a readable npz of plain arrays ({error})") from None
    else:
        data = read_pickle(path)
    if not isinstance(data, Mapping):
        raise HeadFileError(f"{path}: expected a dictionary of arrays, got {type(data).__name__}")
    wanted = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
    missing = [name for name in wanted if name not in data]
    if missing:
        raise HeadFileError(f"{path}: no FLAME model: it has no {', '.join(missing)}")
    out: dict[str, NDArray[Any]] = {}
    try:
        for name in wanted:
            kind = np.int64 if name in ("f", "kintree_table") else np.float64
            out[name] = np.ascontiguousarray(np.asarray(data[name]).astype(kind))
    except (TypeError, ValueError) as error:
        raise HeadFileError(f"{path}: {name} is no array of numbers ({error})") from None
    count = len(out["v_template"])
    if out["posedirs"].shape == (36, 3 * count):
        out["posedirs"] = np.ascontiguousarray(
            out["posedirs"].reshape(36, count, 3).transpose(1, 2, 0)
        )
    modes = out["shapedirs"].shape[-1]
    shapes = {
        "v_template": (count, 3), "shapedirs": (count, 3, modes), "posedirs": (count, 3, 36),
        "J_regressor": (_JOINTS, count), "weights": (count, _JOINTS), "f": (len(out["f"]), 3),
    }  # fmt: skip
    for name, shape in shapes.items():
        if out[name].shape != shape:
            raise HeadFileError(f"{path}: {name} is {out[name].shape}, expected {shape}")
        if not np.isfinite(out[name]).all():
            raise HeadFileError(f"{path}: {name} holds values that are no numbers")
    if modes <= _EXPRESSIONS:
        raise HeadFileError(
            f"{path}: {modes} shape columns; expected identity and then {_EXPRESSIONS} expressions"
        )
    if not 0 <= out["f"].min() <= out["f"].max() < count:
        raise HeadFileError(f"{path}: f names vertices that are not there")
    if tuple(out["kintree_table"][0, 1:].tolist()) != _PARENTS:
        raise HeadFileError(
            f"{path}: joints with parents {out['kintree_table'][0, 1:].tolist()}; FLAME's are "
            "root, neck, jaw and two eyes"
        )
    return out


def _beside(path: Path, what: str) -> Path | None:
    for folder in (path.parent, path.parent.parent):
        for name in _NEIGHBOURS[what]:
            if (folder / name).is_file():
                return folder / name
    return None


def _landmarks(
    path: Path, given: Path | None, faces: NDArray[np.int64], used: list[Path]
) -> tuple[Marks, str]:
    marks: Marks = {}
    names = []
    order = [given] if given is not None else [_beside(path, w) for w in ("jaw", "inner", "all")]
    for file in order:
        if file is not None:
            marks |= read_landmarks(file, faces)
            used.append(file)
            names.append(file.name)
    return marks, f"from {', '.join(names)}" if names else "no index file beside the model"


def _masks(path: Path, count: int, used: list[Path]) -> dict[str, NDArray[np.bool_]]:
    file = _beside(path, "masks")
    if file is None:
        return {}
    masks = read_pickle(file)
    if not isinstance(masks, Mapping):
        raise HeadFileError(f"{file}: expected vertex lists by name")
    used.append(file)
    out: dict[str, NDArray[np.bool_]] = {}
    for region, names in _MASKS.items():
        ids = [np.asarray(masks[n]).reshape(-1).astype(np.int64) for n in names if n in masks]
        if not ids:
            continue
        members = np.concatenate(ids)
        if len(members) and not 0 <= members.min() <= members.max() < count:
            raise HeadFileError(f"{file}: {region} names vertices that the model does not have")
        out[region] = np.isin(np.arange(count), members)
    return out


def _uvs(
    path: Path, faces: NDArray[np.int64], used: list[Path]
) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None]:
    """Texture coordinates of FLAME's template mesh, whose triangles are the model's."""
    file = _beside(path, "uv")
    if file is None:
        return None, None
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as archive:
            if "vt" not in archive.files or "ft" not in archive.files:
                return None, None
            uvs, own = archive["vt"], archive["ft"].astype(np.int64)
            same = len(own) == len(faces)
    else:
        from headworks.heads.importers.obj import read_obj

        mesh = read_obj(file)
        uvs, own = mesh.uvs, mesh.triangles(mesh.polys_uv)
        same = np.array_equal(mesh.triangles(mesh.polys), faces)
    if not same:
        raise HeadFileError(f"{file}: its triangles are not those of {path.name}; remove it")
    if not 0 <= own.min() <= own.max() < len(uvs):
        raise HeadFileError(f"{file}: corners without texture coordinates")
    used.append(file)
    return np.clip(uvs, 0, 1).astype(np.float32), own
