"""The bridge to DVC: dvc.yaml from the registry, dvc.lock from what is published."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.errors import HeadworksError
from pipelines.canon import digest
from pipelines.dvctrees import Listed, Members, raw_collection
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


def spoken_of(workspace: Workspace, members: Members) -> str:
    """Digest of all that dvc.lock speaks of, found without DVC and without reading results."""
    root = workspace.layout.root
    parts: list[Any] = [workspace.layout.params.is_file() and workspace.layout.params.read_text()]
    for name in code_folders(root):
        for relative, entry in walk_files(root / name):
            if "__pycache__" not in relative and not relative.endswith(".pyc"):
                stat = entry.stat()
                parts.append([name, relative, stat.st_size, stat.st_mtime_ns])
    parts += [stat_digest(workspace.layout.raw), members.state()]
    return digest("dvc", parts)


def signature(root: Path, spoken: str) -> str:
    """Digest of DVC's own files together with what they speak of."""
    texts = [
        path.read_text() if path.is_file() else None
        for path in (root / "dvc.yaml", root / "dvc.lock")
    ]
    return digest("dvc", [*texts, spoken])


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
    known = Members(layout, members)
    # Of before DVC's files are written: what changes meanwhile is then seen by the next run.
    spoken = spoken_of(workspace, known)
    try:
        if json.loads(mark.read_text())["signature"] == signature(root, spoken):
            return []
    except (OSError, ValueError, KeyError):
        pass
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Lock(layout.locks / "commit"), quiet():
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        try:
            with Repo(str(root), _wait_for_lock=True) as repo:
                changed = _update(workspace, repo, members, known, skip)
        except DvcException as error:
            raise HeadworksError(f"dvc.lock could not be brought up to date: {error}") from error
        known.save()
        found = signature(root, spoken)
        write_atomic(mark, json.dumps({"signature": found}).encode(), layout.tmp)
    return changed


def _update(
    workspace: Workspace,
    repo: Any,
    members: Mapping[str, Mapping[str, str]],
    known: Members,
    skip: set[str],
) -> list[str]:
    from dvc.repo import lock_repo

    layout = workspace.layout
    raw = _track_raw(workspace, repo) if any(layout.raw.iterdir()) else None
    with lock_repo(repo):
        stages = {stage.name: stage for stage in repo.index.stages if hasattr(stage, "name")}
        wanted = []
        for stage in workspace.registry:
            if stages.get(stage.name) is None or stage.name in skip:
                continue
            roles = [wanted.role for wanted in stage.inputs if wanted.role != "raw"]
            if all(layout.index(name).is_file() for name in (stage.name, *roles)):
                wanted.append(stage.name)
        before = _lock_entries(layout.root)
        try:
            entries = [stages[name] for name in wanted]
            for entry in entries:
                _fast(layout, entry, known, raw)
            if entries:
                entries[0].dvcfile.dump_stages(entries, update_pipeline=False)
                for entry in entries:
                    entry.outs[0].ignore()
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            # DVC's internals may move between versions; its public way is slower.
            logging.getLogger(__name__).warning("dvc.lock the slow way: %s", error)
            where = os.path.relpath(layout.root / "dvc.yaml", os.getcwd())
            for name in wanted:
                repo.commit(target=f"{where}:{name}", force=True, relink=False)
        after = _lock_entries(layout.root)
    return [name for name in wanted if after.get(name) != before.get(name)]


_RAW = re.compile(r"\A(outs:\n- md5: )[0-9a-f]{32}\.dir(\n  size: )\d+(\n  nfiles: )\d+(\n)")


def _track_raw(workspace: Workspace, repo: Any) -> Listed:
    """`data/raw.dvc`: the raw captures are DVC's, not git's."""
    layout = workspace.layout
    raw = raw_collection(layout)
    target = layout.data / "raw.dvc"
    text = target.read_text() if target.is_file() else ""
    if f"md5: {raw.oid}\n" in text:
        return raw
    fresh, count = _RAW.subn(rf"\g<1>{raw.oid}\g<2>{raw.size}\g<3>{raw.count}\g<4>", text)
    if count:
        write_atomic(target, fresh.encode(), layout.tmp)
    else:
        repo.add(os.path.relpath(layout.raw, os.getcwd()))
    repo._reset()
    return raw


def _fast(layout: Layout, entry: Any, known: Members, raw: Listed | None) -> None:
    """Fill a stage's entry from digests that are known, without reading data."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    def is_dir(listed: Listed) -> Any:
        return Meta(size=listed.size, nfiles=listed.count, isdir=True)

    indexes = {f"data/{stage}/_index.json": stage for stage in known.stamps}
    for dep in entry.deps:
        path = Path(dep.def_path).as_posix()
        if path == "data/raw" and raw is not None:
            dep.hash_name = "md5"
            dep.hash_info, dep.meta = HashInfo("md5", raw.oid), is_dir(raw)
        elif path in indexes:
            data = layout.index(indexes[path]).read_bytes()
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            dep.hash_name = "md5"
            dep.hash_info, dep.meta = HashInfo("md5", md5), Meta(size=len(data))
        else:
            dep.save()
    listed = known.collection(entry.name)
    (out,) = entry.outs
    out.hash_name = "md5"
    out.hash_info = HashInfo("md5", listed.oid)
    out.meta = is_dir(listed)
    out.files = None
    entry.md5 = entry.compute_md5()


def _lock_entries(root: Path) -> dict[str, Any]:
    from pipelines.params import parse_yaml

    try:
        lock = parse_yaml((root / "dvc.lock").read_text(), "dvc.lock")
    except OSError:
        return {}
    return dict((lock or {}).get("stages") or {})
