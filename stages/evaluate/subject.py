"""`Subject`: what evaluation reads of one subject, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.artifacts import open_arrays, read_array, read_meta, read_table
from headworks.avatars import FILE, Avatar, load_avatar
from headworks.cameras import Camera
from headworks.errors import ArtifactError
from headworks.heads import load_exact
from headworks.heads.base import HeadModel
from headworks.images import to_float
from headworks.matting.foreground import own_colours
from headworks.metrics.protocol import Protocol, displayed
from headworks.tracks import Tracking, load_tracking
from stages.contract import Inputs

BASELINE_STAGES = ("gaussian_avatars", "flash_avatar")
"""Stages whose avatars are measured beside that of `fit`."""
Pair = tuple[int, int]
"""(t, c): a time and a camera."""


@dataclass(frozen=True)
class Subject:
    """One subject's artifacts, opened.

    Attributes:
        rgb: lazy uint8 [T, C, H, W, 3]. alpha: lazy uint8 [T, C, H, W] that metrics take as true.
        matte: lazy uint8 [T, C, H, W] of the matting stage. alpha_source: "truth" or "matte".
        landmarks: [T, C, 68, 3] as detected. face_landmarks: those that bound the face scope (exact
        ones where there are). rows: (t, c) -> row of frames.parquet. train: tracked training
        pictures. test: every picture to evaluate. chosen: those measured, evenly spaced.
        untracked: pictures to evaluate that the tracker lost. baselines: other methods' avatars of
        the same subject, by method.
    """

    rgb: Any
    alpha: Any
    matte: Any
    alpha_source: str
    landmarks: NDArray[np.float32]
    face_landmarks: NDArray[np.float32]
    rows: dict[Pair, dict[str, Any]]
    train: list[Pair]
    test: list[Pair]
    chosen: list[Pair]
    untracked: list[Pair]
    tracking: Tracking
    head: HeadModel
    avatar: Avatar
    baselines: dict[str, Avatar]
    meta: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the working frames."""
        return self.rgb.shape[3], self.rgb.shape[2]

    @property
    def fps(self) -> float:
        """Frames per second, 25 where the capture names none."""
        return float(self.meta.get("fps") or 25.0)

    def camera(self, pair: Pair) -> Camera:
        """The view of a picture."""
        return self.tracking.camera(*pair, *self.size)

    def frame(self, pair: Pair) -> NDArray[np.uint8]:
        """The picture as ingested: uint8 [H, W, 3]."""
        return np.asarray(self.rgb[pair[0], pair[1]])

    def target(self, pair: Pair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the avatar is compared with: rgb over white [H, W, 3], alpha [H, W]."""
        coverage = np.asarray(self.alpha[pair[0], pair[1]])
        rgb, alpha = to_float(own_colours(self.frame(pair), coverage)), to_float(coverage)
        return displayed(rgb, alpha), alpha

    def matted(self, pair: Pair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What fitting saw: the person's own colours [H, W, 3] and the matte [H, W]."""
        alpha = np.asarray(self.matte[pair[0], pair[1]])
        return to_float(own_colours(self.frame(pair), alpha)), to_float(alpha)

    def vertices(self, pair: Pair) -> NDArray[np.float32]:
        """The tracked mesh at the time of a picture: [V, 3] metres, world."""
        import torch

        with torch.no_grad():
            return self.tracking.vertices(self.head, [pair[0]])[0].numpy()

    def protocol(self, pair: Pair) -> Protocol:
        """How the numbers of a picture come about."""
        if self.rows[pair]["split"] != "test":
            frames = "train_view"
        elif any(c == pair[1] and row["split"] == "train" for (_, c), row in self.rows.items()):
            frames = "held_out_frames"
        else:
            frames = "held_out_cameras"
        return Protocol(self.size, frames, self.alpha_source)


def evenly(items: list[Any], count: int) -> list[Any]:
    """At most `count` items, evenly spaced, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    index = np.rint(np.linspace(0, len(items) - 1, count)).astype(int)
    return [items[i] for i in np.unique(index)]


def load_subject(inputs: Inputs, max_frames: int) -> Subject:
    """Open one subject's artifacts and decide which pictures are evaluated.

    Without any held-out picture (a photo), the training pictures are; their protocol says so.

    Args:
        inputs: "ingest", "matting", "landmarks", "tracking", "fit", and `BASELINE_STAGES` where
            they are. max_frames: at most so many.

    Raises:
        ArtifactError: an artifact is damaged, or no picture to evaluate was tracked.
    """
    ingest = Path(inputs["ingest"])
    meta = read_meta(ingest, "capture")
    table = read_table(ingest / "frames.parquet").sort("sequence", "c", "t")
    rows = {(int(r["t"]), int(r["c"])): r for r in table.iter_rows(named=True)}
    rgb = open_arrays(ingest / "frames.zarr")["rgb"]
    matte = open_arrays(Path(inputs["matting"]) / "mattes.zarr")["alpha"]
    truth = ingest / "truth" / "truth.zarr"
    exact = truth.exists()
    alpha, source = (open_arrays(truth)["alpha"], "truth") if exact else (matte, "matte")
    if alpha.shape != rgb.shape[:4]:
        raise ArtifactError(f"{inputs['matting']}: mattes {alpha.shape}, frames {rgb.shape[:4]}")
    landmarks = read_array(
        Path(inputs["landmarks"]) / "landmarks.zarr", "points", (*rgb.shape[:2], 68, 3)
    )
    tracking = load_tracking(Path(inputs["tracking"]))
    tracked = [pair for pair in rows if tracking.valid[pair[0]]]
    train = [pair for pair in tracked if rows[pair]["split"] == "train"]
    held_out = [pair for pair in rows if rows[pair]["split"] == "test"] or list(rows)
    test = [pair for pair in held_out if tracking.valid[pair[0]]]
    if not test or not train:
        raise ArtifactError(
            f"{inputs['tracking']}: no {'test' if train else 'training'} frame was tracked; "
            "look at the flags in tracking.parquet"
        )
    return Subject(
        rgb=rgb,
        alpha=alpha,
        matte=matte,
        alpha_source=source,
        landmarks=landmarks,
        face_landmarks=read_array(truth, "landmarks", landmarks.shape) if exact else landmarks,
        rows=rows,
        train=train,
        test=test,
        chosen=evenly(test, max_frames),
        untracked=[pair for pair in held_out if not tracking.valid[pair[0]]],
        tracking=tracking,
        head=load_exact(tracking.head, tracking.head_digest, str(inputs["tracking"])),
        avatar=load_avatar(Path(inputs["fit"])),
        baselines=_baselines(inputs),
        meta=meta,
    )


def _baselines(inputs: Inputs) -> dict[str, Avatar]:
    """Avatars of the baseline stages, but those that were left out (zero steps)."""
    folders = {role: Path(inputs[role]) for role in BASELINE_STAGES if role in inputs}
    return {
        role: load_avatar(folder)
        for role, folder in folders.items()
        if (folder / FILE).exists() or "left_out" not in read_meta(folder, "avatar")
    }
