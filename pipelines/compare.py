"""Why two results differ: data, params, code, environment, down to the captures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from pipelines.audit_find import find
from pipelines.ledger_rows import Row
from pipelines.reasons import asset_changes, module_changes, param_changes
from pipelines.workspace import Workspace


def compare(workspace: Workspace, first: str, second: str) -> dict[str, Any]:
    """What two results were made with that differs, at every step behind them.

    Args:
        workspace: where. first, second: see `pipelines.audit_find.find`.

    Returns:
        `same` (equal bytes), `differences`: dicts of `kind` (data, params, code, environment),
        `where` (stage) and `text`.

    Raises:
        HeadworksError: nothing of a name is known, or it is no result of a stage.
    """
    keys = []
    for target in (first, second):
        found = find(workspace, target)
        if not found.keys:
            raise HeadworksError(f"{target}: a raw capture; compare results, e.g. fit/NAME")
        keys.append(found.keys[-1])
    comparer = _Comparer(workspace)
    comparer.results(keys[0], keys[1])
    rows = [workspace.ledger.row(key) for key in keys]
    return {
        "schema": "headworks.diff/1",
        "first": {"target": first, "key": keys[0]},
        "second": {"target": second, "key": keys[1]},
        "same": rows[0] is not None and rows[1] is not None and _oid(rows[0]) == _oid(rows[1]),
        "differences": comparer.found,
    }


def _oid(row: Row) -> str:
    return str(row["out_oid"])


class _Comparer:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._ledger = workspace.ledger.refresh()
        self._by_output: dict[tuple[str, str], str] = {}
        for key in self._ledger.outputs():
            row = self._ledger.row(key)
            if row is not None:
                self._by_output[row["stage"], row["out_oid"]] = key
        self._done: set[tuple[str, str]] = set()
        self.found: list[dict[str, str]] = []

    def _say(self, kind: str, where: str, text: str) -> None:
        entry = {"kind": kind, "where": where, "text": text}
        if entry not in self.found:
            self.found.append(entry)

    def results(self, a: str, b: str) -> None:
        """Compare two recipes of the ledger, then what went into them."""
        if a == b or (a, b) in self._done:
            return
        self._done.add((a, b))
        old, new = self._ledger.row(a), self._ledger.row(b)
        if old is None or new is None:
            self._say("data", "?", "a result that is not in the ledger")
            return
        where = new["stage"]
        if old["stage"] != new["stage"]:
            self._say("data", where, f"another stage: {old['stage']} and {new['stage']}")
            return
        for text in param_changes(json.loads(old["params_json"]), json.loads(new["params_json"])):
            self._say("params", where, text)
        if old["seed"] != new["seed"]:
            self._say("params", where, f"seed {old['seed']} -> {new['seed']}")
        self._code(where, old, new)
        self._environment(where, old, new)
        self._inputs(where, old, new)

    def _code(self, where: str, old: Row, new: Row) -> None:
        if old["version"] != new["version"]:
            self._say("code", where, f"version {old['version']} -> {new['version']}")
        before, after = (row.get("code_seen") or row["code"] for row in (old, new))
        if before != after:
            known = self._workspace.known_modules
            text = module_changes(known(before), known(after))
            accepted = " (accepted as equal)" if old["code"] == new["code"] else ""
            self._say("code", where, f"{text} {before[:12]} -> {after[:12]}{accepted}")
        if old.get("git_commit") != new.get("git_commit"):
            commits = [(row.get("git_commit") or "none")[:12] for row in (old, new)]
            self._say("code", "all stages", f"git commit {commits[0]} -> {commits[1]}")

    def _environment(self, where: str, old: Row, new: Row) -> None:
        assets = [json.loads(row.get("assets_json") or "{}") for row in (old, new)]
        for text in asset_changes(assets[0], assets[1]):
            self._say("environment", where, text)
        for name in ("python", "device", "threads", "host"):
            if old.get(name) != new.get(name):
                self._say("environment", where, f"{name} {old.get(name)} -> {new.get(name)}")
        if old.get("packages_sha256") != new.get("packages_sha256"):
            lists = [self._packages(row.get("packages_sha256")) for row in (old, new)]
            if lists[0] is None or lists[1] is None:
                self._say("environment", where, "other packages (their lists are not here)")
                return
            for name in sorted({*lists[0], *lists[1]}):
                a, b = lists[0].get(name, "absent"), lists[1].get(name, "absent")
                if a != b:
                    self._say("environment", where, f"package {name} {a} -> {b}")

    def _packages(self, digest: str | None) -> dict[str, str] | None:
        path: Path = self._workspace.layout.runs / "env" / f"{digest}.json"
        try:
            names = json.loads(path.read_text())
            return dict(name.split("==", 1) for name in names)
        except (OSError, ValueError):
            return None

    def _inputs(self, where: str, old: Row, new: Row) -> None:
        before = {(role, member): oid for role, member, oid in old["inputs"]}
        after = {(role, member): oid for role, member, oid in new["inputs"]}
        for role, member in sorted({*before, *after}):
            a, b = before.get((role, member)), after.get((role, member))
            if a == b:
                continue
            name = f"{role} of {member}" if member else role
            if a is None or b is None:
                self._say("data", where, f"{name} {'came' if a is None else 'went'}")
                continue
            if role == "raw":
                self._raw(where, old["subject"], new["subject"], a, b)
                continue
            first, second = self._by_output.get((role, a)), self._by_output.get((role, b))
            if first is None or second is None:
                self._say("data", where, f"{name} {a[:12]} -> {b[:12]}")
            elif first == second:
                self._say("data", where, f"{name}: the same recipe gave other bytes")
            else:
                self.results(first, second)

    def _raw(self, where: str, first: str, second: str, a: str, b: str) -> None:
        events = {event["oid"]: event["files"] for event in self._ledger.raws.values()}
        names = first if first == second else f"{first} -> {second}"
        old, new = events.get(a), events.get(b)
        if old is None or new is None:
            self._say("data", where, f"capture {names}: {a[:12]} -> {b[:12]}")
            return
        for file in sorted({*old, *new}):
            if old.get(file) != new.get(file):
                words = [
                    (files[file][1][:12] if file in files else "absent") for files in (old, new)
                ]
                self._say("data", where, f"capture {names}: {file} {words[0]} -> {words[1]}")


def compare_text(found: dict[str, Any]) -> list[str]:
    """The same in words."""
    a, b = found["first"]["target"], found["second"]["target"]
    lines = [f"{a} and {b}: {'equal bytes' if found['same'] else 'different bytes'}"]
    for kind in ("data", "params", "code", "environment"):
        entries = [d for d in found["differences"] if d["kind"] == kind]
        lines += [f"  {kind:12} {entry['where']}: {entry['text']}" for entry in entries[:30]]
        if entries[30:]:
            lines.append(f"  {kind:12} and {len(entries) - 30} more")
    if not found["differences"]:
        lines.append("  made from the same recipe")
    lines.append(f"next: headworks audit {b}")
    return lines
