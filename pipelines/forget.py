"""A person's consent withdrawn: the capture and all that descends from it goes, provably.

What is to go is worked out first and written to a journal, so that an interrupted forgetting is
taken up where it stopped; what stays is a tombstone that names nobody.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from pipelines.clips import CLIPS
from pipelines.closure import Descent, descent
from pipelines.copies import stamped_copies
from pipelines.files import fault, remove, write_atomic
from pipelines.layout import Layout
from pipelines.ledger import Ledger
from pipelines.ledger_rows import Row
from pipelines.locks import Lock
from pipelines.plan import Unit
from pipelines.publish import unpublish
from pipelines.store import object_path, read_tree
from pipelines.subjects import check_name, who
from pipelines.workspace import Workspace

_SMALL = 4 << 20
"""Listings, manifests and indexes are smaller than this; larger objects are not searched."""


def salted(salt: str, text: str) -> str:
    """Digest by which a tombstone knows again what it must not name."""
    return hashlib.sha256(f"{salt}\x1f{text}".encode()).hexdigest()


def is_forgotten(ledger: Ledger, subject: str, body: Mapping[str, Any]) -> bool:
    """Whether consent for a capture was withdrawn after it was recorded.

    Args:
        ledger: with the tombstones. subject: its name.
        body: its `raw` event (`oid`, `when`).
    """
    return any(
        salted(stone["salt"], str(body.get("oid"))) in stone["captures"]
        and str(body.get("when") or "") <= stone["when"]
        for stone in ledger.tombstones
    )


def journal(layout: Layout) -> Path:
    """Where an unfinished forgetting is written down."""
    return layout.hidden / "forget.json"


def require_finished(layout: Layout) -> None:
    """Complain about a forgetting that was interrupted.

    Raises:
        HeadworksError: with the command that ends it.
    """
    path = journal(layout)
    if path.exists():
        name = json.loads(path.read_text())["subject"]
        raise HeadworksError(
            f"forgetting {name} was interrupted; end it with: headworks forget {name} --yes"
        )


def plan_forget(workspace: Workspace, name: str, remotes: Sequence[str] = ()) -> dict[str, Any]:
    """What would go, and what would stay. Changes nothing.

    Args:
        workspace: where. name: the subject. remotes: names of remotes to purge, too.

    Returns:
        `subject`, `captures` (oids), `results` (keys of recipes), `units` (published, to be
        taken away), `withdrawn` (keys of what several people made), `objects` (to be deleted),
        `shared` (objects that others need), `remotes`, `twins` (other subjects with equal bytes),
        `copies` (exported files in the workspace's folder that carry digests of what goes),
        `prefect` (what a Prefect server of one's own shows, see `prefect_forget`),
        `clips` (whether there are tracked driving clips; they go, for they may show anybody).

    Raises:
        HeadworksError: nothing is known of that subject.
    """
    from pipelines.prefect_forget import find_artifacts  # no plan needs this

    check_name(name)
    layout = workspace.layout
    path = journal(layout)
    if path.exists():
        body: dict[str, Any] = json.loads(path.read_text())
        if body["subject"] != name:
            require_finished(layout)
        return body
    ledger = workspace.ledger.refresh()
    subjects = workspace.subjects()
    captures = {row["out_oid"] for row in _raw_rows(ledger) if row["subject"] == name}
    if name in subjects:
        captures.add(subjects[name].oid)
    units = [unit for unit in ledger.claims() if unit[1] == name]
    if not captures and not units:
        have = ", ".join(subjects) or "none"
        raise HeadworksError(f"no subject {name!r} here, nor in the ledger; there are: {have}")
    twins = sorted(s.name for s in subjects.values() if s.name != name and s.oid in captures)
    graph = descent(ledger)
    keys = _affected(graph, ledger, name, captures, bool(twins))
    several = {
        stage.name
        for stage in workspace.registry
        if stage.scope == "dataset" or any(wanted.peers for wanted in stage.inputs)
    }
    withdrawn = sorted(key for key in keys if graph.made[key].stage in several)
    go = _objects_of(layout, {graph.made[key].oid for key in keys})
    if not twins:
        go |= _objects_of(layout, captures) | _raw_files(ledger, subjects, name)
    stay = _objects_of(layout, {m.oid for m in graph.made.values() if m.key not in keys})
    for other, body in ledger.raws.items():
        if other != name:
            stay |= {row[0] for row in body.get("files", {}).values()}
    for other, subject in subjects.items():
        if other != name:
            stay |= {row[0] for row in subject.files.values()}
    claims = ledger.claims()
    units = sorted({*units, *(unit for unit, key in claims.items() if key in keys)})
    return {
        "schema": "headworks.forget/1",
        "subject": name,
        "captures": sorted(captures),
        "results": sorted(keys),
        "units": [f"{stage}/{subject}" for stage, subject in units],
        "withdrawn": withdrawn,
        "objects": sorted((go - stay) | _naming(layout.objects, name)),
        "shared": len(go & stay),
        "remotes": list(remotes),
        "twins": twins,
        "copies": stamped_copies(layout, {graph.made[key].oid for key in keys}),
        "clips": (layout.hidden / CLIPS).is_dir(),
        "prefect": find_artifacts(ledger, name, _shown(workspace, graph, keys, name)),
    }


def _shown(workspace: Workspace, graph: Descent, keys: set[str], name: str) -> list[Unit]:
    """Units whose pictures may show the subject, or may have shown it in earlier runs."""
    made = {Unit(graph.made[key].stage, graph.made[key].subject) for key in keys}
    return sorted({*made, *(Unit(stage.name, name) for stage in workspace.registry)})


def _raw_rows(ledger: Ledger) -> list[Row]:
    import polars as pl

    table = ledger.frame().filter(pl.col("type") == "raw")
    return list(table.select("subject", "out_oid", "body_json").iter_rows(named=True))


def _raw_files(ledger: Ledger, subjects: Mapping[str, Any], name: str) -> set[str]:
    found = {row[0] for row in subjects[name].files.values()} if name in subjects else set()
    for row in _raw_rows(ledger):
        if row["subject"] == name:
            found |= {file[0] for file in json.loads(row["body_json"])["files"].values()}
    return found


def _affected(
    graph: Descent, ledger: Ledger, name: str, captures: set[str], twins: bool
) -> set[str]:
    """Keys of all results that descend from a subject."""
    own = {key for key, made in graph.made.items() if made.subject == name}
    own |= {key for (_, subject), key in ledger.claims().items() if subject == name}
    own |= graph.of_raw(captures)
    if twins:
        # The same bytes came with another person's consent: what rests on that stays.
        kept = {k for k in own if any(s != name for _, s in graph.claimants.get(k, ()))}
        own -= kept
    return graph.forward(own | graph.by_member.get(name, set()))


def _objects_of(layout: Layout, trees: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for oid in trees:
        tree = read_tree(layout.objects, oid)
        found |= {oid, *(tree.values() if tree else ())}
    return found


def _naming(objects: Path, name: str) -> set[str]:
    """Stored listings, indexes and manifests that name the subject."""
    found = set()
    for folder in objects.iterdir() if objects.is_dir() else ():
        if len(folder.name) != 2 or not folder.is_dir():
            continue
        for path in folder.iterdir():
            if path.stat().st_size <= _SMALL and names_subject(path.read_bytes(), name):
                found.add(folder.name + path.name)
    return found


def names_subject(data: bytes, name: str) -> bool:
    """Whether a stored object is a listing, index or manifest that names a subject."""
    if data[:1] not in (b"{", b"["):
        return False
    word = name.encode()
    marks = (b'"%s"' % word, b'"%s/' % word, b'"%s.manifest.json"' % word)
    if not any(mark in data for mark in marks):
        return False
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return False
    if isinstance(body, list):
        paths = [item.get("relpath") for item in body if isinstance(item, dict)]
        return any(
            isinstance(p, str) and p.split("/")[0] in (name, f"{name}.manifest.json") for p in paths
        )
    schema = str(body.get("schema", ""))
    return schema.startswith(("headworks.index/", "headworks.manifest/"))


def forget(workspace: Workspace, name: str, remotes: Sequence[str] = ()) -> dict[str, Any]:
    """Do it: purge, mark what was trained with it as withdrawn, leave a tombstone.

    Args:
        workspace: where. name: the subject. remotes: names of remotes to purge, too.

    Returns:
        A certificate: counts, what was checked, and what remains to be done elsewhere.

    Raises:
        HeadworksError: nothing is known of that subject, or a remote does not answer.
    """
    from pipelines.prefect_forget import delete_artifacts

    layout = workspace.layout
    layout.require()
    layout.make()
    with Lock(layout.locks / "runs"):
        body = plan_forget(workspace, name, remotes)
        if "tombstone" not in body:
            body["tombstone"] = _tombstone(body)
            data = json.dumps(body, sort_keys=True).encode()
            write_atomic(journal(layout), data, layout.tmp)
        fault("forget_journal")
        gone = {remote: _purge_remote(workspace, remote, body) for remote in body["remotes"]}
        prefect = delete_artifacts(body.get("prefect"))
        fault("forget_remotes")
        for oid in body["objects"]:
            remove(object_path(layout.objects, oid))
        fault("forget_objects")
        _purge_workspace(workspace, body)
        fault("forget_workspace")
        workspace.ledger.rewrite(_keeper(body))
        fault("forget_ledger")
        if body["tombstone"] not in workspace.ledger.refresh().tombstones:
            workspace.ledger.append(
                "tombstone",
                finished=body["tombstone"]["when"],
                body_json=json.dumps(body["tombstone"], sort_keys=True),
            )
        workspace.ledger.close()
        workspace.ledger.compact()
        for remote in body["remotes"]:
            _replace_ledgers(workspace, remote)
        _check(workspace, body)
        certificate = {
            "schema": "headworks.forgotten/1",
            **{k: v for k, v in body["tombstone"].items() if k not in ("withdrawn",)},
            "withdrawn": len(body["withdrawn"]),
            "at_remotes": gone,
            "at_prefect": prefect,
            "copies_left": sum((layout.root / path).exists() for path in body.get("copies", ())),
            "remaining": (
                "other clones and backups, versions kept by a bucket, git history of data/raw.dvc "
                "and dvc.lock, names of tasks at a Prefect server of your own (and pictures at one "
                "that is not configured here), files exported earlier, workers of a cluster with a "
                "storage until they end"
            ),
        }
        write_atomic(
            layout.hidden / "forgotten" / f"{body['tombstone']['id']}.json",
            (json.dumps(certificate, sort_keys=True, indent=1) + "\n").encode(),
            layout.tmp,
        )
        journal(layout).unlink()
    return certificate


def _tombstone(body: Mapping[str, Any]) -> dict[str, Any]:
    salt = secrets.token_hex(16)
    return {
        "id": secrets.token_hex(4),
        "when": datetime.now(UTC).isoformat(),
        "who": who(),
        "salt": salt,
        "captures": [salted(salt, oid) for oid in body["captures"]] if not body["twins"] else [],
        "withdrawn": body["withdrawn"],
        "results": len(body["results"]),
        "objects": len(body["objects"]),
        "remotes": body["remotes"],
    }


def _purge_workspace(workspace: Workspace, body: Mapping[str, Any]) -> None:
    """Raw folder, published results, reports, logs and caches that name the subject."""
    layout, name = workspace.layout, body["subject"]
    remove(layout.raw / name)
    for unit in body["units"]:
        unpublish(layout, *unit.split("/", 1))
    for stage in workspace.registry:
        unpublish(layout, stage.name, name)
        layout.index(stage.name).unlink(missing_ok=True)
        for lock in (layout.locks / "publish").glob(f"*.{name}"):
            lock.unlink(missing_ok=True)
    for entry in layout.reports.iterdir() if layout.reports.is_dir() else ():
        if entry.name not in (".gitkeep", ".gitignore", "README.md"):
            remove(entry)
    # Rewritten by the next run; the old text names the subject, or digests of what held it.
    for path in (
        layout.hidden / CLIPS,
        *layout.hidden.glob("prefect*"),
        *(layout.root / "dvc.lock", layout.data / "raw.dvc", layout.root / ".dvc" / "tmp"),
        *(layout.hidden / file for file in ("reports.json", "dvc-synced.json")),
        layout.hidden / "dvc-members.json",
        layout.hidden / "cards.json",
        *(layout.hidden / file for file in ("error.txt", "fingerprints.json", "published.json")),
        *(layout.staging, layout.scratch, layout.tmp, layout.trash, layout.hidden / "quarantine"),
    ):
        remove(path)
    word = name.encode()
    for path in sorted(layout.runs.rglob("*")) if layout.runs.is_dir() else ():
        if path.is_file() and (f".{name}." in path.name or word in path.read_bytes()):
            path.unlink()
    layout.make()


def _keeper(body: Mapping[str, Any]) -> Callable[[Row], Row | None]:
    name, keys, twins = body["subject"], set(body["results"]), body["twins"]

    def keep(row: Row) -> Row | None:
        if row["key"] in keys or (row["type"] == "failed" and name in str(row["error_message"])):
            return None
        if row["subject"] != name:
            return row
        if row["type"] == "ok" and twins:
            return {**row, "subject": twins[0], "log": None}
        return None

    return keep


def _purge_remote(workspace: Workspace, name: str, body: Mapping[str, Any]) -> int:
    from dvc_data.hashfile.db import get_index

    from pipelines.remote import open_remote

    count = 0
    with open_remote(workspace.layout, name) as remote:
        odb = remote.odb
        present = set(odb.all())
        wanted = set(body["objects"])
        local = workspace.layout.objects
        for oid in sorted(present):
            if oid not in wanted and not object_path(local, oid).exists():
                # Known only there: a listing or manifest of an earlier state, perhaps.
                path = odb.oid_to_path(oid)
                if odb.fs.size(path) <= _SMALL:
                    with odb.fs.open(path, "rb") as handle:
                        if names_subject(handle.read(), body["subject"]):
                            wanted.add(oid)
        for oid in sorted(present & wanted):
            odb.delete(oid)
            count += 1
        get_index(odb).clear()
    return count


def _replace_ledgers(workspace: Workspace, name: str) -> None:
    from pipelines.remote import Moved, open_remote, share_ledger

    with open_remote(workspace.layout, name) as remote:
        share_ledger(workspace, remote, Moved(), replace=True)


def _check(workspace: Workspace, body: Mapping[str, Any]) -> None:
    """Look whether it is really gone.

    Raises:
        HeadworksError: something is still there.
    """
    layout, name = workspace.layout, body["subject"]
    left = [oid for oid in body["objects"] if object_path(layout.objects, oid).exists()]
    table = workspace.ledger.refresh().frame()
    rows = [row for row in table.iter_rows(named=True) if row["subject"] == name]
    if left or rows or (layout.raw / name).exists():
        raise HeadworksError(
            f"forgetting {name} is not complete: {len(left)} objects and {len(rows)} events are "
            "left; look at the rights of .dvc/cache and .headworks, then do it again"
        )
