"""Every method on every chosen picture: rows of numbers with their protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.artifacts import canonical_json, write_table
from headworks.metrics import identity, pixel
from headworks.metrics.aggregate import nested_means, subject_means
from headworks.metrics.protocol import (
    Scope,
    Score,
    face_mask,
    foreground_mask,
    identity_score,
    image_scores,
)
from stages.evaluate.methods import Method
from stages.evaluate.subject import Pair, Subject, evenly

if TYPE_CHECKING:
    from stages.evaluate import EvaluateParams

_COLUMNS = (
    "method", "setting", "sequence", "camera", "frame", "split", "metric", "scope", "value",
    "protocol", "reason",
)  # fmt: skip


def measure(
    subject: Subject,
    methods: dict[str, Method],
    params: EvaluateParams,
    out: Path,
    progress: Callable[[float, str], None],
) -> dict[str, Any]:
    """Write metrics.parquet and metrics.json.

    Returns:
        Facts for the artifact's description: protocols, versions, counts, means.
    """
    import polars as pl

    flip = set(evenly(subject.chosen, params.flip_frames)) if params.flip_frames else set()
    fd = set(evenly(subject.chosen, params.fd_frames)) if params.fd_frames else set()
    rows: list[dict[str, Any]] = []
    for number, pair in enumerate(subject.chosen):
        progress(number / len(subject.chosen), f"frame {number + 1} of {len(subject.chosen)}")
        metrics = ["psnr", "ssim", "ms_ssim", *(["flip"] if pair in flip else [])]
        for method, scores in frame_scores(subject, methods, pair, metrics, pair in fd).items():
            rows += [_row(subject, method, pair, score) for score in scores]
    for pair in subject.untracked:
        lost = Score("psnr", "full", None, "the head was not tracked in this frame")
        rows += [_row(subject, method, pair, lost) for method in methods]
    sequence = consecutive(subject, params.video_frames)
    if len(sequence) > 1:
        for method, score in flicker_scores(subject, methods, sequence).items():
            rows.append({**_row(subject, method, sequence[0], score), "frame": None})
    table = pl.DataFrame(
        [{name: row[name] for name in _COLUMNS} for row in rows],
        schema_overrides={"frame": pl.Int32, "value": pl.Float64, "reason": pl.String},
    )
    write_table(out / "metrics.parquet", table)
    means = subject_means(table)
    nested = nested_means(means)
    (out / "metrics.json").write_text(json.dumps(nested, indent=1, sort_keys=True) + "\n")
    protocols = {}
    for pair in [*subject.chosen, *subject.untracked]:
        protocol = subject.protocol(pair)
        protocols[protocol.name] = protocol.describe()
    return {
        "methods": list(methods),
        "protocols": protocols,
        "implementations": implementations(),
        "frames": len(subject.chosen),
        "untracked": len(subject.untracked),
        "frame_list_sha256": hashlib.sha256(canonical_json(subject.chosen).encode()).hexdigest(),
        "missing": _missing(table),
    }


def frame_scores(
    subject: Subject, methods: dict[str, Method], pair: Pair, metrics: list[str], with_fd: bool
) -> dict[str, list[Score]]:
    """Scores of all methods on one picture."""
    target, alpha = subject.target(pair)
    masks: dict[Scope, pixel.Mask | None] = {
        "fg": foreground_mask(alpha),
        "face": face_mask(subject.face_landmarks[pair], *subject.size),
    }
    out: dict[str, list[Score]] = {}
    for name, method in methods.items():
        rendered = method(pair)
        if rendered is None:
            why = "there is no other training frame"
            out[name] = [Score(metric, "full", None, why) for metric in metrics]
            continue
        scores = image_scores(rendered[0], target, masks, metrics)
        scores.append(Score("alpha_mae", "full", pixel.alpha_mae(rendered[1], alpha)))
        scores.append(Score("alpha_iou", "full", pixel.alpha_iou(rendered[1], alpha)))
        if with_fd:
            scores.append(identity_score(rendered[0], target))
        out[name] = scores
    return out


def consecutive(subject: Subject, limit: int) -> list[Pair]:
    """The first unbroken run of held-out pictures that one camera took, at most `limit`.

    Photos are no sequence: they give a run of one.
    """
    run = [subject.test[0]]
    if subject.meta["setting"] == "photo":
        return run
    for pair in subject.test[1:]:
        if pair != (run[-1][0] + 1, run[-1][1]) or len(run) == limit:
            break
        run.append(pair)
    return run


def flicker_scores(
    subject: Subject, methods: dict[str, Method], sequence: list[Pair]
) -> dict[str, Score]:
    """Flicker of every method over one run of pictures."""
    targets = [subject.target(pair) for pair in sequence]
    masks = [foreground_mask(alpha) for _, alpha in targets]
    scores = {}
    for name, method in methods.items():
        rendered = [answer for answer in map(method, sequence) if answer is not None]
        if len(rendered) < len(sequence):
            scores[name] = Score("flicker", "fg", None, "not every frame could be rendered")
            continue
        value = pixel.flicker([r for r, _ in rendered], [t for t, _ in targets], masks)
        scores[name] = Score("flicker", "fg", value)
    return scores


def implementations() -> dict[str, Any]:
    """What computed the numbers: package versions, digests of weight files."""
    packages = ("flip-evaluator", "dlib-bin", "numpy", "torch")
    return {
        "packages": {name: version(name) for name in packages},
        "weights_sha256": identity.weights_digests(),
    }


def _row(subject: Subject, method: str, pair: Pair, score: Score) -> dict[str, Any]:
    row = subject.rows[pair]
    return {
        "method": method,
        "setting": subject.meta["setting"],
        "sequence": row["sequence"],
        "camera": row["camera"],
        "frame": int(row["frame"]),
        "split": row["split"],
        "metric": score.metric,
        "scope": score.scope,
        "value": score.value,
        "protocol": subject.protocol(pair).name,
        "reason": score.reason,
    }


def _missing(table: Any) -> list[dict[str, Any]]:
    """Metrics without a value anywhere, with the reason: they are reported, not hidden."""
    import polars as pl

    group = ["method", "metric", "scope", "protocol"]
    empty = (
        table.group_by(group)
        .agg(pl.col("value").count().alias("n"), pl.col("reason").drop_nulls().first())
        .filter(pl.col("n") == 0)
        .sort(group)
    )
    return empty.drop("n").to_dicts()
