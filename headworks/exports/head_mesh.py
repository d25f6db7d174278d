"""The head as glTF: morph targets for expressions, a skin for the joints, its texture and motion.

glTF morphs first and skins then, as the head models do, so that the mesh moves as tracked. What it
cannot say is left out and told: products of two expressions, pose correctives, joints that follow
expressions.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from headworks.avatars.avatar import Avatar
from headworks.driving.performance import Performance
from headworks.driving.poser import Shape
from headworks.exports.gltf import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, Glb
from headworks.geometry import axis_angle_to_matrix, matrix_to_quat, vertex_normals
from headworks.heads.base import JOINTS, HeadPose

Floats = NDArray[np.float32]
_PARENT = {"neck": "root", "jaw": "neck", "eye_left": "neck", "eye_right": "neck"}
_INFLUENCES = 4


@dataclass(frozen=True)
class Corners:
    """Vertices split where the atlas has a seam.

    Attributes:
        vertex: int64 [M], into the head's vertices. uv: int64 [M], into its UVs.
        triangles: uint32 [F, 3], into these.
    """

    vertex: NDArray[np.int64]
    uv: NDArray[np.int64]
    triangles: NDArray[np.uint32]


def split_corners(faces: NDArray[np.int64], faces_uv: NDArray[np.int64]) -> Corners:
    """One corner for every pair of a vertex and a UV that occurs."""
    pairs = np.stack([faces.reshape(-1), faces_uv.reshape(-1)], 1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    triangles = inverse.reshape(-1, 3).astype(np.uint32)
    return Corners(unique[:, 0], unique[:, 1], triangles)


def head_glb(
    avatar: Avatar,
    motion: Performance | None,
    texture: NDArray[np.uint8],
    extras: Mapping[str, str],
) -> tuple[bytes, list[str]]:
    """The head mesh of an avatar's subject as a GLB file.

    Args:
        avatar: whose identity. motion: in its coefficients, animated; None for a still mesh.
        texture: uint8 [S, S, 3], on the head's atlas. extras: written into the asset's extras.

    Returns:
        The bytes of the file, and what it does not show, in words.
    """
    head = avatar.head
    shape = Shape(head, avatar.identity)
    base, morphs = shape.neutral, shape.morphs
    corners = split_corners(head.faces.numpy(), head.faces_uv.numpy())
    glb = Glb()
    glb.body["asset"]["extras"] = dict(extras)
    glb.body["extensionsUsed"] = ["KHR_materials_unlit"]
    mesh = _mesh(glb, head.uvs.numpy(), base, morphs, corners, _material(glb, texture))
    glb.body["meshes"][mesh]["extras"] = {"targetNames": list(head.expression_names)}
    notes = _attach_weights(glb, mesh, head.skin_weights.numpy(), corners)
    rest = head.joints + torch.einsum("k,kjc->jc", avatar.identity, head.joint_identity)
    bones = _skeleton(glb, mesh, rest.double().numpy())
    if motion is not None:
        _animate(glb, motion, rest, bones)
        notes += _untold(avatar, motion, shape)
    return glb.tobytes(), notes


def _material(glb: Glb, texture: NDArray[np.uint8]) -> int:
    """What the avatar looks like, light included; nothing is lit again."""
    png = io.BytesIO()
    Image.fromarray(texture).save(png, format="PNG", optimize=True)
    image = glb.add("images", {"bufferView": glb.view(png.getvalue()), "mimeType": "image/png"})
    sampler = glb.add(
        "samplers", {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}
    )
    source = glb.add("textures", {"source": image, "sampler": sampler})
    surface = {"baseColorTexture": {"index": source}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    return glb.add(
        "materials",
        {
            "name": "head",
            "pbrMetallicRoughness": surface,
            "doubleSided": True,
            "extensions": {"KHR_materials_unlit": {}},
        },
    )


def _mesh(
    glb: Glb, uvs: Floats, base: Floats, morphs: Floats, corners: Corners, material: int
) -> int:
    def attribute(array: NDArray[np.floating], bounds: bool = False) -> int:
        return glb.accessor(array.astype(np.float32), ARRAY_BUFFER, bounds)

    faces = torch.from_numpy(corners.vertex[corners.triangles].astype(np.int64))
    normals = vertex_normals(torch.from_numpy(base), faces).numpy()[corners.vertex]
    # A vertex of no area has no normal; any unit vector is as good.
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0, 0, 1)
    primitive = {
        "attributes": {
            "POSITION": attribute(base[corners.vertex], True),
            "NORMAL": attribute(normals),
            "TEXCOORD_0": attribute(uvs[corners.uv] * [1, -1] + [0, 1]),
        },
        "indices": glb.accessor(corners.triangles.reshape(-1), ELEMENT_ARRAY_BUFFER),
        "material": material,
        "targets": [{"POSITION": attribute(m[corners.vertex], True)} for m in morphs],
    }
    return glb.add(
        "meshes", {"name": "head", "primitives": [primitive], "weights": [0.0] * len(morphs)}
    )


def _attach_weights(glb: Glb, mesh: int, weights: Floats, corners: Corners) -> list[str]:
    """The four joints that hold each vertex most."""
    most = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
    kept = np.take_along_axis(weights, most, 1)
    lost = float((1 - kept.sum(1)).max())
    kept = kept / kept.sum(1, keepdims=True)
    most = np.where(kept > 0, most, 0)
    attributes = glb.body["meshes"][mesh]["primitives"][0]["attributes"]
    attributes["JOINTS_0"] = glb.accessor(most[corners.vertex].astype(np.uint8), ARRAY_BUFFER)
    attributes["WEIGHTS_0"] = glb.accessor(kept[corners.vertex].astype(np.float32), ARRAY_BUFFER)
    return (
        [f"skin weights below the fourth (up to {lost:.3f}) were left out"] if lost > 1e-3 else []
    )


def _skeleton(glb: Glb, mesh: int, rest: NDArray[np.float64]) -> dict[str, int]:
    """Nodes of the joints and of the skinned mesh; returns name -> node."""
    bones: dict[str, int] = {}
    for j, name in enumerate(JOINTS):
        parent = _PARENT.get(name)
        at = rest[j] - (rest[JOINTS.index(parent)] if parent not in (None, "root") else 0.0)
        # The root turns about the canonical origin, where its own rest position plays no part.
        offset = [0.0, 0.0, 0.0] if parent is None else at.tolist()
        bones[name] = glb.add("nodes", {"name": name, "translation": offset})
        if parent is not None:
            glb.body["nodes"][bones[parent]].setdefault("children", []).append(bones[name])
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(JOINTS), 1, 1))
    inverse[1:, :3, 3] = -rest[1:]
    skin = glb.add(
        "skins",
        {
            "joints": [bones[name] for name in JOINTS],
            "skeleton": bones["root"],
            "inverseBindMatrices": glb.accessor(inverse),
        },
    )
    body = glb.add("nodes", {"name": "head_mesh", "mesh": mesh, "skin": skin})
    glb.add("scenes", {"name": "head", "nodes": [bones["root"], body]})
    glb.body["scene"] = 0
    return {**bones, "mesh": body}


def _animate(glb: Glb, motion: Performance, rest: torch.Tensor, bones: dict[str, int]) -> None:
    pose, count = motion.pose, len(motion)
    times = glb.accessor((np.arange(count) / motion.fps).astype(np.float32), None, True)
    channels: list[dict[str, object]] = []
    samplers: list[dict[str, object]] = []

    def channel(node: str, path: str, values: NDArray[np.floating]) -> None:
        output = glb.accessor(np.ascontiguousarray(values, np.float32))
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})
        channels.append(
            {"sampler": len(samplers) - 1, "target": {"node": bones[node], "path": path}}
        )

    turns = {
        "root": pose.rotation, "neck": pose.neck, "jaw": pose.jaw,
        "eye_left": pose.eyes[:, 0], "eye_right": pose.eyes[:, 1],
    }  # fmt: skip
    for name, turn in turns.items():
        channel(name, "rotation", _quaternions(turn))
    channel("root", "translation", pose.translation.numpy())
    channel("neck", "translation", (rest[1] + pose.neck_translation).numpy())
    channel("mesh", "weights", motion.expression.numpy().reshape(-1))
    glb.add("animations", {"name": motion.source, "channels": channels, "samplers": samplers})


def _quaternions(axis_angle: torch.Tensor) -> Floats:
    """xyzw [T, 4], each on the side of the one before, so that players turn the short way."""
    wxyz = matrix_to_quat(axis_angle_to_matrix(axis_angle)).numpy()
    flips = np.cumprod(np.where((wxyz[1:] * wxyz[:-1]).sum(1) < 0, -1.0, 1.0))
    wxyz[1:] *= flips[:, None]
    return np.ascontiguousarray(wxyz[:, [1, 2, 3, 0]], np.float32)


def _untold(avatar: Avatar, motion: Performance, shape: Shape) -> list[str]:
    """How far the file's mesh is from the head's own, where it cannot say everything."""
    head = avatar.head
    bends = head.pose_basis is not None or head.joint_expression is not None
    if not (bends or shape.pairs):
        return []
    rows = torch.from_numpy(np.unique(np.linspace(0, len(motion) - 1, 16).astype(np.int64)))
    expression, pose = motion.expression[rows], motion.pose[rows]
    everyone = avatar.identity[None].expand(len(rows), -1)
    with torch.no_grad():
        exact = head.vertices(everyone, expression, pose)
        linear = torch.from_numpy(shape.neutral) + torch.einsum(
            "tk,kvc->tvc", expression, torch.from_numpy(shape.morphs)
        )
        told = skinned(avatar, linear, pose)
        worst = float((exact - told).norm(dim=-1).max())
    return [f"correctives that glTF cannot say were left out: up to {1000 * worst:.2f} mm"]


def skinned(avatar: Avatar, shaped: torch.Tensor, pose: HeadPose) -> torch.Tensor:
    """Vertices [T, V, 3] of shaped ones under a pose of T, joints as of the neutral face."""
    head = avatar.head
    everyone = avatar.identity[None].expand(len(shaped), -1)
    rotations, offsets = head.joint_transforms(everyone, pose)
    r = torch.einsum("vj,tjxy->tvxy", head.skin_weights, rotations)
    t = torch.einsum("vj,tjx->tvx", head.skin_weights, offsets)
    return torch.einsum("tvxy,tvy->tvx", r, shaped) + t
