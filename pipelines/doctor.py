"""Is everything in place? Versions, cores, disk, cache, ledger, weights."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

from headworks.dlib_models import model_file
from headworks.errors import HeadworksError, WeightsError
from pipelines.dvcsync import dvc_yaml
from pipelines.files import sweep
from pipelines.forget import journal
from pipelines.ledger import Ledger
from pipelines.locks import Lock
from pipelines.rebuild import rebuild
from pipelines.verify import mend, verify
from pipelines.workspace import Workspace

Check = tuple[str, str, str]
"""(ok | warn | fail, what, words)"""


def _version(name: str) -> tuple[int, ...] | None:
    try:
        return tuple(int(part) for part in metadata.version(name).split(".")[:3] if part.isdigit())
    except metadata.PackageNotFoundError:
        return None


def _versions() -> list[Check]:
    found: list[Check] = []
    python = platform.python_version()
    level = "ok" if tuple(map(int, python.split(".")[:2])) >= (3, 11) else "fail"
    found.append((level, "python", f"{python} on {platform.system()} {platform.machine()}"))
    wanted = {"dvc": ((3, 67), (3, 70)), "dvc-data": ((3, 18), (3, 19)), "prefect": ((3, 8), None)}
    for name, (lowest, below) in wanted.items():
        version = _version(name)
        if version is None:
            found.append(("fail", name, f"not installed; type: pip install {name}"))
        elif version < lowest or (below is not None and version >= below):
            limit = f" and below {'.'.join(map(str, below))}" if below else ""
            text = f"{metadata.version(name)}; tested from {'.'.join(map(str, lowest))}{limit}"
            found.append(("warn", name, text))
        else:
            found.append(("ok", name, metadata.version(name)))
    fastapi = _version("fastapi")
    if fastapi is not None and fastapi >= (0, 151):
        # From 0.151 on `prefect deploy` is refused by its own server, from 0.155 on every flow is.
        text = f"{metadata.version('fastapi')} breaks Prefect; type: pip install 'fastapi<0.151'"
        found.append(("fail", "fastapi", text))
    elif fastapi is not None:
        found.append(("ok", "fastapi", f"{metadata.version('fastapi')}, within the pin"))
    for name in ("torch", "numpy", "polars", "zarr"):
        version = _version(name)
        if version is None:
            found.append(("fail", name, "not installed"))
        else:
            found.append(("ok", name, metadata.version(name)))
    return found


def _machine(workspace: Workspace) -> list[Check]:
    layout = workspace.layout
    found: list[Check] = [("ok", "cores", str(os.cpu_count()))]
    free = shutil.disk_usage(layout.root).free / 1e9
    level = "ok" if free > 5 else "warn" if free > 1 else "fail"
    found.append((level, "disk", f"{free:.1f} GB free at {layout.root}"))
    devices = [path for path in ("/dev/nvidia0", "/dev/kfd") if Path(path).exists()]
    found.append(("ok", "device", "GPU" if devices else "CPU (no GPU seen; nothing needs one)"))
    return found


def _workspace_checks(workspace: Workspace) -> list[Check]:
    layout = workspace.layout
    if not (layout.root / ".dvc" / "config").is_file():
        return [("warn", "workspace", f"{layout.root} is none yet; type: headworks init")]
    found: list[Check] = [("ok", "workspace", str(layout.root))]
    layout.make()
    with Lock(layout.locks / "doctor", wait=False) as first:
        with Lock(layout.locks / "doctor", wait=False) as second:
            works = first.held and not second.held
        text = "work" if works else "do not exclude each other on this file system"
        found.append(("ok" if works else "fail", "locks", text))
    path = layout.root / "dvc.yaml"
    same = path.is_file() and path.read_text() == dvc_yaml(workspace.registry, layout.root)
    text = "as generated" if same else "differs from the registry; remove it and: headworks init"
    found.append(("ok" if same else "warn", "dvc.yaml", text))
    workspace.params()
    found.append(("ok", "params.yaml", "valid" if layout.params.is_file() else "absent: defaults"))
    ledger = workspace.ledger.refresh()
    found += _ledger_checks(workspace, ledger)
    found += _leftovers(workspace)
    absent = layout.objects.stat().st_dev != layout.staging.stat().st_dev
    text = "lies on another file system than .headworks: outputs are copied" if absent else "ok"
    found.append(("warn" if absent else "ok", "cache", text))
    return found


def _ledger_checks(workspace: Workspace, ledger: Ledger) -> list[Check]:
    layout = workspace.layout
    found: list[Check] = []
    words = f"{ledger.events} events"
    if ledger.torn:
        words += (
            f", {ledger.torn} lines or tables that cannot be read: what only they told is computed "
            "again, or taken from manifests with: headworks doctor --mend"
        )
    found.append(("warn" if ledger.torn else "ok", "ledger", words))
    manifests = sum(
        len(list((layout.data / stage.name).glob("*.manifest.json")))
        for stage in workspace.registry
    )
    if manifests and not ledger.outputs():
        text = f"empty beside {manifests} manifests; headworks doctor --mend takes it from them"
        found.append(("fail", "ledger", text))
    return found


def _leftovers(workspace: Workspace) -> list[Check]:
    """What interrupted work left behind."""
    layout = workspace.layout
    found: list[Check] = []
    folders = (layout.staging, layout.tmp, layout.trash)
    count = sum(len(list(folder.iterdir())) for folder in folders if folder.is_dir())
    if count:
        found.append(("ok", "leftovers", f"{count} unfinished folders; the next run sweeps them"))
    if journal(layout).exists():
        found.append(("fail", "forget", "was interrupted; headworks forget NAME --yes ends it"))
    for name in workspace.forgotten():
        text = f"consent for {name} was withdrawn; headworks forget {name} --yes"
        found.append(("fail", "forget", text))
    quarantine = layout.hidden / "quarantine"
    if quarantine.is_dir():
        count = len(list(quarantine.iterdir()))
        text = f"{count} damaged objects were put aside; headworks gc --yes removes them"
        found.append(("warn", "quarantine", text))
    for folder in (layout.root, layout.objects, layout.hidden, layout.data):
        if not os.access(folder, os.W_OK):
            found.append(("fail", "rights", f"{folder} cannot be written to"))
    return found


def sampled(workspace: Workspace, fraction: float = 0.01) -> Check:
    """A few stored results read and hashed: a disk that rots shows early."""
    report = verify(workspace, sample=fraction)
    if report.damage:
        text = f"{len(report.damage)} damaged in a sample; headworks doctor --mend mends all"
        return ("fail", "objects", text)
    return ("ok", "objects", f"{report.objects} objects of {report.results} results read: whole")


def mend_all(workspace: Workspace) -> list[str]:
    """Mend what can be mended without computing: ledger, cache, published folders, leftovers.

    Args:
        workspace: where; no run may be going on.

    Returns:
        What was done, a line each.

    Raises:
        HeadworksError: a run is going on.
    """
    layout = workspace.layout
    layout.require()
    layout.make()
    with Lock(layout.locks / "runs", wait=False) as lock:
        if not lock.held:
            raise HeadworksError("a run is going on here; mend when it has ended")
        lines = []
        swept = sum(sweep(folder) for folder in (layout.staging, layout.tmp, layout.trash))
        if swept:
            lines.append(f"removed {swept} unfinished folders")
        torn = workspace.ledger.refresh().torn
        lines += rebuild(workspace)
        lines += mend(workspace, verify(workspace, everything=True))
        workspace.ledger.close()
        if torn:
            workspace.ledger.seal()
            lines.append(f"wrote the ledger anew without {torn} torn lines")
    return lines or ["nothing to mend"]


def _weights() -> list[Check]:
    from headworks.landmarks import fan
    from headworks.matting import rembg_session

    found: list[Check] = []
    names = ("shape_predictor_68_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")
    for name in names:
        try:
            model_file(name)
            found.append(("ok", "weights", f"{name}: present"))
        except WeightsError as error:
            found.append(("fail", "weights", str(error)))
    for name, locate in (
        ("rembg", lambda: rembg_session.weights_path()[1]),
        ("landmarks", fan.weights_path),
    ):
        try:
            found.append(("ok", name, f"{locate()}"))
        except WeightsError:
            found.append(("ok", name, "no weights at hand; the stage uses its own default"))
    return found


def checks(workspace: Workspace) -> list[Check]:
    """All checks.

    Returns:
        (level, what, words) each; "fail" means that something will not work.
    """
    found = [*_versions(), *_machine(workspace), *_workspace_checks(workspace), *_weights()]
    if (workspace.layout.root / ".dvc" / "config").is_file():
        found.append(sampled(workspace))
    return found
