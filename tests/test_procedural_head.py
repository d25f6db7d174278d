"""The procedural head is a human face that obeys the interface every head model stands under."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headworks.errors import HeadworksError
from headworks.geometry import axis_angle_to_matrix
from headworks.heads import HeadPose, load_head
from headworks.heads.procedural import construct
from headworks.mesh import rasterize_uv

MM = 1e-3
FLIP = torch.tensor([-1.0, 1.0, 1.0])
# Pairs of landmarks that are mirror images of each other.
MIRROR_68 = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


@pytest.fixture(scope="module")
def head():
    return load_head("procedural")


@pytest.fixture(scope="module")
def mirror(head):
    """Each vertex's mirror image; vertices that coincide are told apart by their skinning."""
    from scipy.spatial import cKDTree

    jaw = head.skin_weights[:, 2:3].numpy()
    here = np.hstack([head.template.numpy() * 1000, 10 * jaw])
    distance, twin = cKDTree(here).query(here * [-1, 1, 1, 1])
    assert distance.max() < 1e-2
    return torch.from_numpy(twin)


def expression(head, **activations: float) -> torch.Tensor:
    out = torch.zeros(1, len(head.expression_names))
    for name, value in activations.items():
        out[0, head.expression_index(name)] = value
    return out


def neutral(head) -> torch.Tensor:
    return torch.zeros(1, len(head.identity_basis))


def landmarks(head, **activations: float) -> torch.Tensor:
    vertices = head.vertices(neutral(head), expression(head, **activations))
    return head.landmarks(vertices)[0]


def test_two_builds_are_the_same_model(head):
    assert construct()[0].digest == head.digest


def test_the_head_is_rich_enough_to_fit_people(head):
    assert 4000 <= len(head.template) <= 8000
    assert len(head.identity_basis) >= 60
    assert len(head.expression_names) >= 48
    assert len(set(head.expression_names)) == len(head.expression_names)
    sizes = head.identity_basis.norm(dim=-1).amax(1)
    assert (sizes > 0.4 * MM).all()
    assert (sizes < 40 * MM).all()
    assert (head.expression_basis.norm(dim=-1).amax(1) > 0.5 * MM).all()


def test_the_mean_head_is_symmetric(head, mirror):
    assert torch.allclose(head.template[mirror] * FLIP, head.template, atol=1e-6)
    assert torch.allclose(head.skin_weights[mirror][:, [0, 1, 2, 4, 3]], head.skin_weights,
                          atol=1e-5)  # fmt: skip
    points = head.landmarks(head.template[None])[0]
    assert (points[MIRROR_68] * FLIP - points).norm(dim=-1).max() < 0.5 * MM


def test_left_and_right_expressions_mirror_each_other(head, mirror):
    pairs = [n for n in head.expression_names if n.endswith("Left") and len(n) > 9]
    assert len(pairs) >= 12
    for name in pairs:
        left = head.expression_basis[head.expression_index(name)]
        right = head.expression_basis[head.expression_index(name[:-4] + "Right")]
        assert torch.allclose(left[mirror] * FLIP, right, atol=2e-5), name


def test_proportions_are_those_of_people(head):
    """Within two standard deviations or so of published adult means (Farkas 1994)."""
    p = head.landmarks(head.template[None])[0] * 1000
    skin = head.template[head.faces[head.region_faces("skin", "scalp")]].reshape(-1, 3) * 1000

    def between(a: int, b: int) -> float:
        return float((p[a] - p[b]).norm())

    assert 85 < between(36, 45) < 98  # between the outer eye corners
    assert 29 < between(39, 42) < 36
    assert 47 < between(48, 54) < 57
    assert 105 < between(27, 8) < 125
    assert 145 < float(skin[:, 0].max() - skin[:, 0].min()) < 160
    assert 185 < float(skin[skin[:, 1] > 25, 2].max() - skin[:, 2].min()) < 205
    assert p[30, 2] > p[33, 2] > p[36, 2], "the nose stands out of the face"


def test_lids_meet_when_eyes_close(head):
    opened = landmarks(head)
    shut = landmarks(head, eyeBlinkLeft=1, eyeBlinkRight=1)
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        assert (opened[upper] - opened[lower]).norm() > 7 * MM
        assert (shut[upper] - shut[lower]).norm() < 1 * MM


def test_lids_stay_outside_the_eyeball_while_closing(head):
    lids = torch.unique(head.faces[head.region_faces("eyelids")])
    on_skin = lids[head.skin_weights[lids, 1] > 0.5]
    eyes = torch.unique(head.faces[head.region_faces("eyes")])
    radius = (head.template[eyes] - head.joints[3 + (head.template[eyes, 0] < 0).long()]).norm(
        dim=-1
    )
    front = torch.unique(head.faces[head.landmark_faces[36:48]])
    for amount in (0.0, 0.25, 0.5, 0.75, 1.0):
        moved = head.rest_vertices(
            neutral(head), expression(head, eyeBlinkLeft=amount, eyeBlinkRight=amount)
        )[0]
        for side, joint in ((1, 3), (-1, 4)):
            near = on_skin[(moved[on_skin, 0] * side > 0) & torch.isin(on_skin, front)]
            distance = (moved[near] - head.joints[joint]).norm(dim=-1)
            assert distance.min() > radius.median() - 0.1 * MM, amount


def test_lips_touch_in_neutral_and_part_when_the_jaw_opens(head):
    closed = landmarks(head)
    opened = landmarks(head, jawOpen=1)
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        assert (closed[upper] - closed[lower]).norm() < 0.1 * MM
        assert opened[upper, 1] - opened[lower, 1] > 15 * MM
    together = landmarks(head, jawOpen=1, mouthClose=1)
    assert (together[62] - together[66]).norm() < 3 * MM


def test_jaw_joint_and_jaw_open_move_the_chin_alike(head):
    by_shape = landmarks(head, jawOpen=1)
    pose = HeadPose.zeros(1)
    pose.jaw[0, 0] = 0.30
    by_joint = head.landmarks(head.vertices(neutral(head), expression(head), pose))[0]
    rest = landmarks(head)
    assert (by_joint[8] - rest[8]).norm() > 20 * MM
    assert (by_joint - by_shape).norm(dim=-1).max() < 1 * MM


def test_posed_head_turns_about_the_neck_and_the_torso_stays(head):
    pose = HeadPose.zeros(1)
    pose.neck[0, 1] = 0.5
    still = head.vertices(neutral(head), expression(head))[0]
    turned = head.vertices(neutral(head), expression(head), pose)[0]
    torso = torch.unique(head.faces[head.region_faces("torso")])
    below = torso[head.template[torso, 1] < -0.2]
    assert (turned[below] - still[below]).norm(dim=-1).max() < 1e-6
    scalp = torch.unique(head.faces[head.region_faces("scalp")])
    rotation = axis_angle_to_matrix(pose.neck)[0]
    expected = (still[scalp] - head.joints[1]) @ rotation.T + head.joints[1]
    assert torch.allclose(turned[scalp], expected, atol=1e-5)
    # A turn to the subject's left moves the nose to +x.
    assert head.landmarks(turned[None])[0, 30, 0] > 40 * MM


def test_root_pose_moves_everything_rigidly(head):
    pose = HeadPose.zeros(1)
    pose.rotation[0] = torch.tensor([0.1, -0.4, 0.2])
    pose.translation[0] = torch.tensor([0.1, 0.2, -0.3])
    still = head.vertices(neutral(head), expression(head, mouthSmileLeft=1))[0]
    moved = head.vertices(neutral(head), expression(head, mouthSmileLeft=1), pose)[0]
    expected = still @ axis_angle_to_matrix(pose.rotation)[0].T + pose.translation[0]
    assert torch.allclose(moved, expected, atol=1e-5)


def test_eyes_turn_in_place(head):
    pose = HeadPose.zeros(1)
    pose.eyes[0, 0, 1] = 0.4
    still = head.vertices(neutral(head), expression(head))[0]
    turned = head.vertices(neutral(head), expression(head), pose)[0]
    moved = (turned - still).norm(dim=-1) > 1e-5
    eyes = torch.unique(head.faces[head.region_faces("eyes")])
    left = eyes[head.template[eyes, 0] > 0]
    assert moved.nonzero()[:, 0].tolist()
    assert torch.isin(moved.nonzero()[:, 0], left).all()
    before = (still[left] - head.joints[3]).norm(dim=-1)
    after = (turned[left] - head.joints[3]).norm(dim=-1)
    assert torch.allclose(before, after, atol=1e-5)


def test_a_restricted_head_equals_the_full_one(head):
    generator = torch.Generator().manual_seed(3)
    identity = torch.randn(2, len(head.identity_basis), generator=generator)
    activations = torch.rand(2, len(head.expression_names), generator=generator)
    pose = HeadPose.zeros(2)
    pose.neck[:] = torch.tensor([0.1, 0.3, -0.1])
    pose.jaw[:, 0] = 0.1
    ids = torch.unique(head.faces[head.landmark_faces])
    some = head.restricted(ids)
    full = head.vertices(identity, activations, pose)[:, ids]
    assert torch.allclose(some.vertices(identity, activations, pose), full, atol=1e-6)


def test_the_uv_map_has_no_overlaps(head):
    """Every texel is covered once: covered area equals the sum of the triangles' areas."""
    uv = head.uvs.numpy().astype(np.float64)
    assert uv.min() >= 0
    assert uv.max() <= 1
    corner = uv[head.faces_uv.numpy()]
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    areas = 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    ids, _ = rasterize_uv(head.uvs.numpy(), head.faces_uv.numpy(), 1024)
    covered = (ids >= 0).mean()
    assert areas.sum() == pytest.approx(covered, rel=0.004)
    face = head.region_faces("skin", "lips", "eyelids").numpy()
    assert areas[face].sum() > 0.4 * areas.sum(), "the face gets the largest share"


def test_faces_look_outward_and_the_skin_has_no_holes(head):
    faces = head.faces.numpy()
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() == 1, "an edge is walked twice in one direction: a face is flipped"
    keys = {tuple(e) for e in directed.tolist()}
    loose = [e for e in keys if (e[1], e[0]) not in keys]
    # Open edges: below the torso, the lids' rims inside, the backs of teeth and ears.
    skin = set(np.unique(faces[head.region_faces("skin", "scalp", "lips").numpy()]).tolist())
    assert not [e for e in loose if e[0] in skin and e[1] in skin]
    corner = head.template.numpy()[faces[head.region_faces("scalp").numpy()]]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    assert ((normal * corner.mean(1)).sum(1) > 0).all()


def test_random_people_keep_sound_geometry(head):
    generator = torch.Generator().manual_seed(0)
    identity = torch.randn(6, len(head.identity_basis), generator=generator)
    points = head.landmarks(
        head.rest_vertices(identity, torch.zeros(6, len(head.expression_names)))
    )
    assert torch.isfinite(points).all()
    # Eyes above nose above mouth above chin, in everyone.
    rows = points[:, [36, 30, 51, 57, 8], 1]
    assert (rows[:, :-1] > rows[:, 1:] + 2 * MM).all()
    shut = head.landmarks(
        head.rest_vertices(
            identity, expression(head, eyeBlinkLeft=1, eyeBlinkRight=1).expand(6, -1)
        )
    )
    assert (shut[:, 37] - shut[:, 41]).norm(dim=-1).max() < 0.3 * MM


def test_an_unknown_head_is_a_clear_error():
    with pytest.raises(HeadworksError, match="procedural"):
        load_head("nobody")
