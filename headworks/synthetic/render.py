"""Pictures of synthetic people with exact alpha, from the z-buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics, look_at
from headworks.heads import HeadPose
from headworks.mesh import rasterize_mesh
from headworks.synthetic import drawing, shading
from headworks.synthetic.person import Person
from headworks.synthetic.posing import person_scene
from headworks.synthetic.scene import GAMMA, Scene, Strands

Array = NDArray[np.float64]

_VISIBLE_WITHIN = 0.006
"""Metres by which a landmark may lie behind the nearest surface and still count as seen."""
_NEAR = 0.01
_FINE_BIAS = 0.0012
_SHADOW_SIZE = 224
_SHADOW_DISTANCE = 3.0
_SHADOW_HEIGHT = 0.62
_COARSE_PX = 0.45
"""Strands narrower than this many samples are drawn fewer and thicker."""
_LENS_TINT = 0.95
_KNEE = 0.62
"""Linear value from which highlights roll off."""


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


class Mesh(NamedTuple):
    """All opaque surfaces of a scene as one mesh, see `shading.shade`."""

    faces: NDArray[np.int32]
    corner_uv: NDArray[np.float32]
    positions: Array
    normals: Array
    occlusion: NDArray[np.float32]
    covered: NDArray[np.float32]
    material: NDArray[np.int64]
    texture: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stage:
    """A person in one pose, lit and ready to be seen by any number of cameras.

    Attributes:
        scene: what is there. mesh: its opaque surfaces. lit: float64 [V], share of the first
            lamp that reaches the mesh's vertices; strands_lit: [N, P] of each group of strands.
    """

    scene: Scene
    mesh: Mesh
    lit: Array
    strands_lit: tuple[Array, ...]

    @property
    def landmarks(self) -> Array:
        """[68, 3] metres."""
        return self.scene.landmarks


def pose_person(person: Person, expression: torch.Tensor, pose: HeadPose) -> Stage:
    """A person in a pose, with the shadows that fall there.

    Args:
        person: who. expression: [Ke]. pose: batch of 1.
    """
    scene = person_scene(person, expression, pose)
    mesh = _mesh(scene)
    lamp = _lamp(scene)
    buffers = rasterize_mesh(mesh.positions, mesh.faces, lamp)
    depth = buffers.depth.copy()
    owner = np.full(depth.shape, -1, np.int32)
    share = np.zeros(depth.shape, np.float32)
    for group in scene.strands:
        if not group.fine:
            pixels = _projected(group, lamp)
            skip = max(1, round(len(group.points) / 1500))
            drawing.draw(pixels, group.radius, lamp.K[0, 0], _NEAR, skip, depth, owner, share)
    lit = np.empty(len(mesh.positions))
    view, K = np.ascontiguousarray(lamp.viewmat), np.ascontiguousarray(lamp.K)
    drawing.reached(mesh.positions, view, K, depth, 0.006, 0.006, 3.2, lit)
    strands_lit = []
    for group in scene.strands:
        out = np.ones(group.points.shape[:2])
        if not group.fine:
            flat = group.points.reshape(-1, 3)[::2]
            some = np.empty(len(flat))
            drawing.reached(flat, view, K, depth, 0.003, 0.011, 2.0, some)
            out = np.repeat(some, 2)[: out.size].reshape(out.shape)
        strands_lit.append(out)
    return Stage(scene, mesh, lit, tuple(strands_lit))


def _mesh(scene: Scene) -> Mesh:
    opaque = [s for s in scene.surfaces if s.name != "lenses"]
    starts = np.cumsum([0, *(len(s.vertices) for s in opaque[:-1])])
    kinds = {"head": 0, "clothes": 1, "glasses": 2}
    return Mesh(
        np.concatenate([s.faces + at for s, at in zip(opaque, starts, strict=True)]).astype(
            np.int32
        ),
        np.concatenate([s.uvs for s in opaque]),
        np.concatenate([s.vertices for s in opaque]),
        np.concatenate([s.normals for s in opaque]),
        np.concatenate([s.occlusion for s in opaque]),
        np.concatenate([s.covered for s in opaque]),
        np.concatenate([s.materials for s in opaque]),
        np.concatenate([np.full(len(s.faces), kinds[s.name]) for s in opaque]),
    )


def _lamp(scene: Scene) -> Camera:
    at = scene.middle - [0, 0.06, 0]
    eye = at + _SHADOW_DISTANCE * scene.light.directions[0]
    s = _SHADOW_SIZE
    K = intrinsics(s * _SHADOW_DISTANCE / _SHADOW_HEIGHT, s, s)
    return Camera(look_at(eye, at, (0.01, 1, 0.02)), K, s, s)


def _projected(group: Strands, camera: Camera) -> NDArray[np.float32]:
    out = np.empty(group.points.shape, np.float32)
    drawing.project(
        group.points, np.ascontiguousarray(camera.viewmat), np.ascontiguousarray(camera.K), out
    )
    return out


def render_stage(stage: Stage, camera: Camera, supersampling: int = 2) -> Picture:
    """See a posed person.

    Args:
        stage: from `pose_person`. camera: the view. supersampling: samples per pixel and axis.
    """
    fine = camera.resized(camera.width * supersampling, camera.height * supersampling)
    linear, covered, depth = _samples(stage, fine)
    alpha = np.empty((camera.height, camera.width), np.float32)
    rgb = np.empty((*alpha.shape, 3), np.float32)
    drawing.resolve(linear, covered, supersampling, _KNEE, GAMMA, rgb, alpha)
    return Picture(rgb, alpha, seen_landmarks(stage.landmarks, camera, fine, depth))


def _samples(
    stage: Stage, camera: Camera
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Linear colour, coverage and depth (without thin strands) at every sample."""
    scene, mesh, light = stage.scene, stage.mesh, stage.scene.light
    buffers = rasterize_mesh(mesh.positions, mesh.faces, camera)
    shape = buffers.face_ids.shape
    depth = buffers.depth.copy()
    linear = np.zeros((*shape, 3), np.float32)
    nobody = np.full(shape, -1, np.int32)
    focal = float(camera.K[0, 0])
    eye = np.ascontiguousarray(camera.centre)
    lamps = (light.directions, light.intensities, light.softness, light.above, light.below)
    taken = np.zeros(shape, bool)
    for group, lit in zip(scene.strands, stage.strands_lit, strict=True):
        if group.fine:
            continue
        owner = np.full(shape, -1, np.int32)
        share = np.zeros(shape, np.float32)
        pixels = _projected(group, camera)
        width = 2 * float(np.median(group.radius)) * focal / float(np.median(pixels[..., 2]))
        skip = 1 if width > _COARSE_PX else min(4, round(_COARSE_PX / width) + 1)
        drawing.draw(pixels, group.radius, focal, _NEAR, skip, depth, owner, share)
        shading.shade_strands(
            owner, share, group.points, group.colour, group.light, lit, stage.scene.middle, eye,
            *lamps, linear,
        )  # fmt: skip
        taken |= owner >= 0
        nobody[owner >= 0] = 0
    head = scene.surfaces[0]
    cloth = next((s.albedo for s in scene.surfaces if s.name == "clothes"), head.albedo)
    frame = next((s.albedo[0, 0] for s in scene.surfaces if s.name == "glasses"), np.zeros(3))
    shading.shade(
        buffers.face_ids, buffers.barycentric, nobody, mesh.faces, mesh.corner_uv,
        mesh.positions, mesh.normals, mesh.occlusion, stage.lit, mesh.material, mesh.texture,
        mesh.covered, head.albedo, head.roughness, cloth, np.asarray(frame, np.float64), eye,
        *lamps, linear,
    )  # fmt: skip
    covered = (buffers.face_ids >= 0) | taken
    fine = [group for group in scene.strands if group.fine]
    if fine:
        covered = _add_fine(fine, stage, camera, depth, linear, covered)
    _add_lenses(stage, camera, depth, linear)
    return linear, covered, depth


def _add_fine(
    groups: list[Strands], stage: Stage, camera: Camera, depth: NDArray[np.float32],
    linear: NDArray[np.float32], covered: NDArray[np.bool_],
) -> NDArray[np.bool_]:  # fmt: skip
    """Thin strands over what is there (in place); returns the coverage with them."""
    shape = depth.shape
    clear, weight = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    summed = np.zeros((*shape, 3), np.float32)
    light = stage.scene.light
    for group in groups:
        root = group.points[:, 0].astype(np.float64)
        out = root - stage.scene.middle
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        glow = 0.5 * (light.above + light.below) + np.zeros((len(root), 3))
        for way, power, soft in zip(
            light.directions, light.intensities, light.softness, strict=True
        ):
            facing = np.clip((out @ way + 0.4 + soft) / (1.4 + soft), 0, None)
            glow += 0.8 * facing[:, None] * power
        glow *= group.light.mean(1)[:, None]
        drawing.blend(
            _projected(group, camera), group.radius, float(camera.K[0, 0]), _NEAR, _FINE_BIAS,
            (group.colour * glow).astype(np.float32), depth, clear, summed, weight,
        )  # fmt: skip
    hit = np.flatnonzero(weight.ravel() > 0)
    colour = summed.reshape(-1, 3)[hit] / weight.ravel()[hit, None]
    through = clear.ravel()[hit, None]
    flat, old = linear.reshape(-1, 3), covered.ravel()
    behind = old[hit]
    flat[hit] = np.where(behind[:, None], through * flat[hit] + (1 - through) * colour, colour)
    # Over the backdrop a sample is hair or it is not.
    seen = covered.copy().ravel()
    seen[hit] |= through[:, 0] < 0.5
    flat[hit[~seen[hit]]] = 0
    return seen.reshape(shape)


def _add_lenses(
    stage: Stage, camera: Camera, depth: NDArray[np.float32], linear: NDArray[np.float32]
) -> None:
    """Clear lenses dim a little what is behind them and mirror the lamps; in place."""
    lens = next((s for s in stage.scene.surfaces if s.name == "lenses"), None)
    if lens is None:
        return
    seen = rasterize_mesh(lens.vertices, lens.faces, camera)
    rows, columns = np.nonzero(seen.depth < depth)
    if not len(rows):
        return
    corner = lens.faces[seen.face_ids[rows, columns]]
    bary = seen.barycentric[rows, columns].astype(np.float64)[..., None]
    normal, point = (lens.normals[corner] * bary).sum(1), (lens.vertices[corner] * bary).sum(1)
    view = camera.centre - point
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    facing = np.abs((normal * view).sum(1))
    fresnel = 0.05 + 0.95 * (1 - facing) ** 5
    light = stage.scene.light
    mirror = 2 * (normal * view).sum(1, keepdims=True) * normal - view
    sky = 0.5 + 0.5 * mirror[:, 1:2]
    glint = light.below + (light.above - light.below) * sky
    for way, power in zip(light.directions, light.intensities, strict=True):
        glint = glint + 6.0 * np.clip(mirror @ way, 0, 1)[:, None] ** 60 * power
    old = linear[rows, columns]
    linear[rows, columns] = _LENS_TINT * (1 - fresnel)[:, None] * old + fresnel[:, None] * glint


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
    if expression is None:
        expression = torch.zeros(len(person.space.head.expression_names))
    stage = pose_person(person, expression, pose or HeadPose.zeros(1))
    return render_stage(stage, camera, supersampling)


def seen_landmarks(
    landmarks: Array, camera: Camera, fine: Camera, depth: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Landmarks in pixels and whether they are seen, [68, 3].

    Args:
        landmarks: [68, 3] metres. camera: the view. fine: the same view, supersampled.
        depth: float32 of the supersampled view.
    """
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
