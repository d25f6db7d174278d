"""Artifacts, raw captures and ledger to and from a DVC remote: any kind of place that DVC speaks.

Objects lie at the remote where DVC puts them; beside them `headworks/` holds the ledger (one table
per state, named by its bytes, so that two machines never write the same file) and what explains it.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.errors import HeadworksError
from headworks.formats.subject import TERMS
from pipelines.dvcsync import quiet
from pipelines.files import private_folder, remove, write_atomic
from pipelines.layout import Layout
from pipelines.locks import Lock
from pipelines.plan import make_plan
from pipelines.publish import file_md5, publish
from pipelines.shelf import is_place, odb_at
from pipelines.store import Objects, check_out, files_of, object_path, odb_of, read_tree, store_raw
from pipelines.subjects import check_name
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

SHARED_EVENTS = ("ok", "claim", "raw", "accept", "tombstone")
"""Events that mean the same on every machine (a failure may be that machine's own)."""


@dataclass
class Moved:
    """What a push or pull did.

    Attributes:
        objects: files that went over. events: of the ledger that were new at the other side.
        subjects: whose raw captures came. published: units made visible below data/.
        notes: what is worth a line.
    """

    objects: int = 0
    events: int = 0
    subjects: list[str] = field(default_factory=list)
    published: int = 0
    notes: list[str] = field(default_factory=list)


class Remote:
    """A remote as seen by the engine.

    Args:
        odb: DVC's object store there.
    """

    def __init__(self, odb: Any) -> None:
        self.odb = odb
        self.fs = self.odb.fs
        self._base = posixpath.dirname(posixpath.dirname(self.odb.path.rstrip("/")))

    def path(self, *parts: str) -> str:
        """A path below the remote's `headworks/` folder."""
        return "/".join([self._base, "headworks", *parts])

    def names(self, folder: str) -> list[str]:
        """Files in a folder below `headworks/`."""
        place = self.path(folder)
        try:
            found = list(self.fs.find(place))
        except FileNotFoundError:
            return []
        return sorted({posixpath.basename(str(path).replace(os.sep, "/")) for path in found})

    def read(self, folder: str, name: str) -> bytes:
        """A file's bytes."""
        with self.fs.open(self.path(folder, name), "rb") as handle:
            return bytes(handle.read())

    def write(self, folder: str, name: str, data: bytes) -> None:
        """Write a file so that readers see all of it or nothing."""
        self.fs.makedirs(self.path(folder), exist_ok=True)
        unfinished = self.path(folder, f".{name}.{os.getpid()}")
        with self.fs.open(unfinished, "wb") as handle:
            handle.write(data)
        self.fs.move(unfinished, self.path(folder, name))

    def delete(self, folder: str, name: str) -> None:
        """Remove a file."""
        self.fs.remove(self.path(folder, name))


def remote_names(layout: Layout) -> list[str]:
    """Names of the remotes that the workspace's DVC knows (shared and local configuration)."""
    import configparser

    found = set()
    for file in ("config", "config.local"):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read(layout.root / ".dvc" / file)
        except configparser.Error:
            continue
        for section in parser.sections():
            kind, _, name = section.strip("'").partition(" ")
            if kind == "remote":
                found.add(name.strip('"'))
    return sorted(found)


@contextmanager
def open_remote(layout: Layout, name: str | None) -> Iterator[Remote]:
    """A remote of the workspace, by its name or by its URL.

    Raises:
        HeadworksError: there is none of that name, or it does not answer.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    with quiet():
        if name is not None and is_place(name):
            yield Remote(odb_at(name))
            return
        try:
            with Repo(str(layout.root), _wait_for_lock=True) as repo:
                yield Remote(repo.cloud.get_remote_odb(name))
        except DvcException as error:
            words = str(error).splitlines()[0]
            raise HeadworksError(
                f"remote {name or '(default)'}: {words}; name one with: dvc remote add -d NAME URL"
            ) from None


def transfer_objects(source: Any, target: Any, oids: Iterable[str]) -> list[str]:
    """Copy objects that the target lacks.

    Returns:
        Those that went over.

    Raises:
        HeadworksError: some did not arrive.
    """
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.transfer import transfer

    wanted = {HashInfo("md5", oid) for oid in oids}
    if not wanted:
        return []
    # Without an index of what the remote holds: what was deleted there must go there again.
    result = transfer(source, target, wanted, shallow=False)
    if result.failed:
        raise HeadworksError(
            f"{len(result.failed)} of {len(wanted)} objects did not arrive; look at the remote's "
            "space and rights, then do it again (what arrived stays)"
        )
    return sorted(str(info.value) for info in result.transferred)


def _fetch(layout: Layout, remote: Remote, trees: set[str], moved: Moved) -> None:
    """Bring outputs into the cache: their listings first, then the files that these name."""
    count, absent = fetch_trees(layout.objects, remote.odb, trees)
    moved.objects += count
    if absent:
        moved.notes.append(f"{absent} results are not at the remote")


def fetch_trees(cache: Path, source: Any, trees: set[str]) -> tuple[int, int]:
    """Bring outputs into a cache.

    Args:
        cache: folder of its objects. source: DVC's object store. trees: which outputs.

    Returns:
        How many objects came, how many outputs are not there.

    Raises:
        HeadworksError: some did not arrive, or are damaged.
    """
    local = odb_of(cache)
    objects = Objects(cache)
    absent = {oid for oid in trees if not objects.whole(oid)}
    listings = {oid for oid in absent if read_tree(cache, oid) is None}
    there = {oid for oid in listings if source.exists(oid)}
    arrived = transfer_objects(source, local, there)
    _refuse_damaged(cache, arrived)
    files = files_of(cache, absent - (listings - there)) - there
    files = {oid for oid in files if not object_path(cache, oid).exists()}
    rest = transfer_objects(source, local, files)
    _refuse_damaged(cache, rest)
    return len(arrived) + len(rest), len(listings - there)


def is_sound(objects: Path, oid: str) -> bool:
    """Whether a stored object is there and its bytes are what its name says."""
    try:
        return file_md5(object_path(objects, oid)) == oid.removesuffix(".dir")
    except OSError:
        return False


def _refuse_damaged(objects: Path, oids: Iterable[str]) -> None:
    """Look at the bytes that came: DVC trusts what is read-only.

    Raises:
        HeadworksError: some are not what their name says; they are taken away again.
    """
    bad = [oid for oid in oids if not is_sound(objects, oid)]
    for oid in bad:
        remove(object_path(objects, oid))
    if bad:
        raise HeadworksError(
            f"{len(bad)} objects are damaged at the remote ({bad[0]}, ...); remove them there and "
            "push again from a machine that has them whole (headworks verify)"
        )


def _outputs(workspace: Workspace, everything: bool) -> set[str]:
    """Outputs that subjects rely on, or all that the ledger knows."""
    ledger = workspace.ledger.refresh()
    if everything:
        return set(ledger.outputs().values())
    return {oid for key in ledger.claims().values() if (oid := ledger.oid(key))}


def _dvc_outputs(workspace: Workspace) -> set[str]:
    """What `dvc pull` would ask for: folders in dvc.lock and data/raw.dvc."""
    from pipelines.params import parse_yaml

    root, found = workspace.layout.root, set()
    for path in (root / "dvc.lock", workspace.layout.data / "raw.dvc"):
        if path.is_file():
            body = parse_yaml(path.read_text(), path.name) or {}
            entries = [body, *(body.get("stages") or {}).values()]
            found |= {out["md5"] for e in entries for out in e.get("outs", []) if "md5" in out}
    return found


def push(workspace: Workspace, name: str | None = None, everything: bool = False) -> Moved:
    """Bring results, raw captures and ledger to a remote; what is there already stays.

    Args:
        workspace: where. name: of the remote, None for DVC's default one.
        everything: results of all recipes, not only those that subjects rely on now.

    Returns:
        What went over.

    Raises:
        HeadworksError: no such remote, or it did not take everything.
    """
    layout, moved = workspace.layout, Moved()
    with Lock(layout.locks / "runs", shared=True), open_remote(layout, name) as remote:
        _absorb(workspace, remote, moved)
        moved.events = 0
        trees = _outputs(workspace, everything) | _dvc_outputs(workspace)
        objects = Objects(layout.objects)
        damaged = sorted(oid for oid in trees if not objects.whole(oid))
        if damaged:
            words = f"{len(damaged)} results are not whole here and stay behind (headworks doctor)"
            moved.notes.append(words)
        trees -= set(damaged)
        for subject in workspace.graph().subjects.values():
            trees.add(store_raw(layout.objects, layout.raw / subject.name, subject, layout.tmp))
        wanted = files_of(layout.objects, trees)
        moved.objects = len(transfer_objects(odb_of(layout.objects), remote.odb, wanted))
        for folder, place in _explanations(layout):
            present = set(remote.names(folder))
            for path in sorted(place.glob("*.json")):
                if path.name not in present:
                    remote.write(folder, path.name, path.read_bytes())
        # The ledger last: it never speaks of objects that are not there.
        share_ledger(workspace, remote, moved)
    return moved


def _explanations(layout: Layout) -> list[tuple[str, Path]]:
    return [("code", layout.hidden / "code"), ("env", layout.runs / "env")]


def share_ledger(workspace: Workspace, remote: Remote, moved: Moved, replace: bool = False) -> None:
    """Write the ledger to a remote, and remove those there that it contains.

    Args:
        workspace: whose. remote: where to. moved: is told how many events went over.
        replace: remove all others, also those that were not taken in.
    """
    import io

    import polars as pl

    table = workspace.ledger.refresh().frame()
    table = table.filter(pl.col("type").is_in(SHARED_EVENTS))
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    name = hashlib.sha256(buffer.getvalue()).hexdigest()[:32] + ".parquet"
    there = remote.names("ledger")
    if name not in there:
        remote.write("ledger", name, buffer.getvalue())
        moved.events = len(table)
    for other in there:
        if other != name and (replace or other in _absorbed(workspace.layout)):
            remote.delete("ledger", other)


def _absorbed(layout: Layout) -> set[str]:
    try:
        return set(json.loads((layout.hidden / "absorbed.json").read_text()))
    except (OSError, ValueError):
        return set()


def read_table(data: bytes, where: str) -> pl.DataFrame:
    """A ledger of another machine.

    Raises:
        HeadworksError: damaged, or no ledger.
    """
    import io

    import polars as pl

    try:
        table = pl.read_parquet(io.BytesIO(data))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise HeadworksError(f"{where}: not a readable ledger ({error}); push it again") from None
    if not {"event_id", "type", "key", "stage", "subject", "out_oid"} <= set(table.columns):
        raise HeadworksError(f"{where}: not a ledger of headworks")
    return table.filter(pl.col("type").is_in(SHARED_EVENTS))


def _absorb(workspace: Workspace, remote: Remote, moved: Moved) -> None:
    """Take in the ledgers at the remote."""
    layout = workspace.layout
    known = _absorbed(layout)
    new = [name for name in remote.names("ledger") if name.endswith(".parquet")]
    for name in new:
        if name not in known:
            table = read_table(remote.read("ledger", name), f"ledger/{name}")
            moved.events += workspace.ledger.absorb(table)
            known.add(name)
    write_atomic(layout.hidden / "absorbed.json", json.dumps(sorted(known)).encode(), layout.tmp)


def pull(workspace: Workspace, name: str | None = None, everything: bool = False) -> Moved:
    """Fetch ledger, raw captures and results from a remote, and publish what is current.

    Args:
        workspace: where. name: of the remote, None for DVC's default one.
        everything: results of all recipes, not only those that subjects rely on.

    Returns:
        What came.

    Raises:
        HeadworksError: no such remote, or objects that are missing or damaged there.
    """
    from pipelines.forget import is_forgotten

    layout, moved = workspace.layout, Moved()
    layout.require()
    layout.make()
    with Lock(layout.locks / "runs", shared=True), open_remote(layout, name) as remote:
        _absorb(workspace, remote, moved)
        for folder, place in _explanations(layout):
            have = {path.name for path in place.glob("*.json")}
            for file in remote.names(folder):
                if file not in have and file.endswith(".json"):
                    write_atomic(place / file, remote.read(folder, file), layout.tmp)
        ledger = workspace.ledger.refresh()
        raws = {
            subject: body
            for subject, body in ledger.raws.items()
            if not is_forgotten(ledger, subject, body)
        }
        _fetch(layout, remote, {body["oid"] for body in raws.values()}, moved)
        for subject, body in sorted(raws.items()):
            _restore_raw(layout, subject, body, moved)
        # What would be up to date if everything that the ledger knows were here.
        planner = replace(workspace.planner(), whole=lambda oid: True)
        wanted = {d.oid for d in make_plan(planner).values() if d.oid is not None}
        _fetch(layout, remote, wanted | (_outputs(workspace, True) if everything else set()), moved)
    planner = workspace.planner()
    for unit, decision in make_plan(planner).items():
        if decision.state == "restore" and decision.key is not None:
            row = workspace.ledger.row(decision.key)
            if row is not None:
                publish(layout, unit.stage, unit.subject, row)
                moved.published += 1
    return moved


def _restore_raw(layout: Layout, subject: str, body: dict[str, Any], moved: Moved) -> None:
    target = layout.raw / check_name(subject)
    if target.exists() or not Objects(layout.objects).whole(body["oid"]):
        return
    fresh = private_folder(layout.tmp, f"pull-{subject}")
    try:
        check_out(layout.objects, body["oid"], fresh / "raw")
        terms = {name: body.get(name) for name in ("consent", "licence")}
        (fresh / "raw" / TERMS).write_text(json.dumps(terms, sort_keys=True, indent=1) + "\n")
        os.rename(fresh / "raw", target)
        moved.subjects.append(subject)
    finally:
        remove(fresh)
