"""Avatars and what drives them, found by the names that people give: subjects, results, files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.errors import HeadworksError
from headworks.formats.media import VIDEO_SUFFIXES
from pipelines.publish import published_oid
from pipelines.stamp import read_stamp
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from headworks.avatars import Avatar
    from headworks.driving.performance import Performance, Rest
    from headworks.tracks import Tracking

FIT = "fit"
"""Stage whose avatar a subject's bare name means."""
SCRIPT = "script:"
_CURVES = (".csv", ".parquet", ".json")
_FPS = 25.0
_SCRIPTED: dict[str, Any] = {"seconds": 8.0, "fps": _FPS, "seed": 1}


@dataclass(frozen=True)
class Source:
    """An avatar, and where it came from.

    Attributes:
        avatar: who. name: for messages and file names. subject: in the workspace, or None.
        stamp: `digest`, `key`, `stage` of its artifact; empty for a file of unknown origin.
    """

    avatar: Avatar
    name: str
    subject: str | None
    stamp: dict[str, str]


@dataclass(frozen=True)
class Tracked:
    """A tracked subject.

    Attributes:
        tracking: its artifact, read. size: (width, height) of the working frames. fps: their rate.
        stamp: of the artifact. ingest: folder with the pictures.
    """

    tracking: Tracking
    size: tuple[int, int]
    fps: float
    stamp: dict[str, str]
    ingest: Path


@dataclass(frozen=True)
class Driver:
    """What drives an avatar.

    Attributes:
        performance: in the driver's own world. rest: how the driver usually is.
        stamp: fields that say what it was. notes: what could not be taken over, in words.
        tracked: the subject, where it is one. own: whether it is the avatar's own subject.
    """

    performance: Performance
    rest: Rest
    stamp: dict[str, str]
    notes: tuple[str, ...] = ()
    tracked: Tracked | None = None
    own: bool = False


def find_avatar(workspace: Workspace, target: str) -> Source:
    """An avatar by the name of a subject, STAGE/SUBJECT, a folder or an avatar file.

    Raises:
        HeadworksError: there is none, it was withdrawn, or it is not as it was published.
    """
    from headworks.avatars import FILE, load_avatar_file

    path = Path(target)
    file = path / FILE if path.is_dir() else path
    unit = unit_of(workspace, path) if file.is_file() else None
    if file.is_file() and unit is None:
        return Source(load_avatar_file(file), path.stem, None, read_stamp(file))
    stage, subject = unit or _split(workspace, target)
    stamp = published_stamp(workspace, stage, subject)
    folder = workspace.layout.artifact(stage, subject)
    if not (folder / FILE).is_file():
        raise HeadworksError(
            f"{target}: {stage}/{subject} holds no avatar; name a subject, fit/SUBJECT or an "
            "avatar file"
        )
    return Source(load_avatar_file(folder / FILE), subject, subject, stamp)


def unit_of(workspace: Workspace, path: Path) -> tuple[str, str] | None:
    """Stage and subject of a path below data/."""
    try:
        parts = path.resolve().relative_to(workspace.layout.data).parts
    except ValueError:
        return None
    return (parts[0], parts[1]) if len(parts) >= 2 and parts[0] != "raw" else None


def _split(workspace: Workspace, target: str) -> tuple[str, str]:
    stage, _, subject = target.removeprefix("data/").rpartition("/")
    if not stage:
        stage = FIT
    if "/" in stage or stage not in {s.name for s in workspace.registry}:
        raise HeadworksError(
            f"{target}: no such avatar; name a subject (headworks status lists them), "
            "STAGE/SUBJECT, or an avatar.safetensors file"
        )
    return stage, subject


def published_stamp(workspace: Workspace, stage: str, subject: str) -> dict[str, str]:
    """Digest, key and stage of a published result.

    Raises:
        HeadworksError: there is none, somebody touched it, or it was withdrawn.
    """
    workspace.layout.require()
    ledger = workspace.ledger.refresh()
    key = ledger.claims().get((stage, subject))
    row = ledger.row(key) if key else None
    oid = published_oid(workspace.layout, stage, subject)
    if row is None or oid is None:
        known = sorted(name for s, name in ledger.claims() if s == stage)
        there = f"there are {', '.join(known[:6])}" if known else f"nothing of {stage} yet"
        what = "is not as it was published" if row is not None else f"no such result ({there})"
        raise HeadworksError(
            f"{stage}/{subject}: {what}; run: headworks run --stage {stage} --subject {subject}"
        )
    if ledger.withdrawn(row["key"]):
        raise HeadworksError(f"{stage}/{subject}: was withdrawn and leaves no more (headworks run)")
    return {"digest": oid, "key": str(row["key"]), "stage": stage}


def find_tracked(workspace: Workspace, subject: str) -> Tracked:
    """A subject's tracking.

    Raises:
        HeadworksError: it was not tracked, or its consent was withdrawn.
    """
    from headworks.artifacts import open_arrays, read_meta
    from headworks.tracks import load_tracking

    stamp = published_stamp(workspace, "tracking", subject)
    ingest = workspace.layout.artifact("ingest", subject)
    shape = open_arrays(ingest / "frames.zarr")["rgb"].shape
    fps = read_meta(ingest, "capture").get("fps") or _FPS
    tracking = load_tracking(workspace.layout.artifact("tracking", subject))
    return Tracked(tracking, (int(shape[3]), int(shape[2])), float(fps), stamp, ingest)


def rest_of(source: Source, workspace: Workspace) -> tuple[Rest, Tracked | None]:
    """How the avatar's subject usually is in its capture; canonical where that is not at hand."""
    from headworks.driving.performance import canonical_rest, frontal_camera, tracked_rest

    head = source.avatar.head
    if source.subject is None:
        return canonical_rest(head, source.avatar.identity), None
    tracked = find_tracked(workspace, source.subject)
    if tracked.tracking.head_digest != head.digest:
        return canonical_rest(head, source.avatar.identity), None
    camera = frontal_camera(head, tracked.tracking)
    return tracked_rest(head, tracked.tracking, tracked.size, camera), tracked


def find_driver(
    workspace: Workspace,
    by: str,
    source: Source,
    script: Mapping[str, Any] | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Driver:
    """What drives an avatar, by name.

    Args:
        by: a subject, a file of expression curves, a clip, or script:NAME.
        source: the avatar. script: `seconds`, `fps`, `seed` of a script. told: hears what is done.

    Raises:
        HeadworksError: nothing of that name, or nothing that could drive this avatar.
    """
    path = Path(by)
    if by.startswith(SCRIPT):
        return _script(by.removeprefix(SCRIPT), source, {**_SCRIPTED, **(script or {})})
    if by in workspace.subjects():
        return _subject(workspace, by, source, {"driver": by})
    if path.is_file() and path.suffix.lower() in _CURVES:
        return _curves(path, source)
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        from pipelines.clips import clip_workspace

        there, name, sha256 = clip_workspace(workspace, path, told)
        return _subject(there, name, source, {"driver": "clip", "driver_sha256": sha256})
    subjects = ", ".join(sorted(workspace.subjects())[:8]) or "none yet"
    raise HeadworksError(
        f"--by {by}: neither a subject ({subjects}), nor a file of curves ({', '.join(_CURVES)}), "
        f"nor a clip ({', '.join(sorted(VIDEO_SUFFIXES))}), nor script:talk"
    )


def _subject(workspace: Workspace, name: str, source: Source, stamp: dict[str, str]) -> Driver:
    from headworks.driving.performance import frontal_camera, performance_of, tracked_rest
    from headworks.heads import load_exact

    tracked = find_tracked(workspace, name)
    tracking = tracked.tracking
    if not tracking.valid.any():
        raise HeadworksError(f"tracking/{name}: no frame was tracked; it cannot drive anybody")
    head = load_exact(tracking.head, tracking.head_digest, f"tracking/{name}")
    own = name == source.subject and head.digest == source.avatar.head.digest
    state = source.avatar.state if own else None
    performance = performance_of(head, tracking, tracked.fps, name, state)
    rest = tracked_rest(head, tracking, tracked.size, frontal_camera(head, tracking))
    stamp = {
        **stamp, "driver_digest": tracked.stamp["digest"], "driver_key": tracked.stamp["key"]
    }  # fmt: skip
    return Driver(performance, rest, stamp, tracked=tracked, own=own)


def _curves(path: Path, source: Source) -> Driver:
    from headworks.driving.curves import perform, read_curves
    from headworks.driving.performance import canonical_rest
    from headworks.formats.media import source_facts

    avatar = source.avatar
    performance, unknown = perform(read_curves(path), avatar.head, avatar.identity, str(path))
    notes = (f"{path.name}: not shown by this head: {', '.join(unknown)}",) if unknown else ()
    stamp = {"driver": "curves", "driver_sha256": source_facts(path, "")["sha256"]}
    return Driver(performance, canonical_rest(avatar.head, avatar.identity), stamp, notes)


def _script(name: str, source: Source, script: dict[str, Any]) -> Driver:
    from headworks.driving.curves import script_performance
    from headworks.driving.performance import canonical_rest

    if not (0 < script["seconds"] <= 3600 and 1 <= script["fps"] <= 240):
        raise HeadworksError(
            f"{SCRIPT}{name}: --seconds {script['seconds']:g} --fps {script['fps']:g}: expected up "
            "to 3600 seconds at 1 to 240 frames per second"
        )
    avatar = source.avatar
    performance = script_performance(avatar.head, avatar.identity, name, **script)
    stamp = {"driver": f"script:{name}", "driver_seed": str(script["seed"])}
    return Driver(performance, canonical_rest(avatar.head, avatar.identity), stamp)
