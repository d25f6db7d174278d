"""One unit from lock to published result. Runs inside a worker process."""

from __future__ import annotations

import errno
import importlib
import json
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headworks.errors import ArtifactError, ChangedError, HeadworksError, TransientError
from pipelines.codehash import CodeIndex
from pipelines.earlier import earlier
from pipelines.energy import EnergyMeter
from pipelines.files import fault, private_folder, remove, walk_files
from pipelines.layout import Layout
from pipelines.ledger import Ledger
from pipelines.locks import Lock
from pipelines.publish import publish, published_oid
from pipelines.store import Objects, check_out, files_of, store
from pipelines.subjects import Fingerprints, read_subject
from stages.contract import Context

Spec = dict[str, Any]
Progress = Callable[[float, str], None]

_PERMANENT_ERRNO = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EINVAL,
    errno.ENAMETOOLONG,
    errno.EROFS,
}


def classify(error: BaseException) -> str:
    """Class of a failure.

    `transient`, `oom` and `disk_full` may pass, `changed` in another run, `permanent` cannot.
    """
    if isinstance(error, ChangedError):
        return "changed"
    if isinstance(error, TransientError):
        return "transient"
    if isinstance(error, HeadworksError):
        return "permanent"
    if isinstance(error, MemoryError):
        return "oom"
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "disk_full"
        network = isinstance(error, (ConnectionError, TimeoutError))
        if network or (error.errno is not None and error.errno not in _PERMANENT_ERRNO):
            return "transient"
    return "permanent"


class UnitRunner:
    """Runs units of one workspace in this process.

    Args:
        layout: of the workspace.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._ledger = Ledger(layout.hidden / "ledger")
        self._in_stage = False

    def close(self) -> None:
        """Release the ledger's segment."""
        self._ledger.close()

    def __call__(self, spec: Spec, progress: Progress) -> dict[str, Any]:
        """Compute, store and publish, or only publish.

        Args:
            spec: what the driver wants (see `pipelines.attempts`).
            progress: is told how far the stage is.

        Returns:
            `status`: ok, hit, restored, busy or failed, and what goes with it.
        """
        self._in_stage = False
        try:
            with Lock(self._layout.locks / "unit" / spec["key"], wait=False) as lock:
                if not lock.held:
                    return {"status": "busy"}
                return self._locked(spec, progress)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            return self._failed(spec, error)

    def _locked(self, spec: Spec, progress: Progress) -> dict[str, Any]:
        if "shelf" in spec:
            return self._afar(spec, progress)
        stage, subject, key = spec["stage"], spec["subject"], spec["key"]
        row = self._ledger.refresh().row(key)
        forced = spec["force"] and (row is None or row.get("run_id") != spec["run_id"])
        if row is not None and not forced and Objects(self._layout.objects).whole(row["out_oid"]):
            if self._ledger.claim(stage, subject) != key:
                self._ledger.append(
                    "claim", key=key, stage=stage, subject=subject, run_id=spec["run_id"]
                )
            publish(self._layout, stage, subject, row)
            status = "restored" if spec["job"] == "restore" else "hit"
            return {"status": status, "oid": row["out_oid"]}
        if spec["job"] == "restore":
            raise TransientError(f"{stage}/{subject}: its stored output has gone; run again")
        row = self._compute(spec, progress)
        fault("committed")
        publish(self._layout, stage, subject, row)
        return {"status": "ok", "oid": row["out_oid"], "seconds": row["seconds"]}

    def _afar(self, spec: Spec, progress: Progress) -> dict[str, Any]:
        """On a machine that does not see the workspace: from the storage and back to it."""
        from pipelines.shelf import Shelf

        objects, shelf = self._layout.objects, Shelf(spec["shelf"])
        row = self._ledger.refresh().row(spec["key"])
        here = row is not None and Objects(objects).whole(row["out_oid"])
        if row is None or not here or spec["force"]:
            shelf.get(objects, {oid for _, _, oid, _ in spec["inputs"]})
            row = self._compute(spec, progress)
        shelf.put(objects, files_of(objects, [row["out_oid"]]))
        return {"status": "ok", "oid": row["out_oid"], "row": row}

    def _failed(self, spec: Spec, error: BaseException) -> dict[str, Any]:
        kind = classify(error)
        if kind == "permanent" and not self._in_stage:
            kind = "engine"
        message = str(error).strip() or type(error).__name__
        if not isinstance(error, HeadworksError):
            message = f"{type(error).__name__}: {message}"
        message = message.splitlines()[0][:500]
        traceback.print_exception(error)
        try:
            self._ledger.append(
                "failed",
                key=spec["key"],
                stage=spec["stage"],
                subject=spec["subject"],
                error_class=kind,
                error_message=message,
                log=spec["log"],
                run_id=spec["run_id"],
                attempt=spec["attempt"],
                pid=os.getpid(),
                finished=_now(),
            )
        except OSError as full:
            print(f"the failure could not be written to the ledger: {full}", file=sys.stderr)
        return {"status": "failed", "class": kind, "message": message}

    def _compute(self, spec: Spec, progress: Progress) -> dict[str, Any]:
        layout = self._layout
        self._check_space()
        staging = private_folder(layout.staging, spec["key"][:18])
        try:
            out = staging / "out"
            out.mkdir()
            self._in_stage = True
            module = importlib.import_module(spec["module"])
            params = getattr(module, spec["params_class"]).model_validate(spec["params"])
            self._in_stage = False
            self._check_assets(spec, getattr(module, "assets", None), params)
            inputs, recheck = self._inputs(spec, staging)
            before = None
            if not spec["force"]:  # what is forced is to be computed, and not taken over
                before = earlier(
                    layout, self._ledger, spec["stage"], spec["subject"], spec["made_of"]
                )
            fault("before_compute")
            self._in_stage = True
            started, clock, cpu = _now(), time.perf_counter(), _cpu_seconds()
            _reset_peak()
            meter = EnergyMeter()
            scratch = self._scratch(spec)
            context = Context(spec["seed"], spec["threads"], progress, scratch, before)
            with _thread_limit(spec["threads"]):
                module.run(inputs, params, out, context)
            seconds = time.perf_counter() - clock
            used: dict[str, Any] = {
                "started": started,
                "seconds": round(seconds, 3),
                "cpu_seconds": round(_cpu_seconds() - cpu, 3),
                "max_rss_mb": _peak_mb(),
            }
            joules = meter.joules(used["cpu_seconds"])
            if joules is not None:
                used["body_json"] = json.dumps({"energy_j": joules})
            fault("computed")
            validate_output(out)
            self._in_stage = False
            recheck()
            self._check_code(spec)
            oid, size, files = store(layout.objects, out)
            fault("stored")
            made_of = spec["made_of"]
            row = self._ledger.append(
                "ok",
                key=spec["key"],
                stage=spec["stage"],
                subject=spec["subject"],
                version=made_of["version"],
                code=made_of["code"],
                code_seen=spec["code_now"] if spec["code_now"] != made_of["code"] else None,
                params_json=json.dumps(made_of["params"], sort_keys=True),
                assets_json=json.dumps(made_of["assets"]) if "assets" in made_of else None,
                seed=made_of["seed"],
                inputs=made_of["inputs"],
                out_oid=oid,
                out_bytes=size,
                out_files=files,
                finished=_now(),
                device=_device(),
                threads=spec["threads"],
                python=platform.python_version(),
                host=platform.node(),
                pid=os.getpid(),
                attempt=spec["attempt"],
                log=spec["log"],
                run_id=spec["run_id"],
                **used,
                **spec["provenance"],
            )
            remove(scratch.parent)
            return row
        finally:
            remove(staging)

    def _scratch(self, spec: Spec) -> Path:
        """Where the stage may keep what outlives a kill; another recipe's remains go."""
        own = self._layout.scratch / f"{spec['stage']}.{spec['subject']}" / spec["key"][:18]
        for other in own.parent.iterdir() if own.parent.is_dir() else ():
            if other != own:
                remove(other)
        return own

    def _check_space(self) -> None:
        reserve = int(os.environ.get("HEADWORKS_RESERVE_MB", "256")) << 20
        for folder in (self._layout.staging, self._layout.objects.parent.parent):
            stat = os.statvfs(folder)
            if stat.f_bavail * stat.f_frsize < reserve:
                raise OSError(errno.ENOSPC, f"less than {reserve >> 20} MB free", str(folder))

    def _check_code(self, spec: Spec) -> None:
        """A result must not be filed under the hash of code that it was not made by."""
        index = CodeIndex(spec["packages"], self._layout.hidden / "code.json")
        if index.hash(spec["module"]) != spec["code_now"]:
            raise ChangedError(f"the code of {spec['stage']} was edited while it ran; run again")

    def _check_assets(
        self, spec: Spec, named: Callable[[Any], dict[str, Path | None]] | None, params: Any
    ) -> None:
        """Nor under weights that this machine does not have, or has in addition."""
        wanted = dict(spec["made_of"].get("assets") or {})
        prints = Fingerprints(self._layout)
        found = {
            name: prints.file(path)[1] if path is not None else "absent"
            for name, path in (named(params) if named else {}).items()
        }
        prints.save()
        for name in sorted({*wanted, *found}):
            here, there = found.get(name, "absent"), wanted.get(name, "absent")
            if here != there:
                raise ChangedError(
                    f"{platform.node()}: {name} is {here[:12]} here and {there[:12]} in the plan; "
                    "give all machines the same weights and head models, or run again"
                )

    def _inputs(self, spec: Spec, staging: Path) -> tuple[dict[str, Any], Callable[[], None]]:
        """Folders of the inputs, and a check that none was replaced in the meantime."""
        layout = self._layout
        inputs: dict[str, Any] = {}
        watched: list[tuple[str, str, str]] = []
        for role in spec["collected"]:
            inputs[role] = {}
        for role, member, oid, owner in spec["inputs"]:
            if role == "raw" and "shelf" not in spec:
                path = layout.raw / owner
                watched.append((role, owner, oid))
            elif published_oid(layout, role, owner) == oid:
                path = layout.artifact(role, owner)
                watched.append((role, owner, oid))
            else:
                path = staging / "in" / role / (member or owner)
                check_out(layout.objects, oid, path)
            if role in inputs and role in spec["collected"]:
                inputs[role][member] = path
            else:
                inputs[role] = path
        if spec["missing"]:
            inputs["failed"] = spec["missing"]

        def recheck() -> None:
            for role, owner, oid in watched:
                if role == "raw":
                    found: str | None = read_subject(layout, owner, Fingerprints(layout)).oid
                else:
                    found = published_oid(layout, role, owner)
                if found != oid:
                    kind = ChangedError if role == "raw" else TransientError
                    raise kind(f"{role}/{owner} was replaced while it was read")

        recheck()
        return inputs, recheck


def validate_output(out: Path) -> None:
    """Complain about an output that cannot be an artifact.

    Raises:
        ArtifactError: no readable artifact.json, links, or half-written files.
    """
    from headworks.artifacts import read_meta

    for relative, entry in walk_files(out):
        if entry.is_symlink():
            raise ArtifactError(f"{relative}: an artifact holds files, not links")
        if relative.endswith(".partial"):
            raise ArtifactError(f"{relative}: a half-written file in the output")
    meta = read_meta(out)
    if not isinstance(meta.get("kind"), str):
        raise ArtifactError(f"{out.name}/artifact.json: no kind in it")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.get_device_name()}"


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    yield
