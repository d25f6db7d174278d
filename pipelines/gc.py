"""Space freed: stored results that nothing refers to. Never `dvc gc`, which knows no ledger."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from pipelines.files import remove, sweep
from pipelines.layout import Layout
from pipelines.locks import Lock
from pipelines.params import parse_yaml
from pipelines.store import object_path, read_tree
from pipelines.workspace import Workspace


@dataclass
class Garbage:
    """What may go.

    Attributes:
        objects: oid -> bytes. results: keys of results that would have to be computed again.
        kept: how many objects stay. young: unreferenced, but too young to be sure.
    """

    objects: dict[str, int] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    kept: int = 0
    young: int = 0

    @property
    def bytes(self) -> int:
        """How much would be freed."""
        return sum(self.objects.values())


def find_garbage(workspace: Workspace, keep_days: float = 30.0, min_age_h: float = 24.0) -> Garbage:
    """Objects that nothing refers to. Changes nothing.

    Kept are: what units rely on now, results younger than `keep_days`, raw captures, and what
    dvc.lock and data/raw.dvc name, here and on every git branch and tag.

    Args:
        workspace: where.
        keep_days: results of other recipes stay that long.
        min_age_h: hours; younger objects stay in any case (somebody may be about to use them).
    """
    layout, found = workspace.layout, Garbage()
    ledger = workspace.ledger.refresh()
    current = set(ledger.claims().values())
    limit = (datetime.now(UTC) - timedelta(days=keep_days)).isoformat()
    trees = {body["oid"] for body in ledger.raws.values()} | _dvc_roots(layout)
    files: set[str] = set()
    for subject in workspace.subjects().values():
        trees.add(subject.oid)
        files |= {row[0] for row in subject.files.values()}
    going: dict[str, str] = {}
    for key, oid in ledger.outputs().items():
        if key in current or ledger.finished(key) > limit:
            trees.add(oid)
        else:
            going[key] = oid
    for stage in workspace.registry:
        folder = layout.published / stage.name
        for record in folder.glob("*.json") if folder.is_dir() else ():
            try:
                body = json.loads(record.read_text())
                files.add(body["manifest"])
                trees.add(body["oid"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
    wanted = set(files)
    for oid in trees:
        wanted |= {oid, *(read_tree(layout.objects, oid) or {}).values()}
    before = time.time() - min_age_h * 3600
    for folder in sorted(layout.objects.iterdir()) if layout.objects.is_dir() else ():
        if len(folder.name) != 2 or not folder.is_dir():
            continue
        for path in folder.iterdir():
            oid = folder.name + path.name
            stat = path.stat()
            if oid in wanted:
                found.kept += 1
            elif stat.st_mtime > before:
                found.young += 1
            else:
                found.objects[oid] = stat.st_size
    found.results = sorted(key for key, oid in going.items() if oid in found.objects)
    return found


def collect(workspace: Workspace, keep_days: float = 30.0, min_age_h: float = 24.0) -> Garbage:
    """Remove the garbage, and say in the ledger which results are not stored any more.

    Raises:
        HeadworksError: a run is going on.
    """
    layout = workspace.layout
    with Lock(layout.locks / "runs", wait=False) as lock:
        if not lock.held:
            raise HeadworksError("a run is going on here; collect when it has ended")
        found = find_garbage(workspace, keep_days, min_age_h)
        if found.results:
            when = datetime.now(UTC).isoformat()
            body: dict[str, Any] = {"keys": found.results, "when": when}
            workspace.ledger.append(
                "collected", finished=when, body_json=json.dumps(body, sort_keys=True)
            )
            workspace.ledger.close()
        # Listings first: a listing without its files would look whole to nobody, but a file
        # without its listing is simply garbage again next time.
        for oid in sorted(found.objects, key=lambda name: not name.endswith(".dir")):
            remove(object_path(layout.objects, oid))
        for folder in (layout.staging, layout.tmp, layout.trash):
            sweep(folder)
        remove(layout.hidden / "quarantine")
        workspace.ledger.compact()
    return found


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _dvc_roots(layout: Layout) -> set[str]:
    """Folders that dvc.lock and data/raw.dvc name, now and on every branch and tag."""
    texts = []
    for path in (layout.root / "dvc.lock", layout.data / "raw.dvc"):
        if path.is_file():
            texts.append(path.read_text())
    if (layout.root / ".git").exists():
        refs = _git(layout.root, "for-each-ref", "--format=%(refname)") or ""
        for ref in refs.split():
            for name in ("dvc.lock", "data/raw.dvc"):
                text = _git(layout.root, "show", f"{ref}:{name}")
                if text is not None:
                    texts.append(text)
    found = set()
    for text in texts:
        body = parse_yaml(text, "dvc.lock") or {}
        for entry in (body, *(body.get("stages") or {}).values()):
            found |= {out["md5"] for out in entry.get("outs", []) if "md5" in out}
    return found
