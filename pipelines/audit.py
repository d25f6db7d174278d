"""What made an artifact: the tree from it down to raw files, params, code and environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headworks.formats.subject import TERMS
from headworks.formats.subject import read_subject as describe
from pipelines.audit_find import find
from pipelines.ledger_rows import Row
from pipelines.store import object_path, read_tree
from pipelines.subjects import Subject, read_subjects
from pipelines.workspace import Workspace


def audit_tree(workspace: Workspace, target: str) -> dict[str, Any]:
    """Everything behind a target.

    Args:
        workspace: where.
        target: see `pipelines.audit_find.find`.

    Returns:
        `{"target": ..., "found_by": ..., "roots": [node, ...]}`; a node has stage, subject, key,
        code, params, chosen (backend), inputs (nodes), environment.

    Raises:
        HeadworksError: nothing of that name is in the ledger.
    """
    auditor = _Auditor(workspace)
    found = find(workspace, target)
    roots = [auditor.node(key) for key in found.keys]
    roots += [auditor.raw_by_name(name) for name in found.subjects]
    return {
        "schema": "headworks.audit/1",
        "target": target,
        "found_by": found.how,
        "roots": roots,
    }


class _Auditor:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._layout = workspace.layout
        self._ledger = workspace.ledger.refresh()
        self.subjects = read_subjects(self._layout)
        self._raw = {s.oid: s for s in self.subjects.values()}
        self._by_output: dict[tuple[str, str], str] = {}
        for (stage, _), key in self._ledger.claims().items():
            oid = self._ledger.oid(key)
            if oid:
                self._by_output[stage, oid] = key
        self._seen: set[str] = set()

    def node(self, key: str) -> dict[str, Any]:
        """One result with all that is behind it."""
        row = self._ledger.row(key)
        if row is None:
            return {"key": key, "missing": "not in the ledger"}
        body = self._facts(row)
        body["chosen"] = chosen(self._layout.objects, row["out_oid"])
        body["withdrawn"] = self._ledger.withdrawn(key)
        body["accepted"] = [
            {"code": code, **told}
            for (stage, code), told in self._ledger.accepted.items()
            if stage == row["stage"] and told["as"] == row["code"]
        ]
        if key in self._seen:
            body["see_above"] = True
            return body
        self._seen.add(key)
        inputs = []
        for role, member, oid in row["inputs"]:
            if role == "failed":
                inputs.append({"role": role, "member": member, "oid": oid})
            elif role == "raw":
                inputs.append({"role": role, **self._raw_by_oid(oid, row["subject"])})
            else:
                upstream = self._key_of(role, oid)
                child = self.node(upstream) if upstream else {"oid": oid, "missing": "not known"}
                inputs.append({"role": role, "member": member, **child})
        body["inputs"] = inputs
        return body

    def _key_of(self, stage: str, oid: str) -> str | None:
        known = self._by_output.get((stage, oid))
        if known:
            return known
        import polars as pl

        table = self._ledger.frame()
        found = table.filter(
            (pl.col("type") == "ok") & (pl.col("stage") == stage) & (pl.col("out_oid") == oid)
        )
        return None if found.is_empty() else str(found.get_column("key")[-1])

    @staticmethod
    def _facts(row: Row) -> dict[str, Any]:
        names = (
            "stage subject key version code seed out_oid out_bytes out_files started finished "
            "seconds cpu_seconds max_rss_mb device threads python packages_sha256 git_commit "
            "git_dirty diff_sha256 run_id log host"
        )
        facts = {name: row.get(name) for name in names.split()}
        facts["params"] = json.loads(row["params_json"])
        facts["assets"] = json.loads(row.get("assets_json") or "{}")
        facts["code_seen"] = row.get("code_seen")
        return facts

    def _raw_by_oid(self, oid: str, subject: str) -> dict[str, Any]:
        found = self._raw.get(oid)
        if found is not None:
            return self.raw(found)
        for name, event in self._ledger.raws.items():
            if event["oid"] == oid:
                return self._told(name, event, missing="raw files are not here any more")
        return {"oid": oid, "subject": subject, "missing": "raw files changed or removed since"}

    def raw_by_name(self, name: str) -> dict[str, Any]:
        """A subject's raw files, from data/raw/ or, where they are gone, from the ledger."""
        if name in self.subjects:
            return self.raw(self.subjects[name])
        return self._told(name, self._ledger.raws[name], missing="raw files are not here any more")

    @staticmethod
    def _told(name: str, event: dict[str, Any], **more: Any) -> dict[str, Any]:
        files = [
            {"file": file, "bytes": size, "md5": md5, "sha256": sha256}
            for file, (md5, sha256, size) in sorted(event["files"].items())
        ]
        facts = {k: event.get(k) for k in ("kind", "oid", "consent", "licence", "who", "when")}
        return {"subject": name, **facts, "files": files, **more}

    def raw(self, subject: Subject) -> dict[str, Any]:
        """A subject's raw files."""
        folder = self._layout.raw / subject.name
        description = describe(folder)
        event = self._ledger.raws.get(subject.name, {})
        files = [
            {"file": name, "bytes": size, "md5": md5, "sha256": sha256}
            for name, (md5, sha256, size) in sorted(subject.files.items())
            if name != TERMS
        ]
        return {
            "subject": subject.name,
            "kind": subject.kind,
            "oid": subject.oid,
            "files": files,
            "consent": description.consent,
            "licence": description.licence,
            "seed": description.seed,
            "who": event.get("who"),
            "when": event.get("when"),
        }


def chosen(objects: Path, oid: str) -> dict[str, Any]:
    """What a stage chose by itself, as its artifact says: backend, reason, weights.

    Args:
        objects: folder of the cache's objects. oid: of the artifact.
    """
    tree = read_tree(objects, oid) or {}
    try:
        meta = json.loads(object_path(objects, tree["artifact.json"]).read_bytes())
    except (OSError, ValueError, KeyError):
        return {}
    names = ("backend", "reason", "weights_sha256", "head", "device")
    return {name: meta[name] for name in names if meta.get(name) is not None}


def audit_text(tree: dict[str, Any]) -> list[str]:
    """The tree in words."""
    lines: list[str] = []
    for root in tree["roots"]:
        _node_text(root, "", lines)
    lines.append(
        "next: headworks audit TARGET --html PAGE   (a graph to look around in; --json: machines)"
    )
    return lines


def _node_text(node: dict[str, Any], indent: str, lines: list[str]) -> None:
    if "files" in node:
        captured = node.get("seed") is None and node.get("missing") is None
        about = ", ".join(
            f"{name} {'not recorded' if node.get(name) is None else node[name]}"
            for name in ("seed", "consent", "licence", "missing")
            if node.get(name) is not None or (captured and name in ("consent", "licence"))
        )
        lines.append(f"{indent}raw {node['subject']} ({node['kind']})  {node['oid']}  {about}")
        if node.get("who"):
            lines.append(f"{indent}    recorded by {node['who']} {node['when']}")
        for file in node["files"]:
            lines.append(
                f"{indent}    {file['file']}  {file['bytes']} bytes  md5 {file['md5']}  "
                f"sha256 {file['sha256']}"
            )
        return
    if "stage" not in node:
        what = node.get("missing") or node.get("member", "")
        lines.append(f"{indent}{node.get('role', '')} {node.get('oid', node.get('key'))}: {what}")
        return
    member = f" [{node['member']}]" if node.get("member") else ""
    lines.append(
        f"{indent}{node['stage']}/{node['subject']}{member}  {node['out_oid']}  key {node['key']}"
    )
    inner = indent + "    "
    if node.get("see_above"):
        lines.append(f"{inner}(see above)")
        return
    dirty = " + uncommitted changes" if node.get("git_dirty") else ""
    lines.append(
        f"{inner}code {node['code'][:16]} v{node['version']}  git "
        f"{(node['git_commit'] or 'none')[:12]}{dirty}  seed {node['seed']}"
    )
    lines.append(
        f"{inner}made {node['finished']} in {node['seconds']} s on {node['device']}, "
        f"{node['threads']} threads, python {node['python']}, packages "
        f"{(node['packages_sha256'] or '')[:16]}, run {node['run_id']}"
    )
    if node.get("withdrawn"):
        lines.append(f"{inner}WITHDRAWN: trained with a capture whose consent was taken back")
    for told in node.get("accepted", ()):
        lines.append(
            f"{inner}code {told['code'][:16]} counts as this code, says {told['who']} "
            f"{told['when']}" + (f": {told['reason']}" if told.get("reason") else "")
        )
    if node.get("chosen"):
        lines.append(f"{inner}chose " + ", ".join(f"{k} {v}" for k, v in node["chosen"].items()))
    for name, sha256 in sorted(node.get("assets", {}).items()):
        lines.append(f"{inner}weights {name} {sha256[:16]}")
    if node["params"]:
        words = ", ".join(f"{key}={value!r}" for key, value in sorted(node["params"].items()))
        lines.append(f"{inner}params {words}")
    for child in node.get("inputs", []):
        _node_text(child, inner, lines)
