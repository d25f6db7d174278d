"""Rigs, films and annotations of synthetic captures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headworks.cameras import Camera, orbit
from headworks.formats.nersemble import CORNERS, FRONTAL, SERIALS
from headworks.geometry import axis_angle_to_matrix
from headworks.heads import HeadPose, load_head
from headworks.heads.base import REGIONS
from headworks.mesh import rasterize_mesh
from headworks.synthetic import make_person, rigs
from headworks.synthetic.annotations import DEPTH_STEP, LABELS, annotate
from headworks.synthetic.capture import capture, preview
from headworks.synthetic.film import Film
from headworks.synthetic.motion import faces, held
from headworks.synthetic.render import pose_person


@pytest.fixture(scope="module")
def person():
    return make_person(7, 128)


def azimuth(camera: Camera) -> float:
    x, _, z = camera.centre - rigs.TARGET
    return float(np.degrees(np.arctan2(x, z)))


def test_the_nersemble_rig_spans_its_arc_with_the_corners_outside_and_one_before_the_face():
    cameras = rigs.nersemble_rig(64)
    assert tuple(cameras) == SERIALS
    angles = {serial: azimuth(camera) for serial, camera in cameras.items()}
    assert max(angles.values()) - min(angles.values()) == pytest.approx(93, abs=0.5)
    assert angles[SERIALS[0]] > 0, "the first camera stands to the subject's left"
    assert abs(angles[FRONTAL]) < 7
    outer = sorted(angles, key=lambda s: -abs(angles[s]))[:4]
    assert set(outer) == set(CORNERS)
    heights = [cameras[s].centre[1] for s in SERIALS]
    assert min(heights[0::2]) > max(heights[1::2]), "even places are the upper row"
    camera = cameras[FRONTAL]
    assert camera.height / camera.width == pytest.approx(3208 / 2200, abs=0.02)
    square, top = rigs.squared(camera)
    point = np.array([0.03, 0.02, 0.08])
    x, y = square.project(point)[:2]
    assert np.allclose((x, y + top), camera.project(point)[:2])


def test_a_person_turned_before_one_camera_is_seen_as_from_all_over_the_hemisphere():
    head = load_head("procedural")
    rng = np.random.default_rng(0)
    motion = rigs.seen_from_everywhere(faces(head, 40, rng), rng)
    camera = rigs.ring(1, 64)[0]
    directions = []
    for t in range(40):
        rotation = axis_angle_to_matrix(motion.pose.rotation[t].double()).numpy()
        moved = np.eye(4)
        moved[:3, :3], moved[:3, 3] = rotation, motion.pose.translation[t].double().numpy()
        # Seen from the person, the camera stands here.
        own = Camera(camera.viewmat @ moved, camera.K, 64, 64)
        away = own.centre - rigs.TARGET
        assert np.linalg.norm(away) == pytest.approx(rigs.DISTANCE, abs=1e-3)
        directions.append((azimuth(own), np.degrees(np.arcsin(away[1] / np.linalg.norm(away)))))
    turn, rise = np.array(directions).T
    assert np.histogram(turn, 8, (-180, 180))[0].min() >= 4, "all around"
    assert rise.min() > -20.1
    assert rise.max() < 45.1
    assert np.ptp(rise) > 50
    with pytest.raises(ValueError, match="rest"):
        rigs.seen_from_everywhere(motion, rng)


def test_turning_the_person_or_moving_the_camera_shows_the_same_shape(person):
    head = load_head("procedural")
    still = held(head, 1, np.random.default_rng(1))
    turned = rigs.seen_from_everywhere(still, np.random.default_rng(2))
    camera = rigs.ring(1, 96)[0]
    stage = pose_person(person, still.expression[0], turned.pose[[0]])
    moved = np.eye(4)
    moved[:3, :3] = axis_angle_to_matrix(turned.pose.rotation[0].double()).numpy()
    moved[:3, 3] = turned.pose.translation[0].double().numpy()
    other = pose_person(person, still.expression[0], still.pose[[0]])
    walked = Camera(camera.viewmat @ moved, camera.K, 96, 96)
    take = preview(2)
    assert np.abs(take(stage, camera, 0).alpha - take(other, walked, 0).alpha).mean() < 2e-3


def test_annotations_say_what_a_ray_through_the_pixel_meets(person):
    head = load_head("procedural")
    expression = torch.zeros(len(head.expression_names))
    stage = pose_person(person, expression, HeadPose.zeros(1))
    camera = Camera(orbit(0.2, 0.1, 1.0, (0, -0.02, 0)), rigs.ring(1, 96)[0].K, 96, 96)
    seen = annotate(stage.scene, head, camera)
    surface = stage.scene.surfaces[0]
    buffers = rasterize_mesh(surface.vertices, surface.faces, camera)
    skin = seen.regions == LABELS.index("skin")
    assert skin.sum() > 300
    assert np.array_equal(seen.depth[skin], buffers.depth[skin])
    # Lift the pixels to the world by their depth: they lie on the head, normals point at us.
    rows, columns = np.nonzero(skin)
    ray = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1) @ np.linalg.inv(camera.K).T
    world = (ray * seen.depth[skin][:, None] - camera.viewmat[:3, 3]) @ camera.viewmat[:3, :3]
    corner = surface.vertices[surface.faces[buffers.face_ids[skin]]]
    true = (corner * buffers.barycentric[skin][..., None]).sum(1)
    assert np.abs(world - true).max() < 1e-5
    facing = (seen.normals[skin] * (camera.centre - world)).sum(1)
    assert (facing > 0).mean() > 0.97
    assert np.abs(np.linalg.norm(seen.normals[skin], axis=1) - 1).max() < 1e-3
    names = {LABELS[i] for i in np.unique(seen.regions)}
    assert {"background", "skin", "lips", "eyes", "clothes"} <= names
    assert names <= {"background", "clothes", "glasses", "hair", "beard", *REGIONS}
    assert (seen.uvs[skin] >= 0).all()
    assert (seen.uvs[seen.regions == LABELS.index("clothes")] == -1).all()
    assert np.array_equal(np.isfinite(seen.depth), seen.regions > 0)
    stored = seen.stored()
    assert np.abs(stored["depth"][skin] * DEPTH_STEP - seen.depth[skin]).max() < DEPTH_STEP
    back = stored["normals"][skin] / 127.5 - 1
    assert np.abs(back - seen.normals[skin]).max() < 0.01
    assert (stored["uvs"][seen.regions == 0] == 65535).all()


def test_a_killed_capture_goes_on_where_it_was(person, tmp_path):
    head = load_head("procedural")
    motion = held(head, 4, np.random.default_rng(3))
    cameras = rigs.ring(2, 48)
    white = (1.0, 1.0, 1.0)

    class KilledError(Exception):
        pass

    def dying(stage, camera, seed):
        taken.append(seed)
        if len(taken) == 5:
            raise KilledError
        return preview(1)(stage, camera, seed)

    taken: list[int] = []
    plan = {"seed": 1}
    with pytest.raises(KilledError):
        capture(person, motion, cameras, white, dying, 1, scratch=tmp_path, plan=plan)
    again: list[int] = []

    def counting(stage, camera, seed):
        again.append(seed)
        return preview(1)(stage, camera, seed)

    found = capture(person, motion, cameras, white, counting, 1, 0.01, True, tmp_path / "b", plan)
    assert len(again) == 8
    again.clear()
    resumed = capture(person, motion, cameras, white, counting, 1, scratch=tmp_path, plan=plan)
    assert len(again) == 4, "two of four time steps were there"
    whole = capture(person, motion, cameras, white, preview(1), 1)
    assert np.array_equal(resumed.rgb, whole.rgb)
    assert np.array_equal(resumed.landmarks, whole.landmarks)
    assert set(found.annotations) == {"depth", "normals", "uvs", "regions"}
    # Another plan must not take over foreign frames.
    again.clear()
    capture(person, motion, cameras, white, counting, 1, scratch=tmp_path, plan={"seed": 2})
    assert len(again) == 8


def test_a_film_counts_a_step_only_once_it_is_whole(tmp_path):
    layout = {"a": ((3, 2), np.uint8), "b": ((3,), np.float32)}
    film = Film(tmp_path, {}, layout)
    film.keep(1, a=np.array([1, 2], np.uint8), b=np.float32(3))
    film.arrays["a"][2] = 9
    later = Film(tmp_path, {}, layout)
    assert later.missing() == [0, 2]
    assert later.arrays["b"][1] == 3
    assert Film(tmp_path, {"more": 1}, layout).missing() == [0, 1, 2]
    with pytest.raises(ValueError, match="time steps"):
        Film(tmp_path, {}, {"a": ((3,), np.uint8), "b": ((2,), np.uint8)})
