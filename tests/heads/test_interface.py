"""What every head model promises, whoever made it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headworks.heads import HeadModel, HeadPose, load_head
from headworks.heads.dense import DENSE_NAMES, mirrored_name
from headworks.heads.surface import closest_points, mirror_vertices, outermost_hits
from tests.toyhead import toy_head


@pytest.fixture(scope="module", params=["procedural", "ict"])
def head(request: pytest.FixtureRequest) -> HeadModel:
    if request.param == "procedural":
        return load_head("procedural")
    path = request.getfixturevalue("shared") / "data" / "ict_facekit.npz"
    if not Path(path).is_file():
        pytest.skip(f"no ICT-FaceKit file at {path}")
    return load_head(f"ict:{path}")


def _dense(head: HeadModel) -> dict[str, np.ndarray]:
    points = head.dense_landmarks(head.template[None])[0].numpy() * 1000
    return dict(zip(head.dense_names, points, strict=True))


def test_axes_and_units_are_ours(head: HeadModel) -> None:
    marks = head.landmarks(head.template[None])[0].numpy()
    left, right = marks[42:48].mean(0), marks[36:42].mean(0)
    assert 0.055 < np.linalg.norm(left - right) < 0.070
    assert left[0] > 0 > right[0]
    assert marks[30, 2] == marks[:, 2].max()
    assert marks[27, 1] > marks[8, 1]


def test_all_heads_share_the_dense_landmarks(head: HeadModel) -> None:
    assert 200 <= len(DENSE_NAMES) <= 500
    assert len(set(DENSE_NAMES)) == len(DENSE_NAMES)
    assert head.dense_names == DENSE_NAMES


def test_dense_landmarks_are_symmetric(head: HeadModel) -> None:
    dense = _dense(head)
    for name, point in dense.items():
        assert mirrored_name(mirrored_name(name)) == name
        assert np.abs(dense[mirrored_name(name)] - point * [-1, 1, 1]).max() < 1.0, name


def test_dense_landmarks_lie_where_their_names_say(head: HeadModel) -> None:
    dense = _dense(head)
    marks = head.landmarks(head.template[None])[0].numpy() * 1000
    for name, mark in (("jaw_16", 8), ("nose_ridge_06", 30), ("lid_upper_left_00", 45),
                       ("lip_upper_outer_06", 51), ("brow_right_00", 17)):  # fmt: skip
        assert np.linalg.norm(dense[name] - marks[mark]) < 2.5, name
    assert dense["lid_upper_left_04"][1] > dense["lid_lower_left_03"][1] + 3
    assert dense["ear_left_00"][0] > 55
    assert dense["skull_4_00"][1] > dense["forehead_2_2"][1] > dense["brow_left_08"][1]
    assert dense["neck_00"][1] < dense["jaw_16"][1]


def test_lips_are_told_apart(head: HeadModel) -> None:
    expression = torch.zeros(1, len(head.expression_names))
    expression[0, head.expression_index("jawOpen")] = 1
    vertices = head.vertices(torch.zeros(1, len(head.identity_basis)), expression)
    opened = head.dense_landmarks(vertices)[0].numpy() * 1000
    at = {name: i for i, name in enumerate(head.dense_names)}
    gap = opened[at["lip_upper_inner_04"], 1] - opened[at["lip_lower_inner_03"], 1]
    assert gap > 10


def test_partners_mirror_each_other(head: HeadModel) -> None:
    partner = head.mirror_vertices
    assert partner is not None
    paired = partner >= 0
    assert paired.float().mean() > 0.99
    rows = torch.arange(len(partner))
    assert torch.equal(partner[partner[paired]], rows[paired])
    flipped = head.template[partner[paired]] * torch.tensor([-1.0, 1, 1])
    assert (flipped - head.template[paired]).norm(dim=-1).max() < 0.003


def test_paired_expressions_are_mirror_images(head: HeadModel) -> None:
    partner, pairs = head.mirror_vertices, head.expression_pairs()
    assert partner is not None
    assert len(pairs) >= 15
    usable = partner >= 0
    flip = torch.tensor([-1.0, 1, 1])
    for left, right in pairs.tolist():
        a = head.expression_basis[left]
        b = head.expression_basis[right][partner[usable]] * flip
        gap = (a[usable] - b).norm(dim=-1)
        # A scanned model is not quite symmetric; a wrong pairing would be as large as the motion.
        assert gap.mean() < 0.25 * a[usable].norm(dim=-1).mean(), head.expression_names[left]


def _small(head: HeadModel) -> HeadModel:
    rng = torch.Generator().manual_seed(0)
    v = len(head.template)
    return replace(
        head,
        pose_basis=torch.randn(36, v, 3, generator=rng) * 1e-3,
        joint_expression=torch.randn(2, 5, 3, generator=rng) * 1e-3,
    ).to(dtype=torch.float64)


def test_vertices_are_differentiable_in_every_argument() -> None:
    head = _small(toy_head(6, 6))
    weights = torch.softmax(torch.randn(len(head.template), 5, dtype=torch.float64), 1)
    head = replace(head, skin_weights=weights)
    torch.manual_seed(1)
    identity, expression = torch.randn(2, 2).double(), torch.rand(2, 2).double()
    pose = [torch.randn(2, 3).double() * 0.4 for _ in range(5)] + [torch.randn(2, 2, 3).double()]
    arguments = [x.requires_grad_() for x in (identity, expression, *pose)]

    def posed(identity: torch.Tensor, expression: torch.Tensor, *pose: torch.Tensor) -> object:
        return head.vertices(identity, expression, HeadPose(*pose))

    assert torch.autograd.gradcheck(posed, arguments)


def test_pose_correctives_see_neck_jaw_and_eyes_but_not_the_root() -> None:
    head = _small(toy_head(6, 6))
    for name, rows in (("neck", slice(0, 9)), ("jaw", slice(9, 18)), ("eyes", slice(18, 36))):
        pose = HeadPose.zeros(1, torch.float64)
        getattr(pose, name)[..., 0] = 0.5
        offsets = head.pose_offsets(pose)
        assert head.pose_basis is not None
        others = head.pose_basis.clone()
        others[rows] = 0
        assert offsets.abs().max() > 1e-5
        assert replace(head, pose_basis=others).pose_offsets(pose).abs().max() == 0
    turned = HeadPose.zeros(1, torch.float64)
    turned.rotation[0, 1] = 1.0
    assert head.pose_offsets(turned).abs().max() == 0


def test_a_part_of_a_model_moves_as_the_whole_does() -> None:
    head = _small(toy_head())
    ids = [5, 3, 40]
    identity, expression = torch.ones(1, 2).double(), torch.ones(1, 2).double()
    pose = HeadPose.zeros(1, torch.float64)
    pose.neck[0, 1] = pose.jaw[0, 0] = 0.3
    torch.testing.assert_close(
        head.restricted(ids).vertices(identity, expression, pose),
        head.vertices(identity, expression, pose)[:, ids],
    )


def test_the_digest_knows_the_model_and_not_what_follows_from_it() -> None:
    head = load_head("procedural")
    bare = replace(head, mirror_vertices=None, dense_names=(), dense_faces=None, dense_bary=None)
    assert bare.digest == head.digest == replace(head, name="other").digest
    assert replace(head, template=head.template + 1e-3).digest != head.digest
    assert replace(head, expression_signed=(True,) * len(head.expression_names)).digest != (
        head.digest
    )


def test_the_model_works_on_another_device_as_it_does_here() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here = load_head("procedural")
    there = here.to("cuda")
    e = torch.rand(2, len(here.expression_names))
    i = torch.randn(2, len(here.identity_basis))
    pose = HeadPose.zeros(2)
    pose.neck[:, 1] = 0.3
    posed = there.vertices(i.cuda(), e.cuda(), pose.to("cuda"))
    torch.testing.assert_close(posed.cpu(), here.vertices(i, e, pose), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        there.dense_landmarks(posed).cpu(), here.dense_landmarks(posed.cpu())
    )
    assert there.restricted([0, 1]).faces.device.type == "cuda"
    assert there.region_faces("lips").device.type == "cuda"


def test_closest_points_are_those_of_brute_force() -> None:
    head = toy_head(20, 24)
    vertices, faces = head.template.double().numpy(), head.faces.numpy()
    rng = np.random.default_rng(0)
    points = 0.1 * rng.normal(size=(60, 3))
    ids, bary = closest_points(points, vertices, faces, np.ones(len(faces), bool))
    found = (vertices[faces[ids]] * bary[..., None]).sum(1)
    share = rng.dirichlet([1, 1, 1], 50)
    samples = np.einsum("si,fic->fsc", share, vertices[faces]).reshape(-1, 3)
    best = np.linalg.norm(points[:, None] - samples[None], axis=-1).min(1)
    assert (np.linalg.norm(found - points, axis=1) < best + 1e-9).all()
    assert bary.min() >= 0
    np.testing.assert_allclose(bary.sum(1), 1)


def test_a_ray_finds_the_outermost_surface() -> None:
    head = toy_head()
    vertices, faces = head.template.double().numpy(), head.faces.numpy()
    both = np.concatenate([vertices, vertices * 0.5])
    doubled = np.concatenate([faces, faces + len(vertices)])
    direction = np.array([[0.3, 0.2, 1.0]])
    ids, bary = outermost_hits(
        np.zeros((1, 3)), direction, both, doubled, np.ones(len(doubled), bool)
    )
    point = (both[doubled[ids[0]]] * bary[0][:, None]).sum(0)
    assert np.linalg.norm(point) > 0.09
    np.testing.assert_allclose(np.cross(point, direction[0]), 0, atol=1e-9)
    missed, _ = outermost_hits(
        np.full((1, 3), 5.0), direction, both, doubled, np.ones(len(doubled), bool)
    )
    assert missed[0] == -1


def test_a_vertex_without_a_partner_has_none() -> None:
    points = np.array([[1.0, 0, 0], [-1, 0, 0.0005], [0, 1, 0], [2, 0, 0]])
    assert mirror_vertices(points).tolist() == [1, 0, 2, -1]
