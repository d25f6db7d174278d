"""`SubjectReport`: what the page says about one subject, read from its artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.artifacts import read_meta, read_table
from headworks.errors import ArtifactError
from headworks.metrics.aggregate import subject_means
from stages.contract import Inputs
from stages.report.places import plain_file

if TYPE_CHECKING:
    import polars as pl

PROTOCOL_ORDER = ("held_out_cameras", "held_out_frames", "train_view")
"""Which protocol leads where a subject has several: the hardest first."""


@dataclass(frozen=True)
class SubjectReport:
    """One evaluated subject.

    Attributes:
        name: of the subject. folder: its evaluate artifact. setting, kind: from the capture.
        methods: the avatar's method first. protocol: full name of the leading protocol.
        means: one row per method, metric, scope, protocol (`subject_means`). rows: metrics.parquet.
        overlays: "matting", "landmarks", "tracking" -> film of what the stage found, if any.
        pictures: role -> entries of pictures.json, in order. curves: method -> training curves.
        facts: label -> text, for the table of preparations. missing: metrics without any value.
        frames: pictures measured.
    """

    name: str
    folder: Path
    setting: str
    kind: str
    methods: list[str]
    protocol: str
    means: pl.DataFrame
    rows: pl.DataFrame
    pictures: dict[str, list[dict[str, Any]]]
    curves: dict[str, pl.DataFrame]
    facts: dict[str, str]
    missing: list[dict[str, Any]]
    frames: int
    overlays: dict[str, Path] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def frames_kind(self) -> str:
        """ "held_out_frames", "held_out_cameras" or "train_view"."""
        return self.protocol.split("-", 1)[0]

    def comparisons(self) -> list[dict[str, dict[str, Any]]]:
        """For every shown frame: role -> picture."""
        groups: dict[str, dict[str, dict[str, Any]]] = {}
        for role, entries in self.pictures.items():
            for entry in entries:
                if entry["group"].startswith("comparison_"):
                    groups.setdefault(entry["group"], {})[role] = entry
        return [groups[name] for name in sorted(groups)]


def gather(inputs: Inputs) -> list[SubjectReport]:
    """Read all evaluated subjects, sorted by name.

    Raises:
        ArtifactError: when an artifact is damaged.
    """
    return [
        _read(name, {r: v[name] for r, v in inputs.items() if isinstance(v, Mapping) and name in v})
        for name in sorted(inputs["evaluate"])
    ]


def _read(name: str, folders: dict[str, Path]) -> SubjectReport:
    folder = Path(folders["evaluate"])
    meta = read_meta(folder, "metrics")
    capture = read_meta(Path(folders["ingest"]), "capture")
    rows = read_table(folder / "metrics.parquet")
    means = subject_means(rows)
    protocols = sorted(
        meta["protocols"], key=lambda p: PROTOCOL_ORDER.index(meta["protocols"][p]["frames"])
    )
    listed = folder / "pictures" / "pictures.json"
    try:
        entries = json.loads(listed.read_text())
        pictures: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            plain_file(entry["file"])
            pictures.setdefault(entry["role"], []).append(entry)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{listed}: not readable ({error}); evaluate again") from None
    return SubjectReport(
        name=name,
        folder=folder,
        setting=capture["setting"],
        kind=capture.get("subject_kind", ""),
        methods=meta["methods"],
        protocol=protocols[0],
        means=means,
        rows=rows,
        pictures=pictures,
        curves=_curves(folders, meta["methods"][0]),
        facts=_facts(folders, capture, meta),
        missing=meta["missing"],
        frames=meta["frames"],
        overlays=_overlays(folders),
        values=_values(means, protocols[0]),
    )


def _curves(folders: dict[str, Path], lead: str) -> dict[str, pl.DataFrame]:
    """Training curves of every method that has some."""
    found = {}
    for role, method in (("fit", lead), *((r, r) for r in ("gaussian_avatars", "flash_avatar"))):
        path = Path(folders[role]) / "curves.parquet" if role in folders else None
        if path is not None and path.is_file():
            found[method] = read_table(path)
    return found


def _overlays(folders: dict[str, Path]) -> dict[str, Path]:
    """Films that the stages made of what they found."""
    found = {}
    for role in ("matting", "landmarks", "reconstruct", "tracking"):
        path = Path(folders[role]) / "overlay.mp4" if role in folders else None
        if path is not None and path.is_file():
            found[role] = path
    return found


def _values(means: pl.DataFrame, protocol: str) -> dict[str, dict[str, float]]:
    """method -> {metric or metric_scope: mean} of one protocol."""
    from headworks.metrics.aggregate import nested_means

    return nested_means(means).get(protocol, {})


def _facts(
    folders: dict[str, Path], capture: dict[str, Any], meta: dict[str, Any]
) -> dict[str, str]:
    """What prepared the numbers, in the order of the pipeline; what is not known is left out."""
    facts: dict[str, str] = {}
    table = read_table(Path(folders["ingest"]) / "frames.parquet")
    counts = {split: len(table.filter(table["split"] == split)) for split in ("train", "test")}
    cameras = table["c"].n_unique()
    facts["Pictures"] = f"{counts['train']} for training, {counts['test']} held out" + (
        f", {cameras} cameras" if cameras > 1 else ""
    )
    for source in capture.get("source") or []:
        facts[f"Source {source['file']}"] = f"SHA-256 {source['sha256'][:16]}…"
    for field_name in ("consent", "licence"):
        if capture.get(field_name):
            facts[field_name.capitalize()] = str(capture[field_name])
    if "matting" in folders:
        matting = read_meta(Path(folders["matting"]), "mattes")
        reason = f" ({matting['reason']})" if matting.get("reason") else ""
        facts["Matting"] = f"{matting.get('backend', '?')}{reason}"
    if "landmarks" in folders:
        landmarks = read_meta(Path(folders["landmarks"]), "landmarks")
        found = landmarks.get("found")
        share = f", found in {found:.1%} of the pictures" if found is not None else ""
        facts["Landmarks"] = f"{landmarks.get('backend', '?')}{share}"
    if "tracking" in folders:
        facts["Tracking"] = _tracking_fact(Path(folders["tracking"]))
    if "fit" in folders:
        avatar = read_meta(Path(folders["fit"]), "avatar")
        facts["Avatar"] = ", ".join(
            [avatar.get("method", "?"), f"{avatar['gaussians']:,} Gaussians".replace(",", " ")]
            if "gaussians" in avatar
            else [avatar.get("method", "?")]
        )
    untracked = meta.get("untracked", 0)
    lost = f", {untracked} more lost by the tracker" if untracked else ""
    facts["Measured"] = f"{meta['frames']} picture{'s' * (meta['frames'] != 1)}{lost}"
    return facts


def _tracking_fact(folder: Path) -> str:
    meta = read_meta(folder, "tracking")
    table = read_table(folder / "tracking.parquet")
    parts = [f"{meta.get('backend', '?')}, head model {meta['head']}"]
    for column, label, scale in (
        ("landmark_error_iod", "landmark error {:.1f} % of the eye distance", 100.0),
        ("iou", "silhouette IoU {:.3f}", 1.0),
    ):
        if column in table.columns:
            known = table[column].fill_nan(None).drop_nulls()
            if len(known):
                parts.append(label.format(scale * float(known.mean())))  # type: ignore[arg-type]
    return ", ".join(parts)
