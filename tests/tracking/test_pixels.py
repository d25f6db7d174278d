"""What refinement by pixels, the outline and the gaze promise."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from headworks.mesh import interpolate
from headworks.tracking.dense import jitter, refine, texture_deviation
from headworks.tracking.energy import predict
from headworks.tracking.eyes import EYES, find_iris, lids_follow, track_gaze
from headworks.tracking.landmark_fit import more_steps
from headworks.tracking.light import (
    fit_light,
    harmonics,
    surface_normals,
    without_light,
)
from headworks.tracking.silhouette import (
    intersection_over_union,
    outline_observations,
    scalp_vertices,
)
from headworks.tracking.texture import draw, face_surface, gather_texture
from headworks.tracking.tracker import grey_frames, intrinsics
from tests.tracking.scene import SIDE, pictures, procedural, scene, turn_error, view


def test_pixels_pull_a_jittering_pose_back_into_place() -> None:
    of = scene(14, noise_px=1.5)
    rgb, _ = pictures(of)
    seen = view(of)
    Ks = intrinsics(seen, of.truth.focal)
    state = more_steps(of.rig, of.problem, of.truth, of.landmarks, 6)
    surface = face_surface(of.head)
    better = refine(
        surface, of.rig, of.problem, state, of.landmarks, grey_frames(rgb), Ks, np.ones(14), 35.0
    )
    grey = grey_frames(rgb)
    index = np.tile(np.arange(27, 36), (14, 1))
    truth = predict(of.problem, of.truth, index)
    linked = of.problem.linked
    wobble = [jitter(predict(of.problem, s, index) - truth, linked) for s in (state, better)]
    assert wobble[1] < 0.6 * wobble[0]
    errors = [turn_error(s.rotation, of.truth.rotation).mean() for s in (state, better)]
    assert errors[1] < 0.8 * errors[0]
    deviations = [texture_deviation(surface, s, grey, Ks) for s in (state, better)]
    assert deviations[1] < 0.8 * deviations[0]


def test_skin_looks_more_alike_in_all_frames_without_the_light() -> None:
    of = scene(12)
    surface = face_surface(of.head)
    truth = np.array([1.0, 0.5, -0.3, -0.2, 0.05, 0, 0, 0.1, 0])
    Ks = intrinsics(view(of), of.truth.focal)
    plain = np.full((12, SIDE, SIDE), 100, np.float32)
    lit = plain.copy()
    for t in range(12):
        vertices = surface.vertices(of.truth, t)
        buffers = draw(surface, vertices, Ks[t], SIDE, SIDE)
        normals = interpolate(buffers, surface_normals(surface, vertices), surface.faces)
        shading = np.clip(harmonics(normals.astype(np.float64)) @ truth, 0.4, 2.4)
        lit[t] = plain[t] * np.where(buffers.face_ids >= 0, shading, 1)
    frames = np.arange(12)
    light, _ = fit_light(surface, of.truth, Ks, lit, frames)
    flat = without_light(surface, of.truth, Ks, lit, frames, light)
    deviations = [
        gather_texture(surface, of.truth, Ks, images, frames)[1:] for images in (lit, flat)
    ]
    before, after = ((d * w).sum() / w.sum() for d, w in deviations)
    assert after < 0.7 * before


def test_the_outline_finds_the_matte_beyond_a_head_that_is_too_small() -> None:
    of = scene(2)
    _, alpha = pictures(of)
    seen = view(of)
    Ks = intrinsics(seen, of.truth.focal)
    surface = face_surface(of.head)
    farther = replace(of.truth, translation=of.truth.translation * [1, 1, 1.04])
    found = outline_observations(
        surface, np.zeros(len(surface.model), bool), farther, alpha, Ks, np.ones(2),
        np.full(2, 35.0), 0,
    )  # fmt: skip
    assert (found.weight > 0).mean() > 0.3
    own = np.stack([surface.vertices(farther, t)[found.index[t]] for t in range(2)])
    pixels = own[..., :2] / own[..., 2:] * of.truth.focal
    outward = ((found.target - pixels) * found.normal).sum(-1)[found.weight > 0]
    radius = np.linalg.norm(pixels - pixels.mean(1, keepdims=True), axis=-1).mean()
    assert abs(np.median(outward) - 0.04 * radius) < 0.7


def test_hair_is_expected_on_the_scalp_alone() -> None:
    head = procedural()
    surface = face_surface(head)
    scalp = scalp_vertices(head, surface)
    marks = head.landmarks(head.template[None])[0].numpy()
    assert scalp.any()
    assert surface.model.template[scalp][:, 1].max() > marks[:, 1].max()
    assert not scalp[surface.model.template[:, 1] < marks[33, 1]].all()


def test_iou_of_known_masks() -> None:
    covered = np.zeros((4, 4), bool)
    covered[:2] = True
    alpha = np.zeros((4, 4), np.uint8)
    alpha[1:3] = 255
    assert intersection_over_union(covered, alpha) == 1 / 3
    assert np.isnan(intersection_over_union(np.zeros((2, 2), bool), np.zeros((2, 2), np.uint8)))


def _eye(centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A red channel with an iris at `centre`, and the lids' landmarks."""
    lids = np.array([[20, 30], [27, 26], [34, 26], [42, 30], [34, 34.5], [27, 34.5]])
    fine = np.full((640, 640), 190, np.uint8)
    inside = cv2.fillPoly(np.zeros_like(fine), [np.rint(lids * 10).astype(np.int32)], 1) > 0
    iris = cv2.circle(np.zeros_like(fine), tuple(int(c * 10) for c in centre), 45, 1, -1) > 0
    fine[inside] = 220
    fine[inside & iris] = 60
    return cv2.resize(fine, (64, 64), interpolation=cv2.INTER_AREA), lids


def test_the_iris_is_found_where_it_is() -> None:
    for centre in ((31.0, 30.0), (27.5, 30.5), (35.0, 29.5)):
        found, contrast = find_iris(*_eye(centre), 4.5)
        assert contrast > 0.3
        assert abs(found[0] - centre[0]) < 0.7
        assert abs(found[1] - centre[1]) < 1.2


def test_shut_lids_hide_the_iris() -> None:
    red, lids = _eye((31.0, 30.0))
    shut = lids.copy()
    shut[:, 1] = 30
    assert find_iris(red, shut, 4.5)[1] == 0


def test_irises_moved_to_the_subjects_left_turn_both_eyes_left_and_lids_follow_down() -> None:
    of = scene(3)
    frontal = np.tile(np.diag([1.0, -1, -1]), (3, 1, 1))
    still = replace(
        of.truth, rotation=frontal, translation=np.tile([0, 0, 0.4], (3, 1)),
        expression=0 * of.truth.expression, focal=3 * SIDE,
    )  # fmt: skip
    head, names = of.head, of.head.expression_names
    Ks = np.tile(
        np.array([[3.0 * SIDE, 0, SIDE / 2], [0, 3.0 * SIDE, SIDE / 2], [0, 0, 1]]), (3, 1, 1)
    )
    marks = predict(of.problem, still, np.tile(np.arange(68), (3, 1))) + SIDE / 2
    rgb = np.full((3, SIDE, SIDE, 3), 180, np.uint8)
    radius = 0.0059 * 3 * SIDE / (0.4 - 0.08)
    for t, offset in enumerate((0.0, 0.3 * radius, 0.0)):
        for corners in EYES:
            lids = marks[t, corners]
            cv2.fillPoly(rgb[t], [np.rint(lids).astype(np.int32)], (235, 235, 235))
            x, y = lids.mean(0) + np.array([offset, 0])
            disk = np.zeros((SIDE, SIDE), np.uint8)
            cv2.circle(disk, (round(x), round(y)), round(radius), 1, -1)
            opening = cv2.fillPoly(np.zeros_like(disk), [np.rint(lids).astype(np.int32)], 1)
            rgb[t][(disk & opening) > 0] = 40
    gaze = track_gaze(head, still, rgb, marks, Ks, np.zeros(2, bool))
    assert gaze.seen.all()
    np.testing.assert_allclose(gaze.eyes[:, 0], gaze.eyes[:, 1])
    # The subject's left is to the right in the picture: +x, a positive turn about y.
    assert gaze.eyes[1, 0, 1] - gaze.eyes[0, 0, 1] > 0.08
    down = np.zeros((1, 2, 3))
    down[..., 0] = 0.25
    lids = lids_follow(names, np.zeros((1, len(names))), down)
    assert lids[0, names.index("eyeLookDownLeft")] == 0.5
    assert lids[0, names.index("eyeLookUpLeft")] == 0
