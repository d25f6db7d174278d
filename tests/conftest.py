"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real clips and conformance data, `HEADWORKS_SHARED` or `../shared`."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("HEADWORKS_SHARED", root.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no real clips or conformance data at {folder}; set HEADWORKS_SHARED")
    return folder
