"""A workspace of many subjects as runs would have left it, written without running."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "tests" / "toys"
sys.path[:0] = [str(ROOT), str(TOYS)]


def _put(objects: Path, data: bytes, suffix: str = "") -> str:
    oid = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
    path = objects / oid[:2] / oid[2:]
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)
    return oid


def build(root: Path, subjects: int, tracked: bool = False) -> int:
    """Write raw captures, cache, published results and ledger of a chain of nine stages.

    Args:
        root: folder of the workspace. subjects: how many.
        tracked: keep dvc.yaml, so that runs bring dvc.lock up to date.

    Returns:
        Number of units.
    """
    from toystages.chain import STAGES

    from pipelines.canon import canonical_json, md5_tree
    from pipelines.files import stat_digest
    from pipelines.keys import recipe, recipe_key
    from pipelines.ledger_rows import table_of
    from pipelines.publish import manifest
    from pipelines.setup import init_workspace
    from pipelines.workspace import Workspace

    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{TOYS}"
    root.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(root, STAGES)
    init_workspace(workspace)
    if not tracked:
        (root / "dvc.yaml").unlink()
    layout = workspace.layout
    for n in range(subjects):
        folder = layout.raw / f"s{n}"
        folder.mkdir(parents=True)
        body = {"kind": "clip", "files": ["capture.mp4"], "seed": None}
        (folder / "subject.json").write_text(json.dumps(body))
        (folder / "terms.json").write_text('{"consent": "research", "licence": "CC0"}')
        (folder / "capture.mp4").write_bytes(f"capture {n}".encode())
        for path in folder.iterdir():
            os.utime(path, ns=(10**18, 10**18))
    planner = workspace.planner()
    rows = []
    oids: dict[object, str] = {}
    for stage in STAGES:
        (layout.data / stage.name).mkdir(exist_ok=True)
        (layout.published / stage.name).mkdir(exist_ok=True)
    for number, (unit, deps) in enumerate(planner.graph.deps.items()):
        read = [
            (d.role, "", oids[d.unit] if d.unit else planner.graph.subjects[unit.subject].oid)
            for d in deps
        ]
        section = planner.params.section(unit.stage)
        made = recipe(unit.stage, 1, planner.code[unit.stage], section, planner.params.seed, read)
        files = {"artifact.json": b'{"kind": "step"}', "numbers/value.json": b"%d" % number}
        folder = layout.artifact(*unit)
        (folder / "numbers").mkdir(parents=True)
        md5s = {}
        for name, data in files.items():
            md5s[name] = _put(layout.objects, data)
            (folder / name).write_bytes(data)
        listing = [{"md5": md5s[name], "relpath": name} for name in sorted(md5s)]
        oid = oids[unit] = _put(
            layout.objects, json.dumps(listing, sort_keys=True).encode(), ".dir"
        )
        assert oid == md5_tree(md5s)
        row = {
            "event_id": uuid.UUID(int=number).hex,
            "type": "ok",
            "schema_version": 1,
            "key": recipe_key(made),
            "stage": unit.stage,
            "subject": unit.subject,
            "version": 1,
            "code": made["code"],
            "params_json": json.dumps(section, sort_keys=True),
            "seed": made["seed"],
            "inputs": made["inputs"],
            "out_oid": oid,
            "out_bytes": sum(map(len, files.values())),
            "out_files": len(files),
            "finished": "2026-01-01T00:00:00.000+00:00",
            "seconds": 1.0,
            "cpu_seconds": 1.0,
        }
        rows.append(row)
        data = (json.dumps(manifest(row), sort_keys=True, indent=1) + "\n").encode()
        layout.manifest(*unit).write_bytes(data)
        record = {
            "oid": oid,
            "key": row["key"],
            "manifest": _put(layout.objects, data),
            "bytes": row["out_bytes"],
            "files": row["out_files"],
            "manifest_bytes": len(data),
            "stat": stat_digest(folder, layout.manifest(*unit)),
        }
        layout.record(*unit).write_text(canonical_json(record))
    (layout.hidden / "ledger").mkdir(exist_ok=True)
    table_of(rows).write_parquet(layout.hidden / "ledger" / "base-1.parquet")
    return len(rows)
