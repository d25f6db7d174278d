"""The subjects and people of a workspace in place of the study's own: `gasp.py --workspace FOLDER`.

Subjects are captures of a rig that the pipeline has ingested, matted and tracked, such as a copy of
NeRSemble; the sequences, cameras and strides are those of GASP's comparisons (paper, section 4).
People of the priors are the workspace's population; its own prior is taken where it is the one that
the study wants.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from gasp_people import Group, HeldOut, Setting, training_sequences
from numpy.typing import NDArray

from headworks.artifacts import open_arrays, read_meta, read_table
from headworks.avatars.views import Views
from headworks.errors import ArtifactError
from headworks.formats.nersemble import CORNERS, FREE, FRONTAL
from headworks.heads import load_exact
from headworks.tracks import load_tracking, load_truth

OTHER_FRONTAL = {"057": "222200038"}
"""Participants whose frontal camera is another one (GASP, section 4)."""


@dataclass(frozen=True)
class Protocol:
    """Which recordings serve for what; the paper's by default.

    Attributes:
        training: sequences; where a capture has none of them, all whose split is `train`.
        test: the held-out sequence; where a capture has it not, frames whose split is `test`.
        frontal: camera of the photo and of the clip; empty: NeRSemble's. extreme: test cameras.
        clip_every, rig_every, test_every: strides in frames of the source.
    """

    training: tuple[str, ...] = tuple(training_sequences())
    test: str = FREE
    frontal: str = ""
    extreme: tuple[str, ...] = CORNERS
    clip_every: int = 2
    rig_every: int = 10
    test_every: int = 5

    def frontal_camera(self, subject: str) -> str:
        """Name of the camera that films a subject from the front."""
        known = (camera for number, camera in OTHER_FRONTAL.items() if subject.endswith(number))
        return self.frontal or next(known, FRONTAL)


class Pictures:
    """Pictures of an artifact, read when they are asked for."""

    def __init__(self, array: Any, pairs: list[tuple[int, int]]) -> None:
        self._array, self._pairs = array, pairs
        self.shape = (len(pairs), *array.shape[2:])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int | Sequence[int]) -> NDArray[np.uint8]:
        if isinstance(index, int | np.integer):
            return np.asarray(self._array[self._pairs[index]])
        return np.stack([np.asarray(self._array[self._pairs[i]]) for i in index])


def subject_in(workspace: Path, name: str, protocol: Protocol) -> HeldOut:
    """A subject of a workspace with the paper's protocol of views.

    Raises:
        ArtifactError: a stage has not run, or the capture has no such camera or sequence.
    """
    folders = {role: workspace / "data" / role / name for role in ("ingest", "matting", "tracking")}
    missing = [role for role, folder in folders.items() if not folder.is_dir()]
    if missing:
        raise ArtifactError(
            f"{workspace}: subject {name!r} has no {', '.join(missing)}; run "
            f"`headworks run --stage tracking --subject {name}` there first"
        )
    tracking = load_tracking(folders["tracking"])
    head = load_exact(tracking.head, tracking.head_digest, str(folders["tracking"]))
    cameras = [c["name"] for c in read_meta(folders["ingest"], "capture")["cameras"]]
    front = protocol.frontal_camera(name)
    absent = [c for c in (front, *protocol.extreme) if c not in cameras]
    if absent:
        raise ArtifactError(
            f"{folders['ingest']}: there is no camera {', '.join(absent)}, only "
            f"{', '.join(cameras)}; name the frontal one and those of the test by --frontal and "
            "--extreme"
        )
    front_index, extreme = cameras.index(front), [cameras.index(c) for c in protocol.extreme]
    table = read_table(folders["ingest"] / "frames.parquet").sort("t", "c")
    rows = [r for r in table.iter_rows(named=True) if tracking.valid[r["t"]]]
    tested = [r for r in rows if r["sequence"] == protocol.test]
    tested = tested or [r for r in rows if r["split"] == "test"]
    training = [r for r in rows if r["sequence"] in protocol.training]
    training = training or [r for r in rows if r["split"] == "train"]
    held = {(r["t"], r["c"]) for r in tested}
    training = [r for r in training if (r["t"], r["c"]) not in held]

    def pairs(some: list[dict[str, Any]], every: int, seen: list[int]) -> list[tuple[int, int]]:
        times = _every(some, every)
        return [(r["t"], r["c"]) for r in some if r["t"] in times and r["c"] in seen]

    clip = pairs(training, protocol.clip_every, [front_index])
    wanted: dict[str, list[tuple[int, int]]] = {
        "photo": _first(clip, rows, protocol),
        "monocular": clip,
        "multiview": pairs(training, protocol.rig_every, list(range(len(cameras)))),
        "front": pairs(tested, protocol.test_every, [front_index]),
        "extreme": pairs(tested, protocol.test_every, extreme),
    }
    empty = [what for what, some in wanted.items() if not some]
    if empty:
        raise ArtifactError(
            f"{folders['ingest']}: no tracked picture for {', '.join(empty)}; the sequences are "
            f"{', '.join(sorted({r['sequence'] for r in rows}))}"
        )
    known = sorted({pair for some in wanted.values() for pair in some})
    place = {pair: i for i, pair in enumerate(known)}
    index = {what: [place[pair] for pair in some] for what, some in wanted.items()}
    rgb = open_arrays(folders["ingest"] / "frames.zarr")["rgb"]
    alpha = open_arrays(folders["matting"] / "mattes.zarr")["alpha"]
    return HeldOut(
        head=head,
        tracking=tracking,
        pictures=cast("NDArray[np.uint8]", Pictures(rgb, known)),
        alpha=cast("NDArray[np.uint8]", Pictures(alpha, known)),
        pairs=known,
        train={cast(Setting, k): index[k] for k in ("photo", "monocular", "multiview")},
        test={cast(Group, k): index[k] for k in ("front", "extreme")},
    )


def _every(rows: list[dict[str, Any]], every: int) -> set[int]:
    """Times of the first kept frame in each `every` frames of the source."""
    first: dict[tuple[str, int], int] = {}
    for r in rows:
        first.setdefault((r["sequence"], r["frame"] // every), r["t"])
    return set(first.values())


def _first(
    clip: list[tuple[int, int]], rows: list[dict[str, Any]], protocol: Protocol
) -> list[tuple[int, int]]:
    """The photo: the frontal camera's first frame of the first training sequence there is."""
    sequence = {r["t"]: r["sequence"] for r in rows}
    rank = {name: i for i, name in enumerate(protocol.training)}
    return sorted(clip, key=lambda pair: (rank.get(sequence[pair[0]], len(rank)), pair))[:1]


def population(workspace: Path) -> list[str]:
    """Names of the people that a workspace's priors can learn from, in order.

    Raises:
        ArtifactError: there are none.
    """
    folder = workspace / "data" / "raw"
    names = [
        path.parent.name
        for path in sorted(folder.glob("*/subject.json"))
        if json.loads(path.read_text())["kind"] == "population"
    ]
    if not names:
        raise ArtifactError(f"{folder}: there is nobody of kind population for a prior")
    return names


def person_in(workspace: Path, name: str) -> Views:
    """Pictures of one person of the population, with exact tracking."""
    from stages.prior import load_person

    folder = workspace / "data" / "synthesis" / name
    tracking = load_truth(folder)
    head = load_exact(tracking.head, tracking.head_digest, str(folder))
    return load_person(head, tracking, folder)


def own_prior(workspace: Path, people: Sequence[str], gaussians: int) -> Path | None:
    """The folder of the workspace's prior, if it learnt from these people at this UV size."""
    for folder in sorted((workspace / "data" / "prior").glob("*/")):
        meta = read_meta(folder, "prior")
        if meta["members"] == sorted(people) and meta["gaussians"] == gaussians:
            return folder
    return None


def digests(workspace: Path, units: dict[str, Sequence[str]]) -> dict[str, str]:
    """Digests of units' artifacts, stage -> names, so that a recipe knows when they change."""
    out: dict[str, str] = {}
    for stage, names in units.items():
        index = workspace / "data" / stage / "_index.json"
        known = json.loads(index.read_text())["units"] if index.is_file() else {}
        out |= {f"{stage}/{name}": str(known.get(name)) for name in names}
    return out
