"""The bars of the main job, read from what a run left in a workspace.

    headworks add NAME CLIP ... && headworks run
    python benchmarks/bars.py [WORKSPACE] [--json]

One line per clip or photo: landmarks found (bar: 98 % of a clip's frames), mean landmark
reprojection error over the interocular distance (bar: 5 %), PSNR of the avatar above the better of
the two baselines on held-out frames (bar: above 0; a photo has none, its training view is printed
and not judged), and the seconds that each subject took. Leaves with status 1 when a bar is not met
or a subject was not evaluated.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.evaluate import differences
from headworks.artifacts import read_meta, read_table

FOUND, ERROR = 0.98, 0.05
TRAIN = "train_view"


def cpu_name() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def measure(data: Path, subject: str) -> dict[str, Any]:
    """The figures of one subject."""
    error = read_table(data / "tracking" / subject / "tracking.parquet")["landmark_error_iod"]
    manifests = sorted(data.glob(f"*/{subject}.manifest.json"))
    timing = [json.loads(m.read_text())["timing"]["seconds"] for m in manifests]
    comparisons = {
        protocol: {**{k: round(v, 2) for k, v in psnr.items()}, "gain": round(gain, 2)}
        for protocol, psnr, gain in differences(data / "evaluate" / subject)
    }
    return {
        "found": read_meta(data / "landmarks" / subject, "landmarks")["found"],
        "error": float(np.nanmean(error.to_numpy())),
        "psnr": comparisons,
        "seconds": sum(timing),
    }


def main() -> int:
    """Print the table; 0 when every bar holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", nargs="?", type=Path, default=Path("."))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    data = arguments.workspace / "data"
    kinds = {
        path.parent.name: json.loads(path.read_text())["kind"]
        for path in sorted(data.glob("raw/*/subject.json"))
    }
    wanted = {name for name, kind in kinds.items() if kind != "population"}
    subjects = sorted(p.parent.name for p in data.glob("evaluate/*/artifact.json"))
    if not subjects:
        print(f"{data}: nobody was evaluated; run the pipeline first")
        return 2
    missing = sorted(wanted - set(subjects))
    rows = {subject: measure(data, subject) for subject in subjects}
    if arguments.json:
        print(json.dumps(rows, indent=1, sort_keys=True))
    else:
        print(cpu_name())
        heads = ("found", "error", "avatar", "nearest", "mesh", "gain", "s")
        widths = (7, 8, 8, 9, 7, 8, 6)
        print(f"{'subject':22}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths)))
        for subject, row in rows.items():
            for protocol, psnr in row["psnr"].items():
                near = psnr.get("nearest_frame")
                print(
                    f"{subject:22}{row['found']:7.1%}{row['error']:8.2%}{psnr['gasp']:8.2f}"
                    f"{'-' if near is None else format(near, '.2f'):>9}"
                    f"{psnr['textured_mesh']:7.2f}{psnr['gain']:+8.2f}{row['seconds']:6.0f}"
                    f"  {protocol.split('-')[0]}"
                )
    met = all(
        row["found"] >= FOUND
        and row["error"] < ERROR
        and all(p["gain"] > 0 for name, p in row["psnr"].items() if not name.startswith(TRAIN))
        for row in rows.values()
    )
    for name in missing:
        print(f"{name}: not evaluated")
    met = met and not missing
    print("every bar is met" if met else "a bar is not met")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
