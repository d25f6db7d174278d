"""What ingest of a 16-camera rig costs: time, memory, files; memory must not follow length.

Run: python benchmarks/ingest.py [--frames 10 40] [--side 220] [--size 256]

Writes synthetic recordings in NeRSemble's layout (noise that videos can hold, no person: faces are
said to be in every picture's middle), ingests each in a process of its own and prints seconds,
frames per second, MB of pictures per second, peak memory of the process and files per subject.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from headworks.formats import nersemble
from headworks.synthetic.rigs import nersemble_rig


def write(folder: Path, frames: int, side: int) -> None:
    """Recordings of 16 cameras."""
    rig = nersemble_rig(side)
    nersemble.write_calibration(folder / "calibrated" / "017", rig)
    height = next(iter(rig.values())).height
    rng = np.random.default_rng(0)
    for serial in rig:
        low = rng.integers(40, 200, (frames, -(-height // 16), -(-side // 16), 3), np.uint8)
        taken = (np.kron(f, np.ones((16, 16, 1), np.uint8))[:height, :side] for f in low)
        nersemble.write_recording(folder / "calibrated" / "017", "FREE", serial, taken, crf=30)
    nersemble.copy_participant(folder / "calibrated" / "017", folder / "raw")
    (folder / "raw" / "subject.json").write_text('{"kind": "multiview", "files": []}')


def ingest(folder: Path, size: int) -> None:
    """In this process: ingest and print what it cost."""
    import headworks.landmarks.faces
    from stages.contract import Context
    from stages.ingest import IngestParams, run

    def middle(rgb: np.ndarray, side: int | None = None) -> np.ndarray:
        height, width = rgb.shape[:2]
        x, y, half = width / 2, height / 2, 0.2 * width
        return np.array([[x - half, y - half, x + half, y + half, 1]], np.float32)

    headworks.landmarks.faces.detect_faces = middle
    clock = time.perf_counter()
    run({"raw": folder / "raw"}, IngestParams(size=size), folder / "out", Context())
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - clock,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def main() -> None:
    """Measure and print a line per length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[10, 40])
    parser.add_argument("--side", type=int, default=220)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        ingest(options.one, options.size)
        return
    print("frames x 16 cameras   seconds   pictures/s     MB/s   peak MB   files   MB on disk")
    for frames in options.frames:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), frames, options.side)
            done = subprocess.run(
                [sys.executable, __file__, "--one", folder, "--size", str(options.size)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            told = json.loads(done.stdout)
            files = [p for p in (Path(folder) / "out").rglob("*") if p.is_file()]
            count = frames * 16
            megabytes = count * options.size**2 * 3 / 1e6
            print(
                f"{frames:6d} {told['seconds']:22.1f} {count / told['seconds']:12.1f}"
                f" {megabytes / told['seconds']:8.1f} {told['peak_mb']:9.0f} {len(files):7d}"
                f" {sum(p.stat().st_size for p in files) / 1e6:12.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
