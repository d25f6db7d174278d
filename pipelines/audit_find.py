"""What a name, path, digest or file on a disk refers to in the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from headworks.errors import HeadworksError
from pipelines.plan import ALL
from pipelines.publish import file_md5
from pipelines.stamp import read_stamp
from pipelines.store import read_tree
from pipelines.workspace import Workspace

_DIGITS = frozenset("0123456789abcdefk.dir")


@dataclass
class Found:
    """What a target refers to.

    Attributes:
        keys: of results. subjects: names of raw captures (where no result is meant).
        how: by what it was found, for people.
    """

    keys: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    how: str = ""


def find(workspace: Workspace, target: str) -> Found:
    """Results or captures that a target names.

    Args:
        workspace: where.
        target: a subject's name, STAGE/SUBJECT, a path below data/, the first 6 or more digits of
            a key or digest, or any file: by the digest that it carries, else by its bytes.

    Raises:
        HeadworksError: nothing of that name is known.
    """
    for look in (_by_subject, _by_unit, _by_digest, _by_file):
        found = look(workspace, target)
        if found is not None and (found.keys or found.subjects):
            return found
    raise HeadworksError(
        f"{target}: nothing of that name in the ledger; try STAGE/SUBJECT, a path below data/, a "
        "file that came from here, a subject's name, or the first digits of a digest "
        "(headworks status lists subjects)"
    )


def _by_subject(workspace: Workspace, target: str) -> Found | None:
    ledger = workspace.ledger.refresh()
    claims = [(stage, key) for (stage, name), key in ledger.claims().items() if name == target]
    known = target in workspace.subjects() or target in ledger.raws
    if target == ALL or not (claims or known):
        return None
    order = [stage.name for stage in workspace.registry]
    claims.sort(key=lambda item: order.index(item[0]) if item[0] in order else -1)
    if claims:
        return Found([claims[-1][1]], how="a subject's last stage")
    return Found(subjects=[target], how="a capture without results")


def _by_unit(workspace: Workspace, target: str) -> Found | None:
    layout = workspace.layout
    claims = workspace.ledger.refresh().claims()
    path = Path(target)
    try:
        resolved = path.resolve() if path.exists() else layout.root / path
        parts = resolved.relative_to(layout.data).parts
    except ValueError:
        parts = path.parts if not path.is_absolute() else ()
    if len(parts) < 2:
        return None
    if parts[0] == "raw":
        return Found(subjects=[parts[1]]) if (layout.raw / parts[1]).is_dir() else None
    subject = parts[1].removesuffix(".manifest.json")
    try:
        key = str(json.loads(layout.manifest(parts[0], subject).read_bytes())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        key = claims.get((parts[0], subject), "")
    return Found([key], how="a published result") if key else None


def _by_digest(workspace: Workspace, target: str) -> Found | None:
    if len(target) < 6 or not set(target) <= _DIGITS:
        return None
    import polars as pl

    table = workspace.ledger.frame()
    if table.is_empty():
        return None
    starts = [
        pl.col("key").str.starts_with(target),
        pl.col("key").str.starts_with("k1" + target),
        pl.col("out_oid").str.starts_with(target),
    ]
    rows = table.filter(pl.col("type").is_in(["ok", "raw"]) & pl.any_horizontal(starts))
    keys = rows.filter(pl.col("type") == "ok").get_column("key").to_list()
    names = rows.filter(pl.col("type") == "raw").get_column("subject").to_list()
    return Found(list(dict.fromkeys(keys)), [] if keys else sorted(set(names)), "its digest")


def _by_file(workspace: Workspace, target: str) -> Found | None:
    path = Path(target)
    if path.is_dir():
        path = path / "artifact.json"
    if not path.is_file():
        return None
    ledger = workspace.ledger.refresh()
    stamp = read_stamp(path)
    if stamp:
        if ledger.row(stamp.get("key", "")) is not None:
            return Found([stamp["key"]], how="the digest that the file carries")
        known = {oid: key for key, oid in ledger.outputs().items()}
        if stamp.get("digest") in known:
            return Found([known[stamp["digest"]]], how="the digest that the file carries")
    md5 = file_md5(path)
    subjects = {
        name
        for name, body in ledger.raws.items()
        if any(row[0] == md5 for row in body.get("files", {}).values())
    }
    subjects |= {
        s.name for s in workspace.subjects().values() if md5 in (r[0] for r in s.files.values())
    }
    if subjects:
        return Found(subjects=sorted(subjects), how="the bytes of a raw capture")
    objects = workspace.layout.objects
    keys = [
        key
        for key, oid in ledger.outputs().items()
        if md5 in (read_tree(objects, oid) or {}).values()
    ]
    if stamp and not keys:
        raise HeadworksError(
            f"{target}: carries the digest {stamp.get('digest')} of a {stamp.get('stage')}, which "
            "this ledger does not know; ask where it was made (or: headworks pull)"
        )
    if not keys:
        from pipelines.marking import is_media

        if is_media(path):
            return _by_watermark(workspace, path)
    return Found(keys, how="the bytes of a file of it")


def _by_watermark(workspace: Workspace, path: Path) -> Found | None:
    from headworks.marking.watermark import detect
    from pipelines.marking import frames_of, watermark_digests, watermark_key

    try:
        mark = detect(frames_of(path), watermark_key())
    except HeadworksError:  # not a picture, whatever it is called: it carries no mark
        return None
    if mark is None:
        return None
    # Equal bytes may have come of several recipes: the mark cannot tell which.
    digests = set(watermark_digests(workspace, mark.payload))
    keys = [key for key, oid in workspace.ledger.outputs().items() if oid in digests]
    if not keys:
        raise HeadworksError(
            f"{path}: its watermark says {mark.payload}, a digest's beginning that this ledger "
            "does not know; ask where it was made (or: headworks pull)"
        )
    return Found(keys, how="the watermark in the picture")
