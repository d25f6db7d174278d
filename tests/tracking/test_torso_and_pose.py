"""What the torso's own motion and the split of the pose promise."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from headworks.cameras import Camera
from headworks.heads.base import HeadPose
from headworks.mesh import rasterize_mesh
from headworks.tracking import rotations
from headworks.tracking.pose import root_from_motion, split_pose
from headworks.tracking.shoulders import fit_shoulders, torso_modes
from headworks.tracking.silhouette import intersection_over_union
from headworks.tracking.smoothing import smooth
from headworks.tracking.torso import TorsoMotion, fit_similarity, track_torso
from tests.tracking.scene import procedural


def test_root_and_neck_together_are_the_head_pose_exactly() -> None:
    rng = np.random.default_rng(0)
    head, t = procedural(), 7
    identity = torch.from_numpy(rng.standard_normal(len(head.identity_basis))).float()
    joint = (head.joints[1] + torch.einsum("k,kc->c", identity, head.joint_identity[:, 1])).double()
    turn = rotations.exp(rng.normal(0, 0.4, (t, 3)))
    place = rng.normal(0, 0.05, (t, 3))
    split = split_pose(
        turn, place, joint.numpy(), rotations.exp(rng.normal(0, 0.2, (t, 3))),
        rng.normal(0, 0.02, (t, 3)),
    )  # fmt: skip
    parts = [
        torch.from_numpy(x).float()
        for x in (split.rotation, split.translation, split.neck, split.neck_translation)
    ]
    pose = HeadPose(*parts, torch.zeros(t, 3), torch.zeros(t, 2, 3))
    r, o = head.joint_transforms(identity[None].expand(t, -1), pose)
    np.testing.assert_allclose(r[:, 1].numpy(), turn, atol=2e-6)
    np.testing.assert_allclose(o[:, 1].numpy(), place, atol=2e-6)
    np.testing.assert_allclose(split.neck_translation.mean(0), 0, atol=0.03)


def test_a_moving_torso_moves_the_root_by_as_much_as_it_is_seen_to() -> None:
    focal, depth, principal = 500.0, 0.8, np.array([128.0, 128.0])
    motion = TorsoMotion(
        centre=np.array([120.0, 230.0]),
        shift=np.array([[0.0, 0.0], [10.0, -5.0]]),
        angle=np.array([0.0, 0.1]),
        log_scale=np.array([0.0, 0.05]),
        support=np.array([50, 50]),
    )
    turn, move = root_from_motion(motion, np.eye(3), focal, depth, principal)
    view = np.diag([1.0, -1, -1, 1])
    view[2, 3] = depth

    def seen(points: np.ndarray, t: int) -> np.ndarray:
        camera = (points @ turn[t].T + move[t]) @ view[:3, :3].T + view[:3, 3]
        return camera[:, :2] / camera[:, 2:] * focal + principal

    start = np.array([[-8.0, 102.0], [0, 102.0], [-8.0, 90]]) / focal * depth
    points = np.concatenate([start * [1, -1], np.zeros((3, 1))], 1)
    before, after = seen(points, 0), seen(points, 1)
    c, s, k = np.cos(0.1), np.sin(0.1), np.exp(0.05)
    expected = (before - motion.centre) @ (k * np.array([[c, s], [-s, c]])) + motion.centre
    np.testing.assert_allclose(after, expected + np.array([10, -5]), atol=0.05)


def _scene(shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A textured torso under a head that moves otherwise: grey, alpha, landmarks."""
    rng = np.random.default_rng(1)
    cloth = cv2.GaussianBlur(rng.integers(0, 255, (200, 300)).astype(np.uint8), (0, 0), 1.5)
    face = cv2.GaussianBlur(rng.integers(0, 255, (200, 300)).astype(np.uint8), (0, 0), 1.5)
    grey, landmarks = [], []
    for t, (x, y) in enumerate(shifts):
        move = np.array([[1.0, 0, x - 50], [0, 1, y]])
        image = cv2.warpAffine(cloth, move, (160, 160), borderMode=cv2.BORDER_REFLECT)
        other = np.array([[1.0, 0, -20 + 3 * t], [0, 1, 0]])
        image[:100] = cv2.warpAffine(face, other, (160, 160))[:100]
        grey.append(image)
        marks = np.full((68, 3), 60.0)
        marks[36, 0], marks[45, 0] = 60, 100
        marks[6:11, 1] = 95
        landmarks.append(marks)
    alpha = np.full((len(shifts), 160, 160), 255, np.uint8)
    return np.stack(grey), alpha, np.stack(landmarks)


def test_the_torso_is_followed_and_the_head_is_not() -> None:
    t = 13
    shifts = np.stack([1.5 * np.arange(t) - 9, 0.5 * np.arange(t) - 3], -1)
    motion = track_torso(*_scene(shifts), np.ones(t - 1, bool))
    np.testing.assert_allclose(motion.shift, shifts - shifts[t // 2], atol=0.3)
    assert np.abs(motion.angle).max() < 0.01
    assert (motion.support > 0).all()


def test_without_texture_the_torso_stands_still() -> None:
    grey, alpha, landmarks = _scene(np.zeros((5, 2)))
    motion = track_torso(np.full_like(grey, 90), alpha, landmarks, np.ones(4, bool))
    np.testing.assert_allclose(motion.shift, 0, atol=1e-6)


def test_a_similarity_survives_a_third_of_wrong_points() -> None:
    rng = np.random.default_rng(2)
    source = rng.uniform(0, 100, (60, 2))
    c, s = 1.05 * np.cos(0.1), 1.05 * np.sin(0.1)
    target = source @ np.array([[c, s], [-s, c]]) + [4, -2]
    target[:20] += rng.uniform(8, 25, (20, 2))
    p, agree = fit_similarity(source, target)
    np.testing.assert_allclose(p, [c, s, 4, -2], atol=0.05)
    assert agree == 40


def test_smoothing_keeps_lines_and_fills_gaps() -> None:
    line = np.stack([np.arange(20.0), 3 - np.arange(20.0)], -1)
    weight = np.ones(20)
    weight[5:9] = 0
    spoiled = line.copy()
    spoiled[5:9] = np.nan
    np.testing.assert_allclose(smooth(spoiled, weight, 100.0), line, atol=1e-5)


def test_the_torso_is_placed_where_the_matte_shows_it_and_the_head_stays() -> None:
    head, side = procedural(), 128
    K = np.array([[300.0, 0, 64], [0, 300.0, 40], [0, 0, 1]])
    view = np.diag([1.0, -1, -1, 1])
    view[2, 3] = 0.9
    zeros = np.zeros((1, 3))

    def pose_of(identity: np.ndarray, offset: tuple[float, float]) -> HeadPose:
        joint = (head.joints[1].double() + torch.from_numpy(identity)
                 @ head.joint_identity[:, 1].double()).numpy()  # fmt: skip
        split = split_pose(np.eye(3)[None], zeros, joint, np.eye(3)[None], zeros, offset)
        parts = (split.rotation, split.translation, split.neck, split.neck_translation)
        tensors = [torch.from_numpy(x).float() for x in parts]
        return HeadPose(*tensors, torch.zeros(1, 3), torch.zeros(1, 2, 3))

    def posed(identity: np.ndarray, offset: tuple[float, float]) -> np.ndarray:
        shape = torch.from_numpy(identity).float()[None]
        neutral = torch.zeros(1, len(head.expression_names))
        return head.vertices(shape, neutral, pose_of(identity, offset))[0].numpy()

    def covered(vertices: np.ndarray) -> np.ndarray:
        camera = Camera(view, K, side, side)
        return rasterize_mesh(vertices, head.faces.numpy(), camera).face_ids >= 0

    modes = torso_modes(head)
    true = np.zeros(len(head.identity_basis))
    true[modes] = 1.2
    matte = covered(posed(true, (-0.02, 0.03)))
    plain = np.zeros_like(true)
    found, offset = fit_shoulders(
        head, plain, pose_of, view, K[None], np.where(matte, 255, 0).astype(np.uint8)[None],
        np.array([75.0]), np.array([0]),
    )  # fmt: skip
    before, after = (
        intersection_over_union(covered(posed(*x)), np.where(matte, 255, 0).astype(np.uint8))
        for x in ((plain, (0.0, 0.0)), (found, offset))
    )
    assert after > 0.97
    assert after - before > 0.02
    np.testing.assert_allclose(offset, (-0.02, 0.03), atol=0.012)
    still = np.setdiff1d(np.arange(len(found)), modes)
    assert not found[still].any()
    marks = [
        head.landmarks(torch.from_numpy(posed(*x))[None])
        for x in ((plain, (0.0, 0.0)), (found, offset))
    ]
    # Jaw landmarks may follow the torso a little by their skinning, the face must not.
    np.testing.assert_allclose(marks[0][0, 17:], marks[1][0, 17:], atol=2e-4)
