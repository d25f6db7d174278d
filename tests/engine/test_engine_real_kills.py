"""SIGKILL at random moments of the real method, at its smallest: the same bytes as undisturbed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, Toys
from test_engine_crash import invariants

from pipelines.subjects import add_subject
from pipelines.verify import verify
from pipelines.workspace import Workspace
from stages.registry import STAGES

SMALLEST = """
synthesis: {clip_size: 192, clip_frames: 6, photo_size: 256, texture: 128, supersampling: 1,
  population_size: 64, population_expressions: 1, population_cameras: 2}
ingest: {size: 64}
tracking: {photometric_passes: 0, pixel_rounds: 0}
expressions: {frames: 1, per_frame: 1, people: 1, size: 32, texture: 128}
prior: {steps: 8, checkpoint_steps: 2, sample_steps: 4, uv_size: 16, code_dim: 4, width: 8,
  depth: 2}
directions: {side: 32}
fit: {uv_size: 16, inversion_steps: 2, decoder_steps: 2, refine_steps: 6, photo_refine_steps: 6,
  checkpoint_steps: 2}
gaussian_avatars: {steps: 6, photo_steps: 6, checkpoint_every: 2}
flash_avatar: {steps: 6, photo_steps: 6, checkpoint_every: 2, uv_size: 16, width: 8}
evaluate: {max_frames: 1, flip_frames: 1, fd_frames: 1, texture_size: 32, texture_frames: 2,
  picture_frames: 1, video_frames: 2, preview_side: 64, orbit_frames: 4, sweep_frames: 2}
reenact: {side: 32}
"""


class Method(Toys):
    """A workspace of the method's own stages."""

    def open(self) -> Workspace:
        """The workspace as a new process would see it."""
        return Workspace(self.root, STAGES)


@pytest.fixture
def method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Method:
    """A clip, a photo and two people who teach the prior; nothing has run."""
    monkeypatch.delenv("HEADWORKS_REGISTRY", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HEADWORKS_RESERVE_MB", "1")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    made = Method(tmp_path / "new")
    made.params(SMALLEST)
    layout = made.open().layout
    add_subject(layout, "clip", kind="synthetic_clip", seed=25)
    add_subject(layout, "photo", kind="synthetic_photo", seed=7)
    for number in range(2):
        add_subject(layout, f"people-{number}", kind="population", seed=100 + number)
    return made


@pytest.mark.slow
def test_the_method_killed_at_random_gives_the_same_bytes(method: Method, tmp_path: Path) -> None:
    """`HEADWORKS_REAL_KILLS=40 pytest -m slow -k method_killed`: the figure in docs/engine.md."""
    whole = Method(tmp_path / "whole", template=method.root)
    began = time.monotonic()
    done = whole.cli("run", "--orchestrator", "none", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    longest = time.monotonic() - began
    expected = whole.published()
    assert {f"{stage.name}/_index.json" for stage in STAGES} <= set(expected)

    rounds = int(os.environ.get("HEADWORKS_REAL_KILLS", "6"))
    generator = random.Random(int(os.environ.get("HEADWORKS_KILLS_SEED", "0")))
    killed, ended, work = 0, 0, Method(tmp_path / "w", template=method.root)
    while killed < rounds:
        process = subprocess.Popen(
            work.command("run", "--orchestrator", "none", "--jobs", "2"),
            cwd=work.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, said = process.communicate(timeout=generator.uniform(1.5, longest / 2))
            assert process.returncode == 0, said.decode()
            ended += 1
            assert work.published() == expected
            shutil.rmtree(work.root)
            work = Method(work.root, template=method.root)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            invariants(work)
    last = work.cli("run", "--orchestrator", "none", "--jobs", "2")
    assert last.returncode == 0, last.stdout + last.stderr
    invariants(work)
    assert work.published() == expected
    assert verify(work.open(), everything=True).damage == []
    print(f"{killed} kills, {ended} runs ended before theirs; an undisturbed run {longest:.0f} s")
