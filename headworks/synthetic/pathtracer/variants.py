"""Which variant of Mitsuba this machine can run: CUDA, else LLVM, else scalar.

A wrong LLVM library does not raise but aborts the process while it compiles, so that every
candidate is tried in a process of its own before this one loads it.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError

ORDER = ("cuda_ad_rgb", "llvm_ad_rgb", "scalar_rgb")
"""Variants from the fastest to the one that always runs."""

LIBRARY = "DRJIT_LIBLLVM_PATH"
# Dr.Jit 1.5 refuses LLVM 14, and what it generates makes LLVM 15 abort; 16 is the first to try.
_LEAST_LLVM = 16
_TRIAL_S = 90
_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib",
    "/usr/local/lib", "/opt/homebrew/opt/llvm/lib",
)  # fmt: skip
_TRIAL = """
import sys
import mitsuba as mi
mi.set_variant(sys.argv[1])
sphere = {"type": "sphere", "bsdf": {"type": "principled", "roughness": 0.4, "flatness": 0.5}}
fibre = {"type": "sphere", "center": [2.0, 0, 0], "bsdf": {"type": "hair"}}
film = {"type": "hdrfilm", "width": 4, "height": 4, "pixel_format": "rgba"}
origin = mi.ScalarTransform4f().look_at([0, 0, 5], [0, 0, 0], [0, 1, 0])
scene = mi.load_dict({
    "type": "scene", "integrator": {"type": "path", "hide_emitters": True},
    "sensor": {"type": "perspective", "to_world": origin, "film": film},
    "light": {"type": "constant"}, "sphere": sphere, "fibre": fibre,
})
total = float(mi.TensorXf(mi.render(scene, spp=2, seed=1)).array[0])
print("runs", total == total)
"""


@dataclass(frozen=True)
class Variant:
    """A variant of Mitsuba.

    Attributes:
        name: as Mitsuba calls it. library: the LLVM library it loads, or None.
        reason: why this one, for people. version: of Mitsuba.
    """

    name: str
    library: str | None
    reason: str
    version: str

    def activate(self) -> Any:
        """Load Mitsuba with this variant in this process; returns the module `mitsuba`."""
        if self.library:
            os.environ[LIBRARY] = self.library
        mi = importlib.import_module("mitsuba")
        if mi.variant() != self.name:
            mi.set_variant(self.name)
        return mi


def choose_variant(wanted: str = "auto") -> Variant:
    """What this machine can run.

    Args:
        wanted: "auto" takes the first of `ORDER` that renders a test picture; or a name.

    Raises:
        HeadworksError: Mitsuba is not installed, or the wanted variant does not run here.
    """
    return _choose(wanted, os.environ.get(LIBRARY))


@functools.lru_cache(maxsize=8)
def _choose(wanted: str, library: str | None) -> Variant:
    version = installed()
    if version is None:
        raise HeadworksError(
            "renderer mitsuba: the package mitsuba is not installed; expected headworks[render]; "
            "type: pip install -c constraints.txt 'headworks[render]', or set "
            "synthesis.renderer=preview"
        )
    if wanted not in ("auto", *ORDER):
        raise HeadworksError(
            f"mitsuba variant {wanted!r}: expected auto or one of {', '.join(ORDER)}"
        )
    refused: list[str] = []
    for name in ORDER if wanted == "auto" else (wanted,):
        if name == "scalar_rgb":
            # Plain C++ of the wheel: there is nothing on the machine that it could miss.
            return Variant(name, None, "; ".join([*refused, "runs everywhere"]), version)
        for candidate in llvm_libraries(library) if name == "llvm_ad_rgb" else [None]:
            trouble = _trial(name, candidate)
            if trouble is None:
                reason = "; ".join([*refused, "renders a test picture"])
                return Variant(name, candidate, reason, version)
            refused.append(f"{name}{f' with {candidate}' if candidate else ''}: {trouble}")
        if name == "llvm_ad_rgb" and not refused[-1:]:
            refused.append(f"{name}: no libLLVM of version {_LEAST_LLVM} or later")
    raise HeadworksError(
        f"mitsuba variant {wanted}: does not run here ({'; '.join(refused)}); set {LIBRARY} to a "
        "libLLVM of version 16 or later, or take the variant auto"
    )


def installed() -> str | None:
    """Version of the installed Mitsuba, or None."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mitsuba")
    except PackageNotFoundError:
        return None


def llvm_libraries(named: str | None) -> list[str]:
    """LLVM libraries worth a trial, the newest first; a named one alone."""
    if named:
        return [named]
    found: dict[int, str] = {}
    for folder in _FOLDERS:
        for path in sorted(Path(folder).glob("libLLVM*")) if Path(folder).is_dir() else []:
            match = re.match(r"libLLVM(?:-|\.so\.|\.)(\d+)", path.name)
            if match and int(match[1]) >= _LEAST_LLVM:
                found.setdefault(int(match[1]), str(path))
    return [found[number] for number in sorted(found, reverse=True)]


def _trial(name: str, library: str | None) -> str | None:
    """Render a test picture in a process of its own; what went wrong, or None."""
    environment = dict(os.environ)
    if library:
        environment[LIBRARY] = library
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRIAL, name],
            env=environment, capture_output=True, text=True, timeout=_TRIAL_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no picture within {_TRIAL_S} s"
    if done.returncode == 0 and "runs True" in done.stdout:
        return None
    if done.returncode < 0:
        return f"the process ended with signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip()[:160] if lines else f"exit status {done.returncode}"
