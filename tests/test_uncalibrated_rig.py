"""An uncalibrated rig from its videos to tracked heads, by the commands that a user types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headworks.artifacts import read_array, read_meta
from headworks.cameras import Camera
from headworks.formats.nersemble import read_cameras
from headworks.reconstruct.alignment import align_to_cameras
from stages.contract import Context
from stages.synthesis import SynthesisParams
from stages.synthesis import run as synthesis

SIZE = 384
SMALL = (
    f"ingest.size={SIZE}", "reconstruct.dense_steps=0", "reconstruct.stride=2",
    "tracking.photometric_passes=0", "tracking.overlay=false",
)  # fmt: skip


def typed(folder: Path, *words: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *words], cwd=folder, text=True, timeout=3000,
        capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic person's videos by NeRSemble's 16 cameras, and their calibration beside them."""
    folder = tmp_path_factory.mktemp("recorded")
    raw = folder / "raw"
    raw.mkdir()
    (raw / "subject.json").write_text(json.dumps({"kind": "synthetic", "files": [], "seed": 7}))
    params = SynthesisParams(
        rig="nersemble", size=SIZE, sequences="EXP-2-eyes", sequence_frames=2, sequence_seconds=1,
        backdrop=0.6, export="nersemble",
    )  # fmt: skip
    synthesis({"raw": raw}, params, folder / "made", Context(seed=7))
    person = folder / "made" / "nersemble" / "007"
    for video in sorted((person / "sequences" / "EXP-2-eyes" / "images").glob("*.mp4")):
        (folder / "rig").mkdir(exist_ok=True)
        shutil.copyfile(video, folder / "rig" / video.name)
    shutil.copytree(person / "sequences" / "BACKGROUND", folder / "rig" / "background")
    shutil.copyfile(person / "calibration" / "camera_params.json", folder / "truth.json")
    return folder


@pytest.mark.slow
def test_videos_of_16_cameras_that_nobody_calibrated_become_a_tracked_head(
    recorded: Path, tmp_path: Path
) -> None:
    told = typed(tmp_path, "add", "anna", str(recorded / "rig"))
    assert "layout: rig (rig)" in told
    assert "cameras: 16" in told
    assert "uncalibrated" in told
    chosen = [word for value in SMALL for word in ("--set", value)]
    typed(tmp_path, "run", "--stage", "tracking", "--subject", "anna", "--jobs", "1",
          "--orchestrator", "none", *chosen)  # fmt: skip
    data = tmp_path / "data"
    assert read_meta(data / "matting" / "anna")["backend"] == "plate"
    meta = read_meta(data / "reconstruct" / "anna")
    assert (meta["calibration"], meta["aligned_to"]) == ("estimated", "head")
    true = read_cameras(recorded / "truth.json")
    viewmats = read_array(data / "tracking" / "anna" / "tracking.zarr", "viewmats", (16, 4, 4))
    names = [camera["name"].removeprefix("cam_") for camera in meta["cameras"]]
    found = [Camera(m, np.eye(3), SIZE, SIZE) for m in viewmats]
    move, left = align_to_cameras(found, [true[name] for name in names])
    assert 1e3 * np.median(left) < 4
    # In metres: a head of this size at this distance, but for how wide its eyes stand.
    assert move.scale == pytest.approx(1, abs=0.12)
    residuals = read_meta(data / "tracking" / "anna")["residuals"]
    assert residuals["valid"] == 1
    # The matte holds hair, the mesh does not: calibrated rigs come to 0.79 as well.
    assert residuals["iou_mean"] > 0.7
    assert residuals["landmark_error_inner_iod_mean"] < 0.06
