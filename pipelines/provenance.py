"""What a result was made with: packages, commit, uncommitted changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.canon import canonical_json, digest
from pipelines.files import write_atomic
from pipelines.layout import Layout


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def source_state(folder: Path) -> dict[str, Any]:
    """Commit of the code, and a digest of what is not committed.

    Args:
        folder: anywhere in the code's checkout.
    """
    head = _git(folder, "rev-parse", "HEAD")
    diff = _git(folder, "diff", "HEAD", "--binary", "--", ".")
    commit = head.decode().strip() if head else None
    dirty = bool(diff)
    return {
        "git_commit": commit,
        "git_dirty": dirty if commit else None,
        "diff_sha256": hashlib.sha256(diff).hexdigest() if diff else None,
    }


def packages() -> list[str]:
    """Installed distributions as `name==version`, sorted; from the names of their folders."""
    found = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            stem, dot, kind = name.rpartition(".")
            if dot and kind in ("dist-info", "egg-info"):
                project, _, version = stem.partition("-")
                found.add(f"{project}=={version}")
    return sorted(found, key=str.lower)


def environment(layout: Layout) -> str:
    """Digest of the installed packages; the list itself is kept below `.headworks/runs/env`."""
    names = packages()
    hashed = digest("packages", names)
    path = layout.runs / "env" / f"{hashed}.json"
    if not path.exists():
        write_atomic(path, canonical_json(names).encode(), layout.tmp)
    return hashed


def provenance(layout: Layout) -> dict[str, Any]:
    """Columns of the ledger that are the same for all units of a run."""
    return {
        "packages_sha256": environment(layout),
        **source_state(Path(__file__).resolve().parent.parent),
    }
