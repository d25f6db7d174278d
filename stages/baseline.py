"""What the stages of the two Gaussian baselines read and write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import Context, Inputs

if TYPE_CHECKING:
    from headworks.avatars import Avatar
    from headworks.avatars.training import Curve
    from headworks.avatars.views import Views
    from headworks.heads.base import HeadModel


def load_subject(inputs: Inputs, context: Context) -> tuple[HeadModel, Views, str]:
    """Head model, training pictures and setting of a subject: the same that `fit` trains on.

    Raises:
        ArtifactError: an input is damaged, or no training frame was tracked.
    """
    import torch

    from headworks.artifacts import read_meta
    from headworks.heads import load_exact
    from headworks.tracks import load_tracking
    from stages.fit import training_views

    torch.set_num_threads(context.threads)
    tracking = load_tracking(inputs["tracking"])
    head = load_exact(tracking.head, tracking.head_digest, str(inputs["tracking"]))
    setting = read_meta(inputs["ingest"], "capture")["setting"]
    return head, training_views(head, tracking, inputs["ingest"], inputs["matting"]), setting


def write_baseline(
    out: Path,
    method: str,
    avatar: Avatar | None,
    curves: Sequence[Curve],
    views: Views,
    perceptual: str,
) -> None:
    """Write an avatar artifact; without avatar (zero steps) its description alone."""
    import polars as pl

    from headworks.artifacts import write_meta, write_table
    from headworks.avatars import FILE

    out.mkdir(parents=True, exist_ok=True)
    if avatar is None:
        write_meta(out, "avatar", {"method": method, "left_out": "zero steps"})
        return
    facts = avatar.save(out / FILE)
    write_table(out / "curves.parquet", pl.DataFrame([vars(c) for c in curves]))
    write_meta(
        out,
        "avatar",
        {
            **facts,
            "train_views": len(views),
            "perceptual": perceptual,
            "train_psnr": curves[-1].psnr,
        },
    )
