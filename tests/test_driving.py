"""Driving: whoever performs, the avatar does it in its own world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from headworks.avatars.avatar import BoundAvatar
from headworks.cameras import Camera, intrinsics, orbit
from headworks.driving.cameras import (
    CameraPath,
    Keyframe,
    in_world,
    read_path,
    turntable,
    write_path,
)
from headworks.driving.curves import Curves, perform, read_curves, write_curves
from headworks.driving.performance import (
    Performance,
    canonical_rest,
    frontal_camera,
    performance_of,
    tracked_rest,
    world_place,
)
from headworks.driving.poser import Poser, Shape
from headworks.driving.show import Shown, shown
from headworks.driving.transfer import Transfer, transfer
from headworks.errors import HeadworksError
from headworks.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from headworks.heads import load_head
from headworks.heads.base import HeadModel, HeadPose
from headworks.metrics.pixel import psnr
from headworks.tracks import Tracking
from tests.tinycapture import toy_avatar
from tests.toyhead import toy_head

SIDE = 64
K = intrinsics(150.0, SIDE, SIDE)


def tracking(count: int = 9, turn: float = 0.3, shift: float = 0.0, eye: float = 0.0) -> Tracking:
    """A toy head that turns, nods and talks, seen by a camera at an azimuth of `eye`."""
    head, phase = toy_head(), torch.linspace(0, 4, count)
    pose = HeadPose.zeros(count)
    pose.rotation[:, 1] = turn * torch.sin(phase)
    pose.neck[:, 0] = 0.2 * torch.cos(phase)
    pose.translation[:, 0] = 0.01 * torch.cos(phase) + shift
    expression = torch.stack([0.5 + 0.5 * torch.sin(2 * phase), 0.5 - 0.4 * torch.cos(phase)], 1)
    return Tracking(
        "toy", head.digest, torch.zeros(2), expression, pose, np.ones(count, bool),
        orbit(eye, 0.0, 0.6)[None], np.tile(K, (count, 1, 1, 1)),
    )  # fmt: skip


def driven(by: Tracking, avatar: BoundAvatar, own: Tracking, how: Transfer) -> Performance:
    head = avatar.head
    rests = [tracked_rest(head, t, (SIDE, SIDE), frontal_camera(head, t)) for t in (by, own)]
    performance = performance_of(head, by, 25.0, "test")
    return transfer(performance, rests[0], head, avatar.identity, rests[1], how)


def pictures(avatar: BoundAvatar, performance: Performance, camera: Camera) -> list[Shown]:
    return list(shown(avatar, performance, [camera] * len(performance)))


def test_driving_by_itself_is_self_reenactment() -> None:
    avatar, own = toy_avatar("monocular"), tracking()
    camera = own.camera(0, 0, SIDE, SIDE)
    for how in (Transfer(), Transfer("relative", neutral=True)):
        moved = driven(own, avatar, own, how)
        assert torch.allclose(moved.expression, own.expression, atol=1e-6)
        for t, frame in enumerate(pictures(avatar, moved, camera)):
            rgb, _ = avatar.render(own.expression[t], own.pose[t : t + 1], camera, (0, 0, 0))
            assert psnr(frame.premultiplied, rgb) > 60


def test_where_a_driver_sits_does_not_matter() -> None:
    avatar, own = toy_avatar("monocular"), tracking(turn=0.1)
    near = driven(tracking(), avatar, own, Transfer())
    far = driven(tracking(shift=0.4), avatar, own, Transfer())
    for a, b in zip(near.head_motion(), far.head_motion()):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_driver_filmed_from_the_side_turns_the_avatar_to_the_side() -> None:
    avatar, own = toy_avatar("monocular"), tracking(turn=0.0)
    still = replace(tracking(turn=0.0), viewmats=orbit(0.5, 0.0, 0.6)[None])
    seen = driven(still, avatar, own, Transfer("camera")).head_motion()[0]
    before = performance_of(avatar.head, own, 25.0, "").head_motion()[0]
    turn = matrix_to_axis_angle(seen @ before.transpose(1, 2))
    assert np.allclose(turn[:, 1], -0.5, atol=1e-3)
    relative = driven(still, avatar, own, Transfer("relative")).head_motion()[0]
    assert torch.allclose(relative, before, atol=1e-4)


def test_a_still_pose_moves_the_face_alone() -> None:
    avatar, own = toy_avatar("monocular"), tracking()
    moved = driven(tracking(turn=0.5), avatar, own, Transfer("still"))
    rotations, offsets = moved.head_motion()
    assert float((rotations - rotations[0]).abs().max()) < 1e-5
    assert float((offsets - offsets[0]).abs().max()) < 1e-5
    assert float((moved.expression[0] - moved.expression[4]).abs().max()) > 0.1


def test_neutral_transfer_keeps_the_avatars_resting_face() -> None:
    avatar, own = toy_avatar("monocular"), tracking()
    grim = replace(tracking(), expression=torch.full((9, 2), 0.6))
    rest = tracked_rest(avatar.head, own, (SIDE, SIDE), 0).expression
    neutral = driven(grim, avatar, own, Transfer(neutral=True)).expression
    assert torch.allclose(neutral, rest.expand(9, 2), atol=1e-6)
    plain = driven(grim, avatar, own, Transfer()).expression
    assert torch.allclose(plain, torch.full((9, 2), 0.6), atol=1e-6)


def test_moving_the_head_equals_moving_the_camera() -> None:
    avatar, own = toy_avatar("monocular"), tracking(1)
    camera = own.camera(0, 0, SIDE, SIDE)
    turn = axis_angle_to_matrix(torch.tensor([[0.2, 0.4, -0.1]]))[0]
    shift = torch.tensor([0.01, -0.02, 0.03])
    moved_pose = replace(
        own.pose,
        rotation=matrix_to_axis_angle(turn @ axis_angle_to_matrix(own.pose.rotation)),
        translation=own.pose.translation @ turn.T + shift,
    )
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = turn.numpy(), shift.numpy()
    other = Camera(camera.viewmat @ rigid, camera.K, SIDE, SIDE)
    performance = performance_of(avatar.head, own, 25.0, "")
    a = pictures(avatar, replace(performance, pose=moved_pose), camera)[0]
    b = pictures(avatar, performance, other)[0]
    assert psnr(a.premultiplied, b.premultiplied) > 60
    assert psnr(a.premultiplied, pictures(avatar, performance, camera)[0].premultiplied) < 40


def test_the_quick_poser_equals_the_avatars_own() -> None:
    head = load_head("procedural")
    rng = torch.Generator().manual_seed(3)
    identity = 0.8 * torch.randn(len(head.identity_basis), generator=rng)
    avatar = avatar_of(head, identity)
    count = 3
    expression = torch.rand(count, len(head.expression_names), generator=rng) * 0.5
    pose = HeadPose(*(0.2 * torch.randn(count, 3, generator=rng) for _ in range(5)),
                    0.2 * torch.randn(count, 2, 3, generator=rng))  # fmt: skip
    shape = Shape(head, identity)
    for t, (fast, moment) in enumerate(
        zip(Poser(avatar).frames(expression, pose), shape.moments(expression, pose), strict=True)
    ):
        slow = avatar.gaussians(expression[t], pose[t : t + 1])
        vertices = avatar.vertices(expression[t], pose[t : t + 1])
        assert np.abs(shape.posed(moment) - vertices.numpy()).max() < 2e-6
        assert float((fast.means - slow.means).abs().max()) < 1e-5
        assert float((fast.scales - slow.scales).abs().max()) < 1e-5
        assert torch.equal(fast.opacities, slow.opacities)
        alike = (fast.quats * slow.quats).sum(1).abs()
        assert float(alike.quantile(0.001)) > 1 - 1e-5  # slivers of triangles have no safe normal


def avatar_of(head: HeadModel, identity: torch.Tensor) -> BoundAvatar:
    from headworks.avatars.binding import bind_uv, initial_gaussians

    binding = bind_uv(head, 24)
    local = initial_gaussians(head, binding)
    rng = torch.Generator().manual_seed(4)
    noisy = local._replace(
        means=0.3 * torch.randn(local.means.shape, generator=rng),
        quats=torch.randn(local.quats.shape, generator=rng),
    )
    return BoundAvatar(head, identity, noisy, binding, "gasp", "photo")


def test_pose_correctives_and_pairs_of_expressions_are_posed_quickly_too() -> None:
    head = toy_head()
    rng = torch.Generator().manual_seed(0)
    v = len(head.template)
    full = replace(
        head,
        pose_basis=0.01 * torch.randn(36, v, 3, generator=rng),
        corrective_terms=torch.tensor([[0, 1], [1, 2], [3, 2]]),
        corrective_basis=0.01 * torch.randn(3, v, 3, generator=rng),
    )
    identity = torch.tensor([0.7, -0.4])
    pose = HeadPose(*(0.3 * torch.randn(2, 3, generator=rng) for _ in range(5)),
                    0.3 * torch.randn(2, 2, 3, generator=rng))  # fmt: skip
    expression = torch.rand(2, 2, generator=rng)
    exact = full.vertices(identity.expand(2, -1), expression, pose).numpy()
    shape = Shape(full, identity)
    assert shape.pairs == 1
    for t, moment in enumerate(shape.moments(expression, pose)):
        assert np.abs(shape.posed(moment) - exact[t]).max() < 1e-6


def test_straight_alpha_composes_to_what_was_seen() -> None:
    frame = pictures(toy_avatar("photo"), performance_of(toy_head(), tracking(1), 25.0, ""),
                     tracking(1).camera(0, 0, SIDE, SIDE))[0]  # fmt: skip
    rgba = frame.rgba().astype(np.float64) / 255
    white = np.ones(3, np.float32)
    again = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:])
    assert np.abs(again - frame.over(white) / 255).max() <= 2 / 255
    assert 0.05 < rgba[..., 3].mean() < 0.95


# curves


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_curves_come_back_from_every_format(tmp_path: Path, ending: str) -> None:
    values = np.linspace(0, 1, 24).reshape(8, 3)
    path = tmp_path / f"curves.{ending}"
    write_curves(path, Curves(("jawOpen", "noseOut", "headYaw"), values, 30.0))
    back = read_curves(path)
    assert back.names == ("jawOpen", "noseOut", "headYaw")
    assert back.fps == pytest.approx(30.0, abs=1e-3)
    assert np.abs(back.values - values).max() < 1e-6


def test_recordings_of_capture_apps_are_read(tmp_path: Path) -> None:
    path = tmp_path / "take.csv"
    path.write_text(
        "Timecode,BlendShapeCount,JawOpen,EyeBlink_L,HeadYaw\n"
        "10:00:00:00.0,61,0.1,0.0,0.2\n10:00:00:01.0,61,0.4,0.5,0.1\n"
    )
    curves = read_curves(path)
    assert curves.names == ("jawOpen", "eyeBlinkLeft", "headYaw")
    assert curves.fps == 60.0
    tool = tmp_path / "speech.json"
    tool.write_text('{"exportFps": 30, "facsNames": ["jawOpen"], "weightMat": [[0.2], [0.6]]}')
    assert read_curves(tool).values.tolist() == [[0.2], [0.6]]


def test_curves_move_what_their_names_say() -> None:
    head = load_head("procedural")
    identity = torch.zeros(len(head.identity_basis))
    names = ("jawOpen", "eyeLookOutLeft", "headYaw", "browTwist")
    curves = Curves(names, np.array([[0, 0, 0, 0], [0.5, 1, 0.3, 1.0]]), 25.0)
    performance, unknown = perform(curves, head, identity, "test")
    assert unknown == ["browTwist"]
    assert float(performance.expression[1, head.expression_index("jawOpen")]) == 0.5
    assert float(performance.pose.eyes[1, 0, 1]) > 0.4
    forward = performance.head_motion()[0][1, :, 2]
    assert float(forward[0]) == pytest.approx(np.sin(0.3), abs=1e-5)  # to the subject's left


def test_gaze_that_is_told_twice_turns_the_eyes_once() -> None:
    head = load_head("procedural")
    identity = torch.zeros(len(head.identity_basis))
    names = ("eyeLookOutLeft", "eyeLookInRight", "leftEyeYaw")
    performance, _ = perform(Curves(names, np.array([[0.5, 0.5, 0.25]]), 25.0), head, identity, "")
    assert performance.pose.eyes[0, :, 1].tolist() == pytest.approx([0.25, 0.26])


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "no expression curves"), ("jawOpen\nmany\n", "no number"), ("{}", "no curves"),
     ("jawOpen,JawOpen\n1,1\n", "two columns")],
)  # fmt: skip
def test_unreadable_curves_are_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(HeadworksError, match=told):
        read_curves(path)


# cameras


def keys() -> tuple[Keyframe, ...]:
    return tuple(
        Keyframe(float(t), orbit(0.4 * t, 0.1 * t, 0.6 + 0.1 * t), 0.4 + 0.05 * t) for t in range(4)
    )


def centre(camera: Camera) -> NDArray[np.float64]:
    return camera.centre


def test_a_path_passes_its_keyframes_and_moves_evenly_between() -> None:
    for interpolation in ("smooth", "linear"):
        path = CameraPath(keys(), 25.0, 64, 48, interpolation=interpolation)  # type: ignore[arg-type]
        for key in keys():
            camera = path.camera(key.time_s)
            assert np.abs(camera.viewmat - key.viewmat).max() < 1e-9
            assert 2 * np.arctan(24 / camera.K[1, 1]) == pytest.approx(key.fov)
        steps = [
            np.linalg.norm(centre(path.camera(t + 0.04)) - centre(path.camera(t)))
            for t in np.arange(0, 2.9, 0.04)
        ]
        assert max(steps) < 2.5 * min(steps)
    assert path.frames() == 76


def test_a_loop_ends_where_it_began() -> None:
    start = Camera(orbit(0.0, 0.1, 0.8), K, SIDE, SIDE)
    path = turntable(start, np.zeros(3), 4.0, 25.0)
    assert path.frames() == 100
    assert np.abs(path.camera(4.0).viewmat - path.camera(0.0).viewmat).max() < 1e-9
    assert np.abs(path.camera(0.0).viewmat - start.viewmat).max() < 1e-9
    speeds = [
        np.linalg.norm(centre(path.camera(t + 0.04)) - centre(path.camera(t)))
        for t in np.arange(0, 4, 0.04)
    ]
    assert max(speeds) < 1.01 * min(speeds)
    for t in np.arange(0, 4, 0.3):
        pixel = path.camera(t).project(np.zeros(3))
        assert np.abs(pixel[:2] - SIDE / 2).max() < 0.05
        assert pixel[2] == pytest.approx(0.8, abs=1e-3)


def test_a_path_comes_back_from_its_file(tmp_path: Path) -> None:
    path = CameraPath(keys(), 24.0, 640, 480, True, 1.5, "smooth", "world")
    write_path(tmp_path / "path.json", path)
    back = read_path(tmp_path / "path.json")
    assert (back.fps, back.width, back.height, back.loop, back.frame) == (
        24.0,
        640,
        480,
        True,
        "world",
    )
    for t in (0.0, 0.7, 3.9):
        assert np.abs(back.camera(t).viewmat - path.camera(t).viewmat).max() < 1e-9


def test_paths_of_nerfstudio_are_read(tmp_path: Path) -> None:
    import json

    viewmat = orbit(0.3, 0.2, 0.7)
    to_world = np.linalg.inv(viewmat) @ np.diag([1.0, -1, -1, 1])
    frame = {"camera_to_world": to_world.reshape(-1).tolist(), "fov": 40.0, "aspect": 1.0}
    body = {"camera_type": "perspective", "render_width": 80, "render_height": 60, "fps": 24,
            "seconds": 1, "camera_path": [frame, frame]}  # fmt: skip
    (tmp_path / "path.json").write_text(json.dumps(body))
    camera = read_path(tmp_path / "path.json").camera(0.0)
    assert np.abs(camera.viewmat - viewmat).max() < 1e-9
    assert camera.K[1, 1] == pytest.approx(30 / np.tan(np.deg2rad(20)))
    assert (camera.width, camera.height) == (80, 60)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"schema": "other"}',
     '{"schema": "headworks.camera_path/1", "fps": 25, "width": 64, "height": 64, "keyframes": []}',
     '{"schema": "headworks.camera_path/1", "fps": 25, "width": 64, "height": 64, "keyframes": '
     '[{"time_s": 0, "fov_degrees": 30, "viewmat": [[2,0,0,0],[0,2,0,0],[0,0,2,0],[0,0,0,1]]}]}'],
)  # fmt: skip
def test_a_file_that_is_no_path_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "path.json").write_text(text)
    with pytest.raises(HeadworksError, match=r"path.json: not a camera path"):
        read_path(tmp_path / "path.json")


def test_a_path_about_the_head_follows_where_the_head_rests() -> None:
    head = toy_head()
    own = tracking(5, turn=0.0, shift=0.2)
    rest = tracked_rest(head, own, (SIDE, SIDE), 0)
    portrait = canonical_rest(head, torch.zeros(2)).camera
    there = in_world(portrait, world_place(rest))
    vertices = own.vertices(head, [2])[0].numpy()
    middle = there.project(vertices.mean(0))
    assert np.abs(middle[:2] / portrait.width - 0.5).max() < 0.1
