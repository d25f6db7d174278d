"""The bridge to DVC: dvc.yaml from the registry, dvc.lock from what is published."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.errors import HeadworksError
from pipelines.canon import digest
from pipelines.files import stat_digest, walk_files, write_atomic
from pipelines.layout import Layout
from pipelines.locks import Lock
from stages.contract import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.workspace import Workspace

_HEADER = """# Generated from the registry by `headworks init`; a test compares. One stage per step
# of the method: `dvc repro` and `headworks run` do the same work, subject by subject.
"""


def code_folders(root: Path) -> list[str]:
    """The project's own code, where the workspace is its checkout."""
    return [name for name in ("headworks", "stages") if (root / name / "__init__.py").is_file()]


def dvc_yaml(registry: Sequence[Stage], root: Path) -> str:
    """Text of dvc.yaml.

    Args:
        registry: the stages.
        root: the workspace; where it holds the project's own code, that is a dependency.
    """
    lines = [_HEADER + "stages:"]
    for stage in registry:
        deps = code_folders(root)
        for wanted in stage.inputs:
            dep = "data/raw" if wanted.role == "raw" else f"data/{wanted.role}/_index.json"
            if dep not in deps:
                deps.append(dep)
        lines += [
            f"  {stage.name}:",
            '    cmd: PATH="$PATH:.venv/bin:.headworks/bin" headworks run'
            f" --stage {stage.name} --from-dvc",
            "    deps:",
            *(f"    - {dep}" for dep in deps),
            "    params:",
            "    - seed",
            *([f"    - {stage.name}"] if stage.params_class().model_fields else []),
            "    outs:",
            f"    - data/{stage.name}:",
            "        persist: true",
        ]
    if any(stage.name == "report" for stage in registry):
        lines += [
            "metrics:",
            "- data/report/all/metrics.json",
            "plots:",
            "- data/report/all/psnr.csv:",
            "    title: PSNR of every measured picture",
            "    template: scatter",
            "    x: frame",
            "    y: value",
        ]
    return "\n".join(lines) + "\n"


def signature(workspace: Workspace, members: Mapping[str, Mapping[str, str]]) -> str:
    """Digest of all that dvc.lock speaks of, found without DVC."""
    root = workspace.layout.root
    parts: list[Any] = [workspace.layout.params.is_file() and workspace.layout.params.read_text()]
    parts.append((root / "dvc.yaml").read_text() if (root / "dvc.yaml").is_file() else None)
    lock = root / "dvc.lock"
    parts.append(lock.read_text() if lock.is_file() else None)
    for name in code_folders(root):
        for relative, entry in walk_files(root / name):
            if "__pycache__" not in relative and not relative.endswith(".pyc"):
                stat = entry.stat()
                parts.append([name, relative, stat.st_size, stat.st_mtime_ns])
    parts.append(stat_digest(workspace.layout.raw))
    for stage in workspace.registry:
        for subject, oid in sorted(members.get(stage.name, {}).items()):
            record = _record(workspace.layout, stage.name, subject)
            parts.append([stage.name, subject, oid, record.get("manifest")])
    return digest("dvc", parts)


def _record(layout: Layout, stage: str, subject: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(layout.record(stage, subject).read_bytes())
        return record
    except (OSError, ValueError):
        return {}


@contextmanager
def quiet() -> Iterator[None]:
    """What DVC prints and logs stays off the console."""
    logger = logging.getLogger("dvc")
    disabled, logger.disabled = logger.disabled, True
    names = [name for name in logging.root.manager.loggerDict if name.startswith("dvc")]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    finally:
        logger.disabled = disabled
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def sync(
    workspace: Workspace, members: Mapping[str, Mapping[str, str]], skip: set[str]
) -> list[str]:
    """Bring dvc.lock and data/raw.dvc in line with the workspace.

    Args:
        workspace: where.
        members: stage -> member -> oid, as published.
        skip: stages with failed units, whose entries stay as they are (DVC would otherwise take
            a partial collection for the whole one).

    Returns:
        Names of the stages whose entries changed.

    Raises:
        HeadworksError: when DVC refuses; results and ledger are complete all the same.
    """
    layout = workspace.layout
    root = layout.root
    if not (root / "dvc.yaml").is_file():
        return []
    mark = layout.hidden / "dvc-synced.json"
    try:
        if json.loads(mark.read_text())["signature"] == signature(workspace, members):
            return []
    except (OSError, ValueError, KeyError):
        pass
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Lock(layout.locks / "commit"), quiet():
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        try:
            with Repo(str(root), _wait_for_lock=True) as repo:
                changed = _update(workspace, repo, members, skip)
        except DvcException as error:
            raise HeadworksError(f"dvc.lock could not be brought up to date: {error}") from error
        found = signature(workspace, members)
        write_atomic(mark, json.dumps({"signature": found}).encode(), layout.tmp)
    return changed


def _update(
    workspace: Workspace,
    repo: Any,
    members: Mapping[str, Mapping[str, str]],
    skip: set[str],
) -> list[str]:
    from dvc.repo import lock_repo

    layout = workspace.layout
    if any(layout.raw.iterdir()):
        _track_raw(workspace, repo)
    changed = []
    with lock_repo(repo):
        stages = {stage.name: stage for stage in repo.index.stages if hasattr(stage, "name")}
        for stage in workspace.registry:
            entry = stages.get(stage.name)
            present = members.get(stage.name, {})
            if entry is None or stage.name in skip or not layout.index(stage.name).is_file():
                continue
            if any(
                wanted.role != "raw" and not layout.index(wanted.role).is_file()
                for wanted in stage.inputs
            ):
                continue
            try:
                done = _fast(layout, repo, entry, stage.name, present)
            except (AttributeError, TypeError, KeyError, ValueError) as error:
                # DVC's internals may move between versions; its public way is slower.
                logging.getLogger(__name__).warning("dvc.lock the slow way: %s", error)
                where = os.path.relpath(layout.root / "dvc.yaml", os.getcwd())
                repo.commit(target=f"{where}:{stage.name}", force=True, relink=False)
                done = True
            if done:
                changed.append(stage.name)
    return changed


def _track_raw(workspace: Workspace, repo: Any) -> None:
    """`data/raw.dvc`: the raw captures are DVC's, not git's."""
    layout = workspace.layout
    from pipelines.canon import md5_tree
    from pipelines.subjects import Fingerprints

    fingerprints = Fingerprints(layout)
    files = {
        relative: fingerprints.file(Path(entry.path))[0]
        for relative, entry in walk_files(layout.raw)
    }
    oid = md5_tree(files)
    target = layout.data / "raw.dvc"
    if target.is_file() and f"md5: {oid}\n" in target.read_text():
        return
    repo.add(os.path.relpath(layout.raw, os.getcwd()))
    repo._reset()


def _fast(layout: Layout, repo: Any, entry: Any, stage: str, present: Mapping[str, str]) -> bool:
    """Write a stage's entry from digests that are known, without reading data.

    Returns:
        Whether the entry changed.
    """
    from dvc_data.hashfile.db import add_update_tree
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    from pipelines.store import add_file, read_tree

    tree = Tree()
    size = count = 0

    def put(path: str, oid: str) -> None:
        tree.add(tuple(path.split("/")), Meta(), HashInfo("md5", oid))

    for subject, oid in present.items():
        record = _record(layout, stage, subject)
        listing = read_tree(layout.objects, oid)
        if record.get("oid") != oid or listing is None:
            raise ValueError(f"{stage}/{subject} is not published whole")
        for relative, md5 in listing.items():
            put(f"{subject}/{relative}", md5)
        put(f"{subject}.manifest.json", record["manifest"])
        size += record["bytes"] + record["manifest_bytes"]
        count += len(listing) + 1
    index = layout.index(stage).read_bytes()
    put("_index.json", add_file(layout.objects, index, layout.tmp))
    size += len(index)
    count += 1
    tree.digest()
    add_update_tree(repo.cache.local, tree)
    (out,) = entry.outs
    before = _lock_entry(layout.root, stage)
    entry.save_deps()
    out.hash_name = "md5"
    out.hash_info = HashInfo("md5", tree.oid)
    out.meta = Meta(size=size, nfiles=count, isdir=True)
    out.files = None
    entry.md5 = entry.compute_md5()
    entry.dump(update_pipeline=False)
    out.ignore()
    return _lock_entry(layout.root, stage) != before


def _lock_entry(root: Path, stage: str) -> Any:
    from pipelines.params import parse_yaml

    try:
        lock = parse_yaml((root / "dvc.lock").read_text(), "dvc.lock")
    except OSError:
        return None
    return (lock or {}).get("stages", {}).get(stage)
