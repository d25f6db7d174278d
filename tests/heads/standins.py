"""Small files in the layouts of FLAME and the Basel Face Model, made of the procedural head."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy import sparse

from headworks.heads import HeadModel, load_head
from headworks.heads.base import JOINTS

SHIFT = np.array([0.0, -0.021, 0.043])
"""Where our origin lies in the stand-ins' axes, metres."""

IDENTITIES = 5
EXPRESSIONS = (
    "browInnerUp", "mouthSmileLeft", "mouthSmileRight", "mouthPucker", "mouthFunnel",
    "noseSneerLeft",
)  # fmt: skip
"""What the first of the FLAME stand-in's expression columns show; the others move nothing."""


class Ch:
    """What chumpy's wrapper looks like in a pickle: an array under the name x."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def __getstate__(self) -> dict[str, Any]:
        return {"x": self.x, "_depends_on_deps": {}, "_dirty_vars": (), "_itr": None}


@contextmanager
def chumpy_importable() -> Iterator[None]:
    """Inside, pickles can name `chumpy.ch.Ch`; outside there is no such module."""
    package, module = ModuleType("chumpy"), ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    was = Ch.__module__
    Ch.__module__ = "chumpy.ch"
    sys.modules.update({"chumpy": package, "chumpy.ch": module})
    try:
        yield
    finally:
        Ch.__module__ = was
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


@lru_cache(maxsize=1)
def somebody() -> HeadModel:
    """The procedural head with another mean: a person of its own, 3 % larger."""
    head = load_head("procedural")
    rng = torch.Generator().manual_seed(3)
    codes = torch.randn(1, len(head.identity_basis), generator=rng)
    codes[:, 40:] *= 0.5
    rest = head.rest_vertices(codes, torch.zeros(1, len(head.expression_names)))[0]
    moved = torch.einsum("k,kjc->jc", codes[0], head.joint_identity)
    return replace(head, template=1.03 * rest, joints=1.03 * (head.joints + moved))


def flame_arrays() -> dict[str, np.ndarray]:
    """FLAME's arrays: 5 identity and 100 expression columns, of which 6 move anything."""
    head = somebody()
    v = len(head.template)
    rng = np.random.default_rng(0)
    template = head.template.double().numpy() + SHIFT
    shapes = np.zeros((v, 3, IDENTITIES + 100))
    shapes[..., :IDENTITIES] = head.identity_basis[:IDENTITIES].permute(1, 2, 0).numpy()
    shown = [head.expression_index(name) for name in EXPRESSIONS]
    shapes[..., IDENTITIES : IDENTITIES + 6] = head.expression_basis[shown].permute(1, 2, 0).numpy()
    smooth = np.sin(40 * template @ rng.normal(size=(3, 36)))
    correctives = 0.001 * smooth[:, None] * rng.normal(size=(1, 3, 36))
    regressor = np.zeros((5, v))
    for joint, at in enumerate(head.joints.double().numpy() + SHIFT):
        near = np.argsort(np.linalg.norm(template - at, axis=1))[:30]
        regressor[joint, near] = 1 / 30
    for joint in (3, 4):  # the regressor of an eye sees its ball
        ball = np.flatnonzero(head.skin_weights[:, joint].numpy() > 0.99)
        regressor[joint] = 0
        regressor[joint, ball] = 1 / len(ball)
    return {
        "v_template": template,
        "f": head.faces.numpy().astype(np.uint32),
        "shapedirs": shapes,
        "posedirs": correctives,
        "J_regressor": regressor,
        "weights": head.skin_weights.double().numpy(),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], np.uint32),
    }


def write_flame_npz(path: Path) -> dict[str, np.ndarray]:
    arrays = flame_arrays()
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return arrays


def write_flame_pickle(path: Path) -> dict[str, np.ndarray]:
    """The official layout: Python 2's protocol, chumpy wrappers, a sparse regressor."""
    arrays = flame_arrays()
    wrapped: dict[str, Any] = {
        **arrays,
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    for name in ("v_template", "shapedirs", "posedirs"):
        wrapped[name] = Ch(arrays[name].astype(np.float32 if name == "posedirs" else np.float64))
    with chumpy_importable():
        path.write_bytes(pickle.dumps(wrapped, protocol=2))
    return arrays


def write_flame_neighbours(folder: Path) -> None:
    """Landmark embeddings, masks and a UV template in the published forms."""
    head = somebody()
    faces, bary = head.landmark_faces.numpy(), head.landmark_bary.double().numpy()
    static = {"lmk_face_idx": faces[17:].astype(np.uint32), "lmk_b_coords": bary[17:]}
    (folder / "flame_static_embedding.pkl").write_bytes(pickle.dumps(static, protocol=2))
    dynamic = {
        "lmk_face_idx": np.repeat(faces[None, :17], 79, 0),
        "lmk_b_coords": np.repeat(bary[None, :17], 79, 0),
    }
    np.save(folder / "flame_dynamic_embedding.npy", np.array(dynamic), allow_pickle=True)

    def members(region: str) -> np.ndarray:
        return np.unique(head.faces.numpy()[head.region_faces(region).numpy()])

    ears, eyes = members("ears"), members("eyes")
    left = head.template[:, 0].numpy() > 0
    masks = {
        "scalp": members("scalp"), "neck": members("neck"), "boundary": members("torso"),
        "left_ear": ears[left[ears]], "right_ear": ears[~left[ears]], "lips": members("lips"),
        "left_eyeball": eyes[left[eyes]], "right_eyeball": eyes[~left[eyes]],
    }  # fmt: skip
    (folder / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, protocol=2))
    lines = [f"v {x} {y} {z}" for x, y, z in head.template.tolist()]
    lines += [f"vt {u} {v}" for u, v in head.uvs.tolist()]
    lines += [
        "f " + " ".join(f"{a + 1}/{b + 1}" for a, b in zip(face, corner, strict=True))
        for face, corner in zip(head.faces.tolist(), head.faces_uv.tolist(), strict=True)
    ]
    (folder / "head_template_mesh.obj").write_text("\n".join(lines) + "\n")


def flame_forward(
    model: dict[str, np.ndarray], betas: np.ndarray, angles: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """FLAME's own equations, a vertex at a time in homogeneous coordinates.

    Args:
        betas: [5 + 100]. angles: [5, 3] axis-angle of root, neck, jaw, eyes. translation: [3].

    Returns:
        [V, 3] metres.

    Source: Li et al. (2017), section 3; Loper et al., SMPL (2015).
    """
    from scipy.spatial.transform import Rotation

    shaped = model["v_template"] + model["shapedirs"] @ betas
    joints = model["J_regressor"] @ shaped
    turns = Rotation.from_rotvec(angles).as_matrix()
    feature = (turns[1:] - np.eye(3)).reshape(-1)
    posed = shaped + model["posedirs"] @ feature
    chain = np.zeros((5, 4, 4))
    for j, parent in enumerate([-1, 0, 1, 1, 1]):
        local = np.eye(4)
        local[:3, :3] = turns[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        chain[j] = local if parent < 0 else chain[parent] @ local
    for j in range(5):
        chain[j, :3, 3] -= chain[j, :3, :3] @ joints[j]
    blended = np.einsum("vj,jab->vab", model["weights"], chain)
    return np.einsum("vab,vb->va", blended[:, :3, :3], posed) + blended[:, :3, 3] + translation


def skin_only() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The procedural head's outer skin as one surface: vertices [V, 3] metres in the stand-ins'
    axes, faces [F, 3], and which vertices of the head they are."""
    head = somebody()
    keep = head.region_faces("skin", "scalp", "lips", "eyelids", "ears", "neck", "eyes").numpy()
    used, faces = np.unique(head.faces.numpy()[keep], return_inverse=True)
    return head.template.double().numpy()[used] + SHIFT, faces.reshape(-1, 3), used


def _basis(which: str, used: np.ndarray, count: int) -> np.ndarray:
    basis = getattr(somebody(), which)[:count].double().numpy()[:, used]
    return basis.reshape(count, -1).T


def write_bfm_2009(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Micrometres, unit-norm modes with standard deviations, triangles from 1 and clockwise."""
    from scipy.io import savemat

    vertices, faces, used = skin_only()
    modes = _basis("identity_basis", used, 7) * 1e6
    std = np.linalg.norm(modes, axis=0)
    savemat(path, {
        "shapeMU": (vertices * 1e6).reshape(-1, 1).astype(np.float32),
        "shapePC": (modes / std).astype(np.float32), "shapeEV": std[:, None].astype(np.float32),
        "tl": faces[:, [0, 2, 1]] + 1.0, "texMU": np.zeros((3, 1)),
    })  # fmt: skip
    return vertices, used


def write_bfm_front(path: Path) -> np.ndarray:
    """The derived layout: decimetres, modes times their deviations, keypoints from 1."""
    from scipy.io import savemat

    head = somebody()
    vertices, faces, used = skin_only()
    corner = head.faces[head.landmark_faces].numpy()
    best = corner[np.arange(68), head.landmark_bary.numpy().argmax(1)]
    savemat(path, {
        "meanshape": (vertices * 10).reshape(1, -1).astype(np.float32),
        "idBase": _basis("identity_basis", used, 6) * 10,
        "exBase": _basis("expression_basis", used, 4) * 10,
        "tri": faces + 1.0, "keypoints": np.searchsorted(used, best)[None] + 1.0,
    })  # fmt: skip
    return vertices


def write_bfm_2017(path: Path) -> np.ndarray:
    """HDF5: millimetres, orthonormal modes with variances, named landmarks."""
    import h5py

    vertices, faces, used = skin_only()
    head = somebody()
    with h5py.File(path, "w") as file:
        for group, which, count in (
            ("shape", "identity_basis", 7), ("expression", "expression_basis", 5),
        ):  # fmt: skip
            modes = _basis(which, used, count) * 1e3
            std = np.linalg.norm(modes, axis=0)
            mean = vertices * 1e3 if group == "shape" else np.zeros_like(vertices)
            file[f"{group}/model/mean"] = mean.reshape(-1).astype(np.float32)
            file[f"{group}/model/pcaBasis"] = (modes / std).astype(np.float32)
            file[f"{group}/model/pcaVariance"] = (std**2).astype(np.float32)
            file[f"{group}/representer/cells"] = faces.T.astype(np.int32)
            file[f"{group}/representer/points"] = (vertices * 1e3).T.astype(np.float32)
        marks = (head.landmarks(head.template[None])[0].double().numpy() + SHIFT) * 1e3
        named = {"center.nose.tip": 30, "left.eye.corner_outer": 45, "right.eye.corner_outer": 36,
                 "right.lips.corner": 48, "left.lips.corner": 54, "center.chin.tip": 8}  # fmt: skip
        listed = [{"id": n, "coordinates": marks[i].tolist()} for n, i in named.items()]
        file["metadata/landmarks/json"] = json.dumps(listed)
    return vertices


assert JOINTS == ("root", "neck", "jaw", "eye_left", "eye_right")
