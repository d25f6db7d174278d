"""Every example runs as its first lines say, and leaves what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("[0-9]*.py"))


def _run(name: str, out: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "HEADWORKS_REGISTRY"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(out)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_example_runs(name: str, tmp_path: Path) -> None:
    printed = _run(name, tmp_path / "out")
    assert printed.strip()
    for picture in tmp_path.glob("out/*.png"):
        assert np.asarray(Image.open(picture)).std() > 5, f"{picture.name} shows nothing"
    if name.startswith("01"):
        before, after = (float(line.split(":")[1].split()[0]) for line in printed.splitlines())
        assert after > before + 8
    if name.startswith("04"):
        lines = printed.splitlines()
        assert lines[0].count("'ran'") == 3
        assert lines[1].count("'ok'") == 3
        assert lines[3].count("'ran'") == 0
        assert "raw data, licence CC0-1.0" in printed
    if name.startswith("06"):
        lines = dict(line.split(": ") for line in printed.splitlines())
        assert lines["follows the protocol"] == "True"
        empty, painted = (
            float(lines[f"held out, {k}"][:4]) for k in ("empty page", "painted faces")
        )
        assert painted > empty + 3
    if name.startswith("07"):
        assert "the same model: True" in printed
    if name.startswith("05"):
        assert "'sharpness/astronaut': 'ran'" in printed
        assert "'blurred': True" in printed.splitlines()[-1]


def test_examples_are_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert NAMES
    for name in NAMES:
        assert f"[{name}]({name})" in listed
