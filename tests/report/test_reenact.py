"""Cross re-enactment: every avatar shows everybody's telling moment, each cell rendered once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

import stages.reenact as reenact
from headworks.driving.performance import frontal_camera, tracked_rest
from headworks.driving.telling import portrait, telling_time
from headworks.tracks import load_tracking
from stages.contract import Context
from stages.reenact import ReenactParams, drivers_of, run
from tests.tinycapture import SIDE, toy_head_known, write_subject
from tests.toyhead import toy_head

OWN = ("ingest", "matting", "fit")
SMALL = ReenactParams(side=48)
Folders = dict[str, dict[str, Path]]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("people")
    return {
        "ann": write_subject(root / "a", 12),
        "bob": write_subject(root / "b", 9, cameras=2, setting="multiview"),
        "cat": write_subject(root / "c", 1, setting="photo"),
    }


def inputs_of(subjects: Folders, name: str, *others: str) -> dict[str, object]:
    tracked = {"": subjects[name]["tracking"], **{n: subjects[n]["tracking"] for n in others}}
    return {**{role: subjects[name][role] for role in OWN}, "tracking": tracked}


def made(
    inputs: dict[str, object], out: Path, before: Path | None = None
) -> tuple[dict[str, bytes], int]:
    """The files, and how many cells were rendered."""
    count = 0
    draw = reenact._picture

    def counted(person: reenact.Driven, driver: reenact.Driver) -> np.ndarray:
        nonlocal count
        count += 1
        return draw(person, driver)

    with toy_head_known(), patch("stages.reenact._picture", counted):
        run(inputs, SMALL, out, Context(before=before))
    files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    return files, count


def pair(subjects: Folders) -> tuple[reenact.Driven, reenact.Driver]:
    """Ann's avatar, and Bob as a driver."""
    with toy_head_known():
        own = reenact._driver("", subjects["ann"]["tracking"])
        ann = reenact._driven(subjects["ann"]["fit"], own, 48)
        return ann, reenact._driver("bob", subjects["bob"]["tracking"])


def test_an_avatar_is_driven_by_itself_and_by_the_others(subjects, tmp_path: Path) -> None:
    files, count = made(inputs_of(subjects, "bob", "ann", "cat"), tmp_path / "out")
    listed = json.loads(files["reenact.json"])
    assert [c["driver"] for c in listed["cells"]] == ["", "ann", "cat"]
    assert all(c["file"] in files for c in [*listed["cells"], listed["moment"]])
    # The toys have one and the same face: cells of equal drivers are one file.
    assert count == len({c["file"] for c in listed["cells"]})


def test_another_driver_costs_one_cell(subjects, tmp_path: Path) -> None:
    first, one = made(inputs_of(subjects, "ann"), tmp_path / "one")
    both, two = made(inputs_of(subjects, "ann", "bob"), tmp_path / "two", tmp_path / "one")
    added, more = made(inputs_of(subjects, "ann", "bob", "cat"), tmp_path / "b", tmp_path / "two")
    whole, every = made(inputs_of(subjects, "ann", "bob", "cat"), tmp_path / "c")
    assert (one, two, more, every) == (1, 1, 1, 3)
    assert added == whole, "what was taken over is what would be rendered"
    assert set(first) < set(both) < set(added)


def test_a_changed_avatar_or_driver_is_rendered_anew(subjects) -> None:
    ann, bob = pair(subjects)
    cell = reenact._cell(ann, bob, SMALL)
    pose = replace(bob.moment.pose, jaw=torch.tensor([[0.2, 0.0, 0.0]]))
    moment = replace(bob.moment, pose=pose)
    does = reenact._digest(moment.pose)
    other = replace(bob, moment=moment, does=does)
    assert reenact._cell(ann, other, SMALL) != cell
    assert reenact._cell(replace(ann, looks="other"), bob, SMALL) != cell
    assert reenact._cell(ann, bob, SMALL) == cell
    assert reenact._cell(ann, bob, ReenactParams(side=64)) != cell


def test_a_driver_of_another_head_model_drives_too(subjects) -> None:
    ann, bob = pair(subjects)
    head = toy_head()
    names = tuple(reversed(head.expression_names))
    foreign = replace(
        head, name="other", expression_names=names, expression_basis=head.expression_basis.flip(0)
    )
    assert foreign.digest != head.digest
    flipped = replace(
        bob,
        moment=replace(bob.moment, head=foreign, expression=bob.moment.expression.flip(1)),
        rest=replace(bob.rest, expression=bob.rest.expression.flip(0)),
    )
    same = reenact._picture(ann, bob).astype(int)
    assert np.abs(reenact._picture(ann, flipped).astype(int) - same).mean() < 1.0
    # ... and by name: without flipping the coefficients another face comes out.
    unflipped = replace(bob, moment=replace(bob.moment, head=foreign))
    assert np.abs(reenact._picture(ann, unflipped).astype(int) - same).mean() > 0.2


def test_the_telling_moment_is_the_liveliest_that_can_be_seen(subjects) -> None:
    tracking = load_tracking(subjects["ann"]["tracking"])
    head = toy_head()
    rest = tracked_rest(head, tracking, (SIDE, SIDE), frontal_camera(head, tracking))
    tracking.expression[:] = 0.0
    tracking.expression[4] = 0.5
    tracking.expression[7] = 1.0
    assert telling_time(head, tracking, rest) == 7
    tracking.pose.rotation[7, 1] = 1.2  # turned away
    assert telling_time(head, tracking, rest) == 4
    tracking.valid[4] = False
    assert telling_time(head, tracking, rest) not in (4, 7)


def test_portraits_show_the_head_in_the_middle_over_white(subjects) -> None:
    head = toy_head()
    tracking = load_tracking(subjects["ann"]["tracking"])
    camera = tracking.camera(0, 0, SIDE, SIDE)
    vertices = tracking.vertices(head, [0])[0].numpy()
    points = camera.project(vertices)[:, :2]
    alpha = np.zeros((SIDE, SIDE), np.float32)
    (x0, y0), (x1, y1) = np.rint(points.min(0)).astype(int), np.rint(points.max(0)).astype(int)
    alpha[max(y0, 0) : y1, max(x0, 0) : x1] = 1
    picture = portrait(np.zeros((SIDE, SIDE, 3), np.float32), alpha, vertices, camera, 40)
    dark = np.argwhere(picture.mean(-1) < 128)
    assert picture[0, 0].min() == 255
    assert np.abs(dark.mean(0) - 19.5).max() < 1.0
    assert abs((np.ptp(dark[:, 0]) + 1) * 1.45 - 40) < 2


def test_somebody_more_replaces_one_driver_at_most() -> None:
    names = ["", *(f"p{k}" for k in range(12))]
    assert sorted(drivers_of(names, 12)) == sorted(names)
    before, after = set(drivers_of(names, 5)), set(drivers_of([*names, "new"], 5))
    assert len(before) == len(after) == 6
    assert "" in before & after
    assert len(before - after) <= 1


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with patch("headworks.heads.load_exact", lambda name, *_: toy_head()):
        yield
