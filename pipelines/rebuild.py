"""The ledger made again from the manifests that lie beside artifacts and in the cache."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.files import private_folder, remove
from pipelines.ledger_rows import Row, table_of
from pipelines.publish import content_oid
from pipelines.store import Objects, store
from pipelines.workspace import Workspace

_SMALL = 1 << 20


def row_of(manifest: Mapping[str, Any]) -> Row | None:
    """A manifest as the `ok` event that it was made from, None where it is none."""
    if manifest.get("schema") != "headworks.manifest/1":
        return None
    try:
        row: Row = {
            "event_id": str(manifest["event_id"]),
            "type": "ok",
            "schema_version": 1,
            "key": str(manifest["key"]),
            "stage": str(manifest["stage"]),
            "subject": str(manifest["subject"]),
            "version": int(manifest["version"]),
            "code": str(manifest["code"]),
            "code_seen": manifest.get("code_seen"),
            "params_json": json.dumps(manifest["params"], sort_keys=True),
            "seed": int(manifest["seed"]),
            "inputs": [[str(part) for part in row] for row in manifest["inputs"]],
            "out_oid": str(manifest["output"]["oid"]),
            "out_bytes": int(manifest["output"]["bytes"]),
            "out_files": int(manifest["output"]["files"]),
            **manifest["timing"],
            **manifest["environment"],
            **manifest["source"],
            "run_id": manifest.get("run_id"),
            "attempt": manifest.get("attempt"),
            "log": manifest.get("log"),
        }
    except (KeyError, TypeError, ValueError):
        return None
    if manifest.get("assets"):
        row["assets_json"] = json.dumps(manifest["assets"])
    return row if all(len(entry) == 3 for entry in row["inputs"]) else None


def _manifests(workspace: Workspace) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Manifests in the cache, then those beside artifacts: (published, values)."""
    layout = workspace.layout
    for path in sorted(layout.objects.glob("??/*")) if layout.objects.is_dir() else ():
        try:
            if path.stat().st_size < _SMALL and not path.name.endswith(".dir"):
                data = path.read_bytes()
                if data[:1] == b"{" and b"headworks.manifest/1" in data:
                    yield False, json.loads(data)
        except (OSError, ValueError, RecursionError):
            continue
    for stage in workspace.registry:
        for path in sorted((layout.data / stage.name).glob("*.manifest.json")):
            try:
                body = json.loads(path.read_bytes())
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(body, dict):
                yield True, body


def rebuild(workspace: Workspace) -> list[str]:
    """Take events that the ledger has lost from manifests; cache again what lies below data/.

    Args:
        workspace: where.

    Returns:
        What was done, a line each.
    """
    layout = workspace.layout
    layout.make()
    ledger = workspace.ledger.refresh()
    lines: list[str] = []
    rows: dict[str, Row] = {}
    cached = 0
    objects = Objects(layout.objects)
    for published, manifest in _manifests(workspace):
        row = row_of(manifest)
        if row is None:
            continue
        folder = layout.artifact(row["stage"], row["subject"])
        lost = published and not objects.whole(row["out_oid"])
        if lost and folder.is_dir() and content_oid(folder) == row["out_oid"]:
            _cache_again(workspace, folder)
            cached += 1
            objects = Objects(layout.objects)
        if objects.whole(row["out_oid"]):
            # The one beside the artifact is the one that the unit relied on last.
            rows.pop(row["event_id"], None)
            rows[row["event_id"]] = row
    count = ledger.absorb(table_of(list(rows.values()))) if rows else 0
    if cached:
        lines.append(f"took {cached} results from data/ into the cache")
    if count:
        lines.append(f"took {count} events from manifests into the ledger")
    return lines


def _cache_again(workspace: Workspace, folder: Path) -> None:
    import shutil

    layout = workspace.layout
    staging = private_folder(layout.staging, "rebuild")
    try:
        shutil.copytree(folder, staging / "out")
        store(layout.objects, staging / "out")
    finally:
        remove(staging)
