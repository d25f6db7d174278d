"""Subjects: raw captures below data/raw/, their digests, and how they get there."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from headworks.errors import CaptureError, HeadworksError
from headworks.formats.layouts import Capture, find_captures
from headworks.formats.media import PHOTO_SUFFIXES as PHOTOS
from headworks.formats.media import VIDEO_SUFFIXES as CLIPS
from headworks.formats.nersemble import NAME as NERSEMBLE
from headworks.formats.subject import DESCRIPTION, TERMS, read_terms
from headworks.formats.subject import read_subject as describe
from pipelines.canon import md5_tree
from pipelines.files import (
    private_folder,
    read_cache,
    remove,
    sync_tree,
    walk_files,
    write_atomic,
    write_cache,
)
from pipelines.layout import Layout
from pipelines.ledger import Ledger
from stages.contract import SYNTHETIC, Kind

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_RESERVED = frozenset({"all", "raw"})
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Subject:
    """One capture.

    Attributes:
        name: folder below data/raw.
        kind: see stages.contract.
        oid: digest of the raw folder, as DVC computes it.
        files: raw file -> (md5, sha256, bytes).
    """

    name: str
    kind: Kind
    oid: str
    files: dict[str, tuple[str, str, int]]


def check_name(name: str) -> str:
    """A subject's name, if it can be one.

    Raises:
        HeadworksError: when it could leave the workspace or clash with the engine's names.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise HeadworksError(
            f"{name!r} cannot name a subject: use 1 to 64 letters, digits, '_' and '-', beginning "
            f"with a letter or digit (reserved: {', '.join(sorted(_RESERVED))})"
        )
    return name


class Fingerprints:
    """Digests of raw files, remembered by path, size, inode and modification time.

    A file that changed in the last two seconds is read again next time, since an edit within the
    clock's grain would not show.

    Args:
        layout: of the workspace.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = layout.hidden / "fingerprints.json"
        self._dirty = False

    @cached_property
    def _known(self) -> dict[str, Any]:
        return read_cache(self._path)

    def file(self, path: Path) -> tuple[str, str, int]:
        """(md5, sha256, bytes) of a file."""
        stat = path.stat()
        name = os.path.relpath(path, self._layout.root)
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(name)
        if isinstance(known, list) and len(known) == 3 and known[0] == stamp:
            return str(known[1]), str(known[2]), stat.st_size
        md5 = hashlib.md5(usedforsecurity=False)
        sha256 = hashlib.sha256()
        with open(path, "rb") as handle:
            while block := handle.read(1 << 20):
                md5.update(block)
                sha256.update(block)
        if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
            self._known[name] = [stamp, md5.hexdigest(), sha256.hexdigest()]
            self._dirty = True
        return md5.hexdigest(), sha256.hexdigest(), stat.st_size

    def subject(self, name: str) -> Subject:
        """A subject; its description is read again only where a file has changed.

        Raises:
            CaptureError: when its folder is not in order.
        """
        folder = self._layout.raw / name
        listing = sorted(_listing(folder))
        known = self._known.get(f"//{name}")
        if isinstance(known, list) and len(known) == 4 and known[0] == listing:
            _, kind, oid, files = known
            return Subject(name, kind, oid, {file: tuple(row) for file, row in files.items()})
        found = read_subject(self._layout, name, self)
        limit = time.time_ns() - _SETTLED_NS
        if all(row[2] < limit and row[4] for row in listing):
            files = {file: list(row) for file, row in found.files.items()}
            self._known[f"//{name}"] = [listing, found.kind, found.oid, files]
            self._dirty = True
        return found

    def save(self) -> None:
        """Keep the digests for the next run."""
        if self._dirty:
            write_cache(self._path, self._known, self._layout.tmp)
            self._dirty = False


def _listing(folder: Path) -> list[list[Any]]:
    """Name, size, time and inode of each entry, and whether it is a plain file."""
    rows = []
    for entry in os.scandir(folder):
        try:
            stat = entry.stat()
        except FileNotFoundError:
            return [["", 0, 0, 0, False]]
        plain = entry.is_file(follow_symlinks=False)
        rows.append([entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ino, plain])
    return rows


def read_subject(layout: Layout, name: str, fingerprints: Fingerprints) -> Subject:
    """One subject with its digests.

    Raises:
        CaptureError: when its folder is not in order.
    """
    folder = layout.raw / name
    description = describe(folder)
    files = {}
    for relative, entry in walk_files(folder):
        if entry.is_symlink() and not Path(entry.path).exists():
            raise CaptureError(f"{entry.path}: a link to nothing")
        files[relative] = fingerprints.file(Path(entry.path))
    return Subject(name, cast(Kind, description.kind), raw_oid(files), files)


def raw_oid(files: Mapping[str, tuple[str, str, int]]) -> str:
    """Digest of a raw folder as DVC computes it, without the terms that it came under."""
    return md5_tree({relative: row[0] for relative, row in files.items() if relative != TERMS})


def raw_event(layout: Layout, subject: Subject) -> dict[str, Any]:
    """What the ledger records of a capture: its files, and the terms it came under."""
    terms = read_terms(layout.raw / subject.name)
    files = {name: list(row) for name, row in subject.files.items() if name != TERMS}
    return {"kind": subject.kind, "files": files, **terms}


def record_raw(
    layout: Layout, ledger: Ledger, subjects: Iterable[Subject], again: bool = False
) -> int:
    """Tell the ledger of captures that it does not know as they are now.

    Args:
        layout: of the workspace. ledger: to be told. subjects: which.
        again: tell it also what it knows, when somebody was forgotten meanwhile (consent anew).

    Returns:
        How many events were appended.
    """
    count = 0
    for subject in subjects:
        event = raw_event(layout, subject)
        known = ledger.raws.get(subject.name, {})
        same = known.get("oid") == subject.oid and all(known.get(k) == v for k, v in event.items())
        if same and not (again and ledger.tombstones):
            continue
        now = datetime.now(UTC).isoformat()
        body = {**event, "who": who(), "when": now}
        ledger.append(
            "raw",
            subject=subject.name,
            out_oid=subject.oid,
            finished=now,
            body_json=json.dumps(body, sort_keys=True),
        )
        count += 1
    return count


def who() -> str:
    """Who types: `HEADWORKS_USER`, or the account's name."""
    named = os.environ.get("HEADWORKS_USER")
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def read_subjects(layout: Layout) -> dict[str, Subject]:
    """All subjects of a workspace, by name."""
    if not layout.raw.is_dir():
        return {}
    fingerprints = Fingerprints(layout)
    subjects = {}
    for entry in sorted(os.scandir(layout.raw), key=lambda e: e.name):
        if entry.is_dir() and not entry.name.startswith("."):
            check_name(entry.name)
            subjects[entry.name] = fingerprints.subject(entry.name)
    fingerprints.save()
    return subjects


def _safe_file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "file"


def _gather(paths: Sequence[Path]) -> tuple[Kind, list[Path]]:
    """What the given paths are: a clip, a photo, or several photos of one person."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PHOTOS)
            inside = inside or sorted(p for p in path.iterdir() if p.suffix.lower() in CLIPS)
            if not inside:
                raise CaptureError(
                    f"{path}: no photos in this folder (looked for {', '.join(sorted(PHOTOS))}), "
                    "no clip, and no layout that is known (docs/captures.md lists them)"
                )
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise CaptureError(f"{path}: no such file or folder")
    for path in files:
        if path.suffix.lower() not in PHOTOS | CLIPS:
            raise CaptureError(
                f"{path}: neither a photo ({', '.join(sorted(PHOTOS))}) nor a clip "
                f"({', '.join(sorted(CLIPS))})"
            )
        if path.stat().st_size == 0:
            raise CaptureError(f"{path}: the file is empty")
    clips = [path for path in files if path.suffix.lower() in CLIPS]
    if clips and len(files) > 1:
        raise CaptureError(
            f"{clips[0]}: one subject is one clip, or photos; add each clip under its own name, or "
            "give the folder of several cameras' videos of the same moments with --layout rig"
        )
    if clips:
        return "clip", files
    folder = any(path.is_dir() for path in paths)
    return ("photos" if folder or len(files) > 1 else "photo"), files


def probe(path: Path) -> None:
    """Open a photo or clip, so that what no stage could read does not come in.

    Raises:
        CaptureError: broken, or not what its name says.
    """
    from headworks.formats.media import probe_clip, read_photo

    if path.suffix.lower() in CLIPS:
        probe_clip(path)
    else:
        read_photo(path)


def add_subject(
    layout: Layout,
    name: str,
    paths: Sequence[Path] = (),
    kind: Kind | None = None,
    seed: int | None = None,
    consent: str | None = None,
    licence: str | None = None,
    check: Callable[[Path], None] = lambda path: None,
    capture: Capture | None = None,
) -> Subject:
    """Put a capture into data/raw/, whole or not at all.

    Args:
        layout: of the workspace.
        name: what to call it.
        paths: a photo, photos or a folder of them, a clip, or a folder of a known layout
            (`headworks.formats.layouts`); none for synthetic kinds.
        kind, seed: for synthetic kinds.
        consent, licence: words that travel with the capture.
        check: looks at each file before anything is written; raises to refuse it.
        capture: one of the captures in the folder `paths[0]`, where that is known already.

    Returns:
        The subject.

    Raises:
        CaptureError: unusable paths. HeadworksError: bad or taken name.
    """
    check_name(name)
    if kind in SYNTHETIC:
        if paths:
            raise HeadworksError(f"{name}: a synthetic subject takes a seed and no paths")
        if seed is None or not 0 <= seed < 2**62:
            raise HeadworksError(f"{name}: a synthetic subject needs --seed (0 or more)")
        files: list[Path] = []
    else:
        if not paths:
            raise HeadworksError(f"{name}: give a photo, a folder of photos or a clip")
        if capture is None and kind is None and len(paths) == 1:
            found_here = find_captures(paths[0], None, check)
            if len(found_here) > 1:
                raise CaptureError(f"{paths[0]}: holds {len(found_here)} captures; give one")
            capture = found_here[0] if found_here else None
        if capture is not None:
            kind, files = cast(Kind, capture.kind), []
        else:
            found, files = _gather(paths)
            if kind is not None and (kind == "clip") != (found == "clip"):
                raise CaptureError(f"{paths[0]}: not a {kind}, but a {found}")
            kind = kind or found
        seed = None
        for path in files:
            check(path)
    staged = _stage(layout, name, cast(Kind, kind), files, seed, consent, licence, capture)
    try:
        subject, _ = _place(layout, name, staged, consent, licence)
    finally:
        remove(staged)
    return _recorded(layout, subject)


def add_together(
    layout: Layout,
    captures: Sequence[tuple[str, Capture]],
    consent: str | None = None,
    licence: str | None = None,
) -> list[Subject]:
    """Put several people's captures into data/raw/: all of them or, on any error, none.

    Args:
        layout: of the workspace. captures: name and capture of each. consent, licence: of all.

    Raises:
        CaptureError: an unusable capture. HeadworksError: a bad or taken name.
    """
    for name, _ in captures:
        check_name(name)
    staged: dict[str, Path] = {}
    fresh: list[Path] = []
    try:
        for name, capture in captures:
            kind = cast(Kind, capture.kind)
            staged[name] = _stage(layout, name, kind, [], None, consent, licence, capture)
        subjects = []
        for name, folder in staged.items():
            subject, new = _place(layout, name, folder, consent, licence)
            subjects.append(subject)
            fresh += [layout.raw / name] if new else []
    except BaseException:
        for folder in fresh:
            remove(folder)
        raise
    finally:
        for folder in staged.values():
            remove(folder)
    return [_recorded(layout, subject) for subject in subjects]


def _stage(
    layout: Layout, name: str, kind: Kind, files: Sequence[Path], seed: int | None,
    consent: str | None, licence: str | None, capture: Capture | None,
) -> Path:  # fmt: skip
    """A new folder with everything that becomes the subject's."""
    layout.make()
    staged = private_folder(layout.tmp, f"add-{name}")
    try:
        taken: dict[str, Path] = {}
        if capture is not None:
            capture.copy(staged)
        for path in files:
            target = _safe_file_name(path.name)
            if target in taken:
                raise CaptureError(f"{path} and {taken[target]}: two files of the same name")
            taken[target] = path
            shutil.copyfile(path, staged / target)
        body: dict[str, Any] = {"kind": kind, "files": sorted(taken), "seed": seed}
        if capture is not None and capture.layout != NERSEMBLE:
            body["layout"] = capture.layout
        _write_json(staged / DESCRIPTION, body)
        _write_json(staged / TERMS, {"consent": consent, "licence": licence})
        sync_tree(staged)
    except BaseException:
        remove(staged)
        raise
    return staged


def _place(
    layout: Layout, name: str, staged: Path, consent: str | None, licence: str | None
) -> tuple[Subject, bool]:
    """Move a staged folder to its name; the subject, and whether it was not there before."""
    target_folder = layout.raw / name
    try:
        os.rename(staged, target_folder)
    except OSError as error:
        if not target_folder.exists():
            raise
        fingerprints = Fingerprints(layout)
        present = read_subject(layout, name, fingerprints)
        new = raw_oid({rel: fingerprints.file(Path(e.path)) for rel, e in walk_files(staged)})
        if present.oid == new:
            return _renew_terms(layout, present, consent, licence), False
        raise HeadworksError(
            f"{target_folder}: there is another subject of that name; choose a new name, or "
            "remove that folder first"
        ) from error
    return read_subject(layout, name, Fingerprints(layout)), True


def _recorded(layout: Layout, subject: Subject) -> Subject:
    """A subject of which the ledger knows that it came, when, from whom and under which terms."""
    ledger = Ledger(layout.hidden / "ledger").refresh()
    record_raw(layout, ledger, [subject], again=True)
    ledger.close()
    return subject


def _write_json(path: Path, body: dict[str, Any]) -> None:
    path.write_text(json.dumps(body, sort_keys=True, indent=1) + "\n")


def _renew_terms(
    layout: Layout, subject: Subject, consent: str | None, licence: str | None
) -> Subject:
    """The same capture given again: what is said about consent and licence counts anew."""
    folder = layout.raw / subject.name
    said = {"consent": consent, "licence": licence}
    terms = read_terms(folder)
    terms.update({name: words for name, words in said.items() if words is not None})
    if terms != read_terms(folder):
        data = (json.dumps(terms, sort_keys=True, indent=1) + "\n").encode()
        write_atomic(folder / TERMS, data, layout.tmp)
    return read_subject(layout, subject.name, Fingerprints(layout))
