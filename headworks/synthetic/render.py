"""Pictures of synthetic people with exact alpha, from the z-buffer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera, look_at
from headworks.heads import HeadModel, HeadPose, load_head
from headworks.heads.base import REGIONS
from headworks.heads.procedural.mesh import smoothstep
from headworks.mesh import rasterize_mesh
from headworks.synthetic import shading
from headworks.synthetic.noise import noise
from headworks.synthetic.person import Person

_OCCLUSION_RAYS = 72
_OCCLUSION_SIZE = 192
_VISIBLE_WITHIN = 0.006
"""Metres by which a landmark may lie behind the nearest surface and still count as seen."""


class Picture(NamedTuple):
    """What a camera sees.

    Attributes:
        rgb: float32 [H, W, 3] sRGB, straight (0 where nothing is). alpha: float32 [H, W].
        landmarks: float32 [68, 3]: x, y in pixels, 1 if visible else 0.
    """

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    def over(self, background: NDArray[np.floating] | tuple[float, float, float]) -> NDArray:
        """Composite over a colour or a plate [H, W, 3], float32."""
        a = self.alpha[..., None]
        return (self.rgb * a + np.asarray(background, np.float32) * (1 - a)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Stage:
    """A person in one pose, ready to be seen by any number of cameras.

    Attributes:
        positions, normals: float64 [V, 3] of head and hair together. landmarks: [68, 3] metres.
    """

    person: Person
    positions: NDArray[np.float64]
    normals: NDArray[np.float64]
    flow: NDArray[np.float64]
    landmarks: NDArray[np.float64]


def pose_person(person: Person, expression: torch.Tensor, pose: HeadPose) -> Stage:
    """Vertices of head and hair.

    Args:
        person: who. expression: [Ke]. pose: batch of 1.
    """
    head = load_head("procedural")
    identity = person.identity[None]
    with torch.no_grad():
        vertices = head.vertices(identity, expression[None], pose)
        landmarks = head.landmarks(vertices)[0].double().numpy()
        rotations, offsets = head.joint_transforms(identity, pose)
    points = vertices[0].double().numpy()
    normals = mesh_normals(points, head.faces.numpy())
    flow = np.zeros((0, 3))
    if person.hair is not None:
        hair = person.hair
        r = np.einsum("vj,jxy->vxy", hair.weights, rotations[0].double().numpy())
        t = hair.weights @ offsets[0].double().numpy()
        moved = torch.einsum("k,kvc->vc", expression, head.expression_basis).double().numpy()
        rest = hair.vertices + (moved[hair.parents] * hair.shares[..., None]).sum(1)
        strands = np.einsum("vxy,vy->vx", r, rest) + t
        flow = np.einsum("vxy,vy->vx", r, hair.flow)
        normals = np.concatenate([normals, mesh_normals(strands, hair.faces)])
        points = np.concatenate([points, strands])
    return Stage(person, points, normals, flow, landmarks)


def mesh_normals(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Unit area-weighted vertex normals, [V, 3]."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    out = np.empty_like(points)
    flat = faces.T.ravel()
    for d in range(3):
        out[:, d] = np.bincount(flat, np.tile(face[:, d], 3), len(points))
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def render_stage(stage: Stage, camera: Camera, supersampling: int = 2) -> Picture:
    """See a posed person.

    Args:
        stage: from `pose_person`. camera: the view. supersampling: samples per pixel and axis.
    """
    person = stage.person
    static = _static(person)
    fine = camera.resized(camera.width * supersampling, camera.height * supersampling)
    buffers = rasterize_mesh(stage.positions, static.faces, fine)
    look = person.light
    linear = np.zeros((*buffers.face_ids.shape, 3), np.float32)
    flow = np.zeros_like(stage.positions)
    if len(stage.flow):
        flow[-len(stage.flow) :] = stage.flow
    shading.shade(
        buffers.face_ids, buffers.barycentric, static.faces, static.corner_uv, stage.positions,
        stage.normals, static.occlusion, static.material, static.strand, flow, person.albedo,
        _strand_texture(person.hair_contrast), person.hair_linear, camera.centre, look.direction,
        look.key, look.fill, look.above, look.below, person.gloss, linear,
    )  # fmt: skip
    s = supersampling
    shape = (camera.height, s, camera.width, s)
    covered = (buffers.face_ids >= 0).reshape(shape).mean((1, 3), dtype=np.float32)
    colour = np.clip(linear, 0, 1) ** np.float32(1 / shading.GAMMA)
    summed = colour.reshape(*shape, 3).mean((1, 3), dtype=np.float32)
    rgb = summed / np.maximum(covered, 1e-6)[..., None]
    return Picture(
        np.where(covered[..., None] > 0, rgb, 0).astype(np.float32),
        covered,
        _seen_landmarks(stage.landmarks, camera, fine, buffers.depth),
    )


def render_person(
    person: Person,
    camera: Camera,
    expression: torch.Tensor | None = None,
    pose: HeadPose | None = None,
    supersampling: int = 2,
) -> Picture:
    """A picture of a person; neutral and canonical unless said.

    Args:
        person: who. camera: the view. expression: [Ke]. pose: batch of 1.
    """
    head = load_head("procedural")
    if expression is None:
        expression = torch.zeros(len(head.expression_names))
    stage = pose_person(person, expression, pose or HeadPose.zeros(1))
    return render_stage(stage, camera, supersampling)


def _seen_landmarks(
    landmarks: NDArray[np.float64], camera: Camera, fine: Camera, depth: NDArray[np.float32]
) -> NDArray[np.float32]:
    xy = camera.project(landmarks)
    at = np.floor(fine.project(landmarks)[:, :2]).astype(int)
    height, width = depth.shape
    inside = (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height) & (xy[:, 2] > 0)
    at = np.clip(at, 0, [width - 1, height - 1])
    # On the silhouette the landmark's own sample may just miss: look at its neighbourhood.
    nearest = np.full(len(landmarks), -np.inf, np.float32)
    for dx in (-2, 0, 2):
        for dy in (-2, 0, 2):
            sample = depth[np.clip(at[:, 1] + dy, 0, height - 1),
                           np.clip(at[:, 0] + dx, 0, width - 1)]  # fmt: skip
            nearest = np.maximum(nearest, np.where(np.isfinite(sample), sample, -np.inf))
    visible = inside & (xy[:, 2] <= nearest + _VISIBLE_WITHIN)
    return np.column_stack([xy[:, :2], visible]).astype(np.float32)


class _Static(NamedTuple):
    faces: NDArray[np.int32]
    corner_uv: NDArray[np.float32]
    material: NDArray[np.int64]
    occlusion: NDArray[np.float32]
    strand: NDArray[np.float64]


@lru_cache(maxsize=2)
def _static(person: Person) -> _Static:
    """What does not change with pose: faces, materials, coordinates."""
    head = load_head("procedural")
    faces = head.faces.numpy()
    uv = head.uvs.numpy()[head.faces_uv.numpy()]
    material = head_materials(head)
    count = len(head.template)
    occlusion = ambient_occlusion()
    strand = np.zeros((count, 3))
    strand[:, 2] = smoothstep(head.template[:, 1].double().numpy(), -0.135, -0.10)
    if person.hair is not None:
        hair = person.hair
        faces = np.concatenate([faces, hair.faces + count])
        uv = np.concatenate([uv, np.zeros((len(hair.faces), 3, 2), np.float32)])
        material = np.concatenate([material, np.full(len(hair.faces), shading.HAIR)])
        strand = np.concatenate([strand, hair.strand])
        occlusion = np.concatenate([occlusion, np.ones(len(hair.vertices), np.float32)])
    return _Static(
        np.ascontiguousarray(faces, np.int32), np.ascontiguousarray(uv, np.float32), material,
        occlusion, strand,
    )  # fmt: skip


def head_materials(head: HeadModel) -> NDArray[np.int64]:
    """Material of every face of the head, [F]."""
    by_region = dict.fromkeys(REGIONS, shading.SKIN)
    by_region |= {
        "lips": shading.LIP, "eyes": shading.EYE, "teeth": shading.WET, "tongue": shading.WET,
        "mouth_inner": shading.CLOTH, "torso": shading.CLOTH,
    }  # fmt: skip
    table = np.array([by_region[name] for name in REGIONS])
    return table[head.face_regions.numpy()]


@lru_cache(maxsize=1)
def ambient_occlusion() -> NDArray[np.float32]:
    """How much of the sky each vertex of the mean head sees, float32 [V] in [0, 1]."""
    head = load_head("procedural")
    points = head.template.numpy().astype(np.float64)
    faces = head.faces.numpy()
    normals = mesh_normals(points, faces)
    index = np.arange(_OCCLUSION_RAYS) + 0.5
    phi = np.arccos(1 - 2 * index / _OCCLUSION_RAYS)
    theta = np.pi * (1 + 5**0.5) * index
    seen, total = np.zeros(len(points)), np.zeros(len(points))
    distance, half = 20.0, 0.45
    focal = _OCCLUSION_SIZE / 2 * distance / half
    K = np.array([[focal, 0, _OCCLUSION_SIZE / 2], [0, focal, _OCCLUSION_SIZE / 2], [0, 0, 1]])
    target = np.array([0, -0.1, 0])
    for direction in np.column_stack(
        [np.cos(theta) * np.sin(phi), np.cos(phi), np.sin(theta) * np.sin(phi)]
    ):
        up = (0.0, 0.0, 1.0) if abs(direction[1]) > 0.95 else (0.0, 1.0, 0.0)
        camera = Camera(
            look_at(target + distance * direction, target, up), K, _OCCLUSION_SIZE, _OCCLUSION_SIZE
        )
        depth = rasterize_mesh(points, faces, camera).depth
        pixel = camera.project(points + 0.002 * normals)
        at = np.clip(np.floor(pixel[:, :2]).astype(int), 0, _OCCLUSION_SIZE - 1)
        free = pixel[:, 2] <= depth[at[:, 1], at[:, 0]] + 0.003
        weight = np.clip(normals @ direction, 0, None)
        seen += weight * free
        total += weight
    open_share = seen / np.maximum(total, 1e-9)
    occlusion = 0.25 + 0.75 * open_share
    # Inside the mouth it is dark while closed, but pictures show it open.
    for name, least in (("mouth_inner", 0.4), ("tongue", 0.5), ("lips", 0.65), ("teeth", 0.75)):
        members = np.unique(faces[head.region_faces(name).numpy()])
        occlusion[members] = np.maximum(occlusion[members], least)
    return np.clip(occlusion, 0, 1).astype(np.float32)


@lru_cache(maxsize=8)
def _strand_texture(contrast: float, across: int = 1024, length: int = 128) -> NDArray[np.float64]:
    """Brightness of strands [across, length], about 1; it repeats around without a seam."""
    turn = np.arange(across) / across * 2 * np.pi
    radius = across / 2 / np.pi
    ring = np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
    grid = np.zeros((across, length, 3))
    grid[..., :2] = ring[:, None]
    grid[..., 2] = np.arange(length)
    fine = noise(grid, (1.6, 1.6, 26.0), 5) + 0.8 * noise(grid, (6.0, 6.0, 60.0), 6)
    return np.clip(1 + contrast * fine, 0.25, 2.0)
