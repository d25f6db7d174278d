"""A person in a pose: every surface and every strand where it is in the world."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.heads import HeadModel, HeadPose
from headworks.heads.base import REGIONS
from headworks.synthetic.facial_hair import frames
from headworks.synthetic.hair import HairAtRest
from headworks.synthetic.person import Person
from headworks.synthetic.scene import GAMMA, MATERIALS, Scene, Strands, Surface, mesh_normals

Array = NDArray[np.float64]

_CORNEA = 0.62
"""Angle from the eye's axis within which the eyeball bulges, radians."""


def person_scene(
    person: Person, expression: torch.Tensor | None = None, pose: HeadPose | None = None
) -> Scene:
    """Everything a renderer needs of a person.

    Args:
        person: who. expression: [Ke], neutral if None. pose: batch of 1, canonical if None.
    """
    head = person.space.head
    if expression is None:
        expression = torch.zeros(len(head.expression_names))
    pose = pose or HeadPose.zeros(1)
    identity = person.identity[None]
    with torch.no_grad():
        shaped = head.rest_vertices(identity, expression[None])
        rest = shaped[0].double().numpy()
        rotations, offsets = head.joint_transforms(identity, pose)
        vertices = head.posed(shaped, identity, expression[None], pose)
        landmarks = head.landmarks(vertices)[0].double().numpy()
    turns, moves = rotations[0].double().numpy(), offsets[0].double().numpy()
    posed = vertices[0].double().numpy()
    faces = head.faces.numpy()
    surfaces = [
        Surface(
            "head", posed, _head_normals(head, posed, turns), faces, head_uvs(head),
            head_materials(head), person.albedo, person.roughness,
            person.occlusion, person.covered,
        )
    ]  # fmt: skip
    if person.clothes is not None:
        c = person.clothes
        points = _skinned(c.vertices, c.weights, turns, moves)
        surfaces.append(
            Surface("clothes", points, _closed_normals(points, c.faces), c.faces, c.uvs,
                    np.full(len(c.faces), MATERIALS.index("cloth")), c.albedo,
                    np.full((2, 2), 0.9, np.float32), person.clothes_occlusion,
                    np.zeros(len(points), np.float32))
        )  # fmt: skip
    if person.glasses is not None:
        g = person.glasses
        frame = np.array(g.style.colour) ** GAMMA
        for name, rest_points, own, material, colour, rough in (
            ("glasses", g.vertices, g.faces, g.style.material, frame, 0.25),
            ("lenses", g.lens_vertices, g.lens_faces, "lens", np.ones(3), 0.02),
        ):
            points = rest_points @ turns[1].T + moves[1]
            surfaces.append(
                Surface(name, points, mesh_normals(points, own), own,
                        np.full((len(own), 3, 2), 0.5, np.float32),
                        np.full(len(own), MATERIALS.index(material)),
                        np.broadcast_to(colour, (2, 2, 3)).astype(np.float32),
                        np.full((2, 2), rough, np.float32), np.ones(len(points), np.float32),
                        np.zeros(len(points), np.float32))
            )  # fmt: skip
    neutral = person.neutral
    strands = tuple(
        Strands(h.kind, _moved(h, head, neutral, rest, posed, turns, moves), h.radius, h.colour,
                h.light, h.fine)
        for h in person.hair
    )  # fmt: skip
    middle = turns[1] @ person.middle + moves[1]
    return Scene(tuple(surfaces), strands, person.light, landmarks, middle)


def _head_normals(head: HeadModel, posed: Array, turns: Array) -> Array:
    """Vertex normals; over the iris those of the cornea, which is more curved than the eyeball."""
    normals = mesh_normals(posed, head.faces.numpy())
    for side, ids in enumerate(_eyes(head)):
        axis = turns[3 + side][:, 2]
        cosine = np.clip(normals[ids] @ axis, -1, 1)
        angle = np.arccos(cosine)
        bent = angle * (1 + 0.75 * np.clip(1 - (angle / _CORNEA) ** 2, 0, 1))
        away = normals[ids] - cosine[:, None] * axis
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
        normals[ids] = np.cos(bent)[:, None] * axis + np.sin(bent)[:, None] * away
    return normals


@lru_cache(maxsize=2)
def _eyes(head: HeadModel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices of the left and of the right eyeball."""
    ids = np.unique(head.faces.numpy()[head.region_faces("eyes").numpy()])
    left = head.template.numpy()[ids, 0] > 0
    return ids[left], ids[~left]


def _skinned(points: Array, weights: Array, turns: Array, moves: Array) -> Array:
    out = np.zeros_like(points)
    for j in range(len(turns)):
        some = weights[:, j] > 1e-6
        if some.any():
            out[some] += weights[some, j, None] * (points[some] @ turns[j].T + moves[j])
    return out


def _moved(
    hair: HairAtRest, head: HeadModel, neutral: Array, rest: Array, posed: Array, turns: Array,
    moves: Array,
) -> NDArray[np.float32]:  # fmt: skip
    """Strands of a group in the world."""
    faces = head.faces.numpy()
    if hair.turns:
        before = frames(neutral, faces, hair.faces)
        after = frames(posed, faces, hair.faces)
        turn = (after @ before.transpose(0, 2, 1)).astype(np.float32)
        corners = faces[hair.faces]
        start = (neutral[corners] * hair.bary[..., None]).sum(1)
        end = (posed[corners] * hair.bary[..., None]).sum(1)
        offset = hair.points - start[:, None].astype(np.float32)
        return offset @ turn.transpose(0, 2, 1) + end[:, None].astype(np.float32)
    # The scalp's own movement fades along the hair.
    corners = faces[hair.faces]
    shift = ((rest - neutral)[corners] * hair.bary[..., None]).sum(1).astype(np.float32)
    points = hair.points
    if shift.size and max(float(shift.max()), -float(shift.min())) > 1e-7:
        s = np.linspace(0, 1, points.shape[1], dtype=np.float32)
        points = points + ((1 - s) ** 2)[None, :, None] * shift[:, None]
    own = points @ turns[1].T.astype(np.float32) + moves[1].astype(np.float32)
    if hair.with_head:
        return own
    trunk = points @ turns[0].T.astype(np.float32) + moves[0].astype(np.float32)
    return trunk + hair.neck[..., None] * (own - trunk)


def _closed_normals(points: Array, faces: NDArray[np.int64]) -> Array:
    """Vertex normals of a garment; vertices at one place (its seam) share theirs."""
    normals = mesh_normals(points, faces)
    _, first, back = np.unique(np.round(points, 6), axis=0, return_index=True, return_inverse=True)
    summed = np.zeros((len(first), 3))
    np.add.at(summed, back.reshape(-1), normals)
    out = summed[back.reshape(-1)]
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


@lru_cache(maxsize=2)
def head_uvs(head: HeadModel) -> NDArray[np.float32]:
    """UVs of every face's corners, [F, 3, 2]."""
    return np.ascontiguousarray(head.uvs.numpy()[head.faces_uv.numpy()], np.float32)


@lru_cache(maxsize=2)
def head_materials(head: HeadModel) -> NDArray[np.int64]:
    """Material of every face of the head, [F]."""
    by_region = dict.fromkeys(REGIONS, "skin")
    by_region |= {
        "lips": "lips", "eyes": "eye", "teeth": "wet", "tongue": "wet", "mouth_inner": "inside",
    }  # fmt: skip
    table = np.array([MATERIALS.index(by_region[name]) for name in REGIONS])
    return table[head.face_regions.numpy()]
