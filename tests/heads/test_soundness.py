"""Heads are sound: no crossing skin, lids that meet, lips and lids that do not cross."""

from __future__ import annotations

import numpy as np
import pytest

from headworks.heads import checks, load_head
from headworks.heads.procedural import sample_identity


@pytest.fixture(scope="module")
def head():
    return load_head("procedural")


def people(count: int) -> np.ndarray:
    rng = np.random.default_rng(11)
    return np.stack(
        [sample_identity(("female", "male")[i % 2], rng.beta(1.6, 2.4), rng) for i in range(count)]
    )


def test_everyone_is_sound_in_neutral_and_over_random_expressions(head):
    who, rng = people(10), np.random.default_rng(5)
    faces = np.stack([checks.random_expressions(head, 4, rng) for _ in who])
    found = checks.soundness(head, who, faces)
    assert found.intersection_depth_mm < 0.1
    assert found.lid_gap_mm < 0.3
    assert found.lid_depth_mm < 1.0
    assert found.lip_depth_mm < 1.0
    assert (found.people, found.expressions) == (10, 40)


TRIANGLE = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])


@pytest.mark.parametrize(
    ("other", "depth"),
    [
        ([[1.0, 1, -1], [1, 1, 2], [1.5, 1.5, 2]], 0.2357022603955158),  # pierces
        ([[1.0, 1, 0.1], [1, 1, 2], [2, 1, 2]], 0.0),  # above
        ([[3.0, 3, -1], [3, 3, 1], [4, 4, 1]], 0.0),  # through the plane, beside the triangle
        ([[1.0, 1, 0], [2, 1, 0], [1, 2, 0]], 0.0),  # in the plane: touches
        ([[1.0, 1, 0], [1, 1, 2], [2, 1, 2]], 0.0),  # stands on it
        ([[-1.0, 1, -3], [6, 1, -3], [2, 1, 3]], 1.0),  # a blade through it
    ],
)
def test_triangles_cross_as_they_do(other, depth):
    other = np.array(other, np.float64)
    for a, b in ((TRIANGLE, other), (other, TRIANGLE)):
        assert checks.triangle_crossing(*a, *b) == pytest.approx(depth, abs=1e-9)


def test_crossing_skin_is_found(head):
    vertices = head.template.double().numpy().copy()
    assert len(checks.self_intersections(head, vertices)) == 0
    ears = np.unique(head.faces.numpy()[head.region_faces("ears").numpy()])
    far = ears[vertices[ears, 0] > 0.078]
    vertices[far, 0] -= 0.02  # the rim of the left ear pushed into the skull
    assert len(checks.self_intersections(head, vertices)) > 0


def test_an_open_eye_is_a_gap_and_a_shut_one_is_none(head):
    neutral = np.zeros((1, len(head.expression_names)), np.float32)
    shut = neutral.copy()
    for side in ("Left", "Right"):
        shut[0, head.expression_index(f"eyeBlink{side}")] = 1
    identity = np.zeros(len(head.identity_basis))
    opened, closed = (checks._vertices(head, identity, e)[0] for e in (neutral, shut))
    assert 7 < checks.lid_gap(head, opened) < 14
    assert checks.lid_gap(head, closed) < 0.3


def test_lips_pushed_into_each_other_are_found(head):
    rest = head.template.double().numpy()
    upper, _ = checks._halves(head, rest, "lips")
    ids = np.unique(head.faces.numpy()[upper])
    moved = rest.copy()
    moved[ids, 1] -= 0.004
    assert checks.depth_between(head, rest, rest, "lips") < 0.05
    assert 1.0 < checks.depth_between(head, rest, moved, "lips") < 4.1


def test_a_lip_behind_the_other_one_is_not_in_it(head):
    rest = head.template.double().numpy()
    upper, _ = checks._halves(head, rest, "lips")
    ids = np.unique(head.faces.numpy()[upper])
    before = rest.copy()
    before[ids] += [0.0, 0.001, 0.004]  # apart, and in front
    assert checks.depth_between(head, rest, before, "lips") < 0.05


@pytest.mark.parametrize(
    "faces",
    [
        {"mouthRollUpper": 1.0},
        {"mouthRollLower": 1.0},
        {"mouthRollLower": 1.0, "jawRight": 1.0},
        {"jawLeft": 1.0, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
        {"jawForward": 1.0},
        {"mouthShrugLower": 1.0},
    ],
    ids=lambda faces: "+".join(faces),
)
def test_lips_that_roll_or_slide_do_not_cut_each_other(head, faces):
    shown = np.zeros((1, len(head.expression_names)), np.float32)
    neutral = shown.copy()
    for name, value in faces.items():
        shown[0, head.expression_index(name)] = value
    for identity in people(16):
        rest, moved = (checks._vertices(head, identity, e)[0] for e in (neutral, shown))
        assert checks.depth_between(head, rest, moved, "lips") < 0.5
