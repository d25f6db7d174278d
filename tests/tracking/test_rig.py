"""What tracking by several cameras promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headworks.tracking.cloud import cloud_observations, skin_vertices
from headworks.tracking.energy import State, fit_chain
from headworks.tracking.offsets import OFFSET, with_offsets
from headworks.tracking.points import concatenate
from headworks.tracking.rig import fit_identity, keyframes, prepare, start
from headworks.tracking.rig_view import Cloud
from headworks.tracking.stereo import stereo_planes
from headworks.tracking.texture import HEAD, face_surface
from headworks.tracking.tracker import Options
from tests.tracking.rigscene import cameras, rig_view, world_vertices
from tests.tracking.scene import Scene, scene, turn_error

ANGLES = (-0.6, -0.2, 0.2, 0.6)


def head_vertices(of: Scene, state: State) -> np.ndarray:
    """[T, V, 3] of the head without torso, world."""
    surface = face_surface(of.head)
    return np.stack([surface.vertices(state, t) for t in range(len(state))])


def shape_error(of: Scene, angles: tuple[float, ...]) -> tuple[float, float]:
    """Mean vertex error in metres and turn error in degrees after the fit to landmarks alone."""
    view = rig_view(of, angles, noise_px=1.0)
    fit = prepare(of.head, view, Options(outline=False, stereo=False))
    state = start(fit)
    keys = keyframes(fit, state)
    fitted = fit_identity(fit, state.frames(keys), keys)
    gap = head_vertices(of, fitted) - head_vertices(of, of.truth.frames(keys))
    turn = turn_error(fitted.rotation, of.truth.rotation[keys]).mean()
    return float(np.linalg.norm(gap, axis=-1).mean()), float(turn)


def test_four_cameras_know_the_head_better_than_one() -> None:
    of = scene(4)
    one, four = shape_error(of, ANGLES[1:2]), shape_error(of, ANGLES)
    assert four[0] < 0.6 * one[0]
    assert four[1] < 1.5


def test_poses_start_well_though_one_camera_sees_something_else() -> None:
    of = scene(2)
    view = rig_view(of, ANGLES)
    view.landmarks[:, 2, :, 0] += np.linspace(-30, 30, 68)
    state = start(prepare(of.head, view, Options(outline=False)))
    assert turn_error(state.rotation, of.truth.rotation).max() < 8
    assert np.linalg.norm(state.translation - of.truth.translation, axis=1).max() < 0.01


def test_neighbouring_cameras_find_the_surface_that_the_mesh_misses() -> None:
    of = scene(1)
    view = rig_view(of, (-0.25, 0.0, 0.25), drawn=True)
    surface = face_surface(of.head)
    firm = of.head.region_faces("skin").numpy()[of.head.region_faces(*HEAD).numpy()]
    near = replace(of.truth, translation=of.truth.translation - np.array([0, 0, 0.005]))
    found = stereo_planes(surface, firm, near, view, np.arange(1), 0)
    some = found.weight[0] > 0
    assert found.normal is not None
    assert some.sum() > 150
    truth = world_vertices(of, 0)[surface.vertex_ids][found.index[0, some]]
    mesh = surface.vertices(near, 0)[found.index[0, some]]
    normal = found.normal[0, some]
    before = np.abs(((mesh - truth) * normal).sum(1))
    after = np.abs(((found.target[0, some] - truth) * normal).sum(1))
    assert np.median(before) > 0.003
    assert np.median(after) < 0.3 * np.median(before)


def test_a_cloud_pulls_the_head_onto_its_planes() -> None:
    of = scene(2)
    surface = face_surface(of.head)
    skin = skin_vertices(of.head, surface)
    places, normals = [], []
    for t in range(2):
        vertices = surface.vertices(of.truth, t)
        corner = vertices[surface.faces]
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        places.append(corner.mean(1))
        normals.append(normal / np.linalg.norm(normal, axis=1, keepdims=True))
    count = len(surface.faces)
    cloud = Cloud(
        np.concatenate(places), np.concatenate(normals), np.ones(2 * count),
        np.array([0, count, 2 * count]),
    )  # fmt: skip
    problem = replace(
        of.problem, model=concatenate([of.rig.model, surface.model]), linked=np.zeros(1, bool)
    )
    moved = np.array([0.002, -0.003, 0.004])
    state = replace(of.truth, translation=of.truth.translation + moved)
    for _ in range(6):
        planes = cloud_observations(surface, skin, state, cloud, np.arange(2), len(of.rig.model))
        state = fit_chain(problem, state, [planes], pose_only=True)
    assert np.linalg.norm(state.translation - of.truth.translation, axis=1).max() < 0.001


def test_offsets_move_their_landmark_and_nothing_else() -> None:
    of = scene(1)
    rig, surface, count = with_offsets(of.rig, face_surface(of.head))
    identity = np.concatenate([of.truth.identity, np.zeros(count)])
    identity[len(of.truth.identity) + 3 * list(OFFSET).index(30) + 1] = 2.0
    index = np.arange(len(rig.model))
    own = rig.model.points(index, identity, of.truth.expression, of.truth.jaw)[0]
    plain = of.rig.model.points(index, of.truth.identity, of.truth.expression, of.truth.jaw)[0]
    np.testing.assert_allclose(own[30] - plain[30], [0, 0.004, 0], atol=1e-9)
    np.testing.assert_allclose(np.delete(own, 30, 0), np.delete(plain, 30, 0), atol=1e-9)
    whole = replace(of.truth, identity=identity)
    np.testing.assert_allclose(
        surface.vertices(whole, 0), face_surface(of.head).vertices(of.truth, 0), atol=1e-9
    )


def test_a_lens_sees_what_its_camera_sees() -> None:
    of = scene(1)
    view = rig_view(of, ANGLES)
    point = of.truth.translation[0]
    for c, viewmat in enumerate(cameras(ANGLES)):
        own = view.lens(c).state(of.truth)
        np.testing.assert_allclose(own.translation[0], viewmat[:3, :3] @ point + viewmat[:3, 3])


@pytest.mark.parametrize("lost", [0, 1])
def test_a_frame_seen_by_one_camera_alone_still_has_a_pose(lost: int) -> None:
    of = scene(3)
    view = rig_view(of, ANGLES[:2])
    view.landmarks[1, lost] = np.nan
    state = start(prepare(of.head, view, Options(outline=False)))
    assert turn_error(state.rotation, of.truth.rotation).max() < 12
    assert np.linalg.norm(state.translation - of.truth.translation, axis=1).max() < 0.06
