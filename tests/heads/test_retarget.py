"""What showing one head's expressions on another promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headworks.heads import HeadModel, HeadPose, load_head
from headworks.heads.importers import import_head
from headworks.heads.retarget import retargeting
from tests.heads import standins


@pytest.fixture(scope="module")
def ours() -> HeadModel:
    return load_head("procedural")


def _shown(ours: HeadModel, head: HeadModel, name: str) -> np.ndarray:
    """Landmarks' motion [68, 3] on `head` when ours shows an expression, millimetres."""
    expression = torch.zeros(1, len(ours.expression_names))
    expression[0, ours.expression_index(name)] = 1
    e, pose = retargeting(ours, head)(expression, HeadPose.zeros(1), head.signed())
    identity = torch.zeros(1, len(head.identity_basis))
    posed = head.landmarks(head.vertices(identity, e, pose))
    return (posed - head.landmarks(head.template[None]))[0].numpy() * 1000


def test_a_head_shows_its_own_expressions_unchanged(ours: HeadModel) -> None:
    e = torch.rand(4, len(ours.expression_names))
    pose = HeadPose.zeros(4)
    shown, posed = retargeting(ours, ours)(e, pose, ours.signed())
    assert torch.equal(shown, e)
    assert torch.equal(posed.jaw, pose.jaw)


def test_names_that_are_split_move_both_sides(ours: HeadModel, shared: Path) -> None:
    path = shared / "data" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip(f"no ICT-FaceKit file at {path}")
    ict = load_head(f"ict:{path}")
    e = torch.zeros(1, len(ours.expression_names))
    e[0, ours.expression_index("browInnerUp")] = 0.6
    e[0, ours.expression_index("eyeBlinkLeft")] = 1
    shown, _ = retargeting(ours, ict)(e, HeadPose.zeros(1), ict.signed())
    value = dict(zip(ict.expression_names, shown[0].tolist(), strict=True))
    assert value["browInnerUpLeft"] == value["browInnerUpRight"] == pytest.approx(0.6)
    assert value["eyeBlinkLeft"] == 1
    assert value["eyeBlinkRight"] == 0


@pytest.fixture(scope="module")
def flame(tmp_path_factory: pytest.TempPathFactory) -> HeadModel:
    folder = tmp_path_factory.mktemp("flame")
    standins.write_flame_npz(folder / "flame.npz")
    standins.write_flame_neighbours(folder)
    return import_head("flame", folder / "flame.npz", "f", folder / "heads").head


def test_a_model_without_names_mixes_its_own_shapes(ours: HeadModel, flame: HeadModel) -> None:
    made = retargeting(ours, flame)
    for name in standins.EXPRESSIONS:
        assert made.unexplained[ours.expression_index(name)] < 0.3, name
        wanted = _shown(ours, ours, name)
        assert np.linalg.norm(_shown(ours, flame, name) - wanted) < 0.3 * np.linalg.norm(wanted)
    assert made.unexplained.max() <= 1.0
    assert made.unexplained[ours.expression_index("eyeBlinkLeft")] > 0.5  # it has no such shape


def test_a_mouth_that_opens_by_a_joint_opens_by_it(ours: HeadModel, flame: HeadModel) -> None:
    moved, own = _shown(ours, flame, "jawOpen"), _shown(ours, ours, "jawOpen")
    assert moved[8, 1] < 0
    assert np.linalg.norm(moved[8]) == pytest.approx(np.linalg.norm(own[8]), rel=0.35)
    assert np.linalg.norm(moved[27]) < 1.5
