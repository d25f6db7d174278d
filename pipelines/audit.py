"""What made an artifact: the tree from it down to raw files, params, code and environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from pipelines.ledger import Row
from pipelines.subjects import Fingerprints, Subject, read_subjects
from pipelines.workspace import Workspace


def audit_tree(workspace: Workspace, target: str) -> dict[str, Any]:
    """Everything behind a target.

    Args:
        workspace: where.
        target: data/<stage>/<subject> (or a path inside it), <stage>/<subject>, a subject's name,
            or the beginning (6 digits or more) of a key or digest.

    Returns:
        `{"target": ..., "roots": [node, ...]}`; a node has stage, subject, key, code, params,
        inputs (nodes), environment.

    Raises:
        HeadworksError: nothing of that name is in the ledger.
    """
    auditor = _Auditor(workspace)
    keys = auditor.find(target)
    roots = [auditor.node(key) for key in keys]
    if target in auditor.subjects and not keys:
        roots = [auditor.raw(auditor.subjects[target])]
    if not roots:
        raise HeadworksError(
            f"{target}: nothing of that name in the ledger; try STAGE/SUBJECT, a path below data/, "
            "a subject's name, or the first digits of a digest (headworks status lists subjects)"
        )
    return {"schema": "headworks.audit/1", "target": target, "roots": roots}


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

    def find(self, target: str) -> list[str]:
        """Keys that a target names."""
        claims = self._ledger.claims()
        if target in self.subjects:
            leaves = [(stage, key) for (stage, name), key in claims.items() if name == target]
            order = [stage.name for stage in self._workspace.registry]
            leaves.sort(key=lambda item: order.index(item[0]) if item[0] in order else -1)
            return [leaves[-1][1]] if leaves else []
        path = Path(target)
        try:
            resolved = path.resolve() if path.exists() else self._layout.root / path
            parts = resolved.relative_to(self._layout.data).parts
        except ValueError:
            parts = path.parts
        if len(parts) >= 2:
            subject = parts[1].removesuffix(".manifest.json")
            published = self._published(parts[0], subject)
            key = published or claims.get((parts[0], subject))
            if key:
                return [key]
        if len(target) >= 6 and all(c in "0123456789abcdefk.dir" for c in target):
            table = self._ledger.frame()
            import polars as pl

            found = table.filter(
                (pl.col("type") == "ok")
                & (
                    pl.col("key").str.starts_with(target)
                    | pl.col("key").str.starts_with("k1" + target)
                    | pl.col("out_oid").str.starts_with(target)
                )
            )
            return list(dict.fromkeys(found.get_column("key").to_list()))
        return []

    def _published(self, stage: str, subject: str) -> str | None:
        """The key that the manifest beside a published folder names."""
        try:
            return str(json.loads(self._layout.manifest(stage, subject).read_bytes())["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def node(self, key: str) -> dict[str, Any]:
        """One result with all that is behind it."""
        row = self._ledger.row(key)
        if row is None:
            return {"key": key, "missing": "not in the ledger"}
        body = self._facts(row)
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
        return facts

    def _raw_by_oid(self, oid: str, subject: str) -> dict[str, Any]:
        found = self._raw.get(oid)
        if found is None:
            return {"oid": oid, "subject": subject, "missing": "raw files changed or removed since"}
        return self.raw(found)

    def raw(self, subject: Subject) -> dict[str, Any]:
        """A subject's raw files."""
        description = json.loads((self._layout.raw / subject.name / "subject.json").read_text())
        fingerprints = Fingerprints(self._layout)
        files = []
        for name in sorted(subject.files):
            md5, sha256, size = fingerprints.file(self._layout.raw / subject.name / name)
            files.append({"file": name, "bytes": size, "md5": md5, "sha256": sha256})
        return {
            "subject": subject.name,
            "kind": subject.kind,
            "oid": subject.oid,
            "files": files,
            "consent": description.get("consent"),
            "licence": description.get("licence"),
            "seed": description.get("seed"),
        }


def audit_text(tree: dict[str, Any]) -> list[str]:
    """The tree in words."""
    lines: list[str] = []
    for root in tree["roots"]:
        _node_text(root, "", lines)
    lines.append("next: headworks audit TARGET --json   (for machines)")
    return lines


def _node_text(node: dict[str, Any], indent: str, lines: list[str]) -> None:
    if "files" in node:
        about = ", ".join(
            f"{name} {node[name]}"
            for name in ("seed", "consent", "licence")
            if node.get(name) is not None
        )
        lines.append(f"{indent}raw {node['subject']} ({node['kind']})  {node['oid']}  {about}")
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
    if node["params"]:
        words = ", ".join(f"{key}={value!r}" for key, value in sorted(node["params"].items()))
        lines.append(f"{inner}params {words}")
    for child in node.get("inputs", []):
        _node_text(child, inner, lines)
