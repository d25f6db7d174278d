"""Bars of ingest, matting and landmarks, measured on real clips and on a synthetic one.

    python benchmarks/preprocess.py                     # a few minutes
    python benchmarks/preprocess.py --clips man_grey_480 --synthetic 0 --json out.json

Bars: on the green-screen clip the mean absolute difference from a green-difference matte is below
0.03; landmarks are found in at least 98 % of the frames of every clip. The reference matte is made
here, from the source pixels at full size, by other means than the pipeline's. The synthetic clip is
measured against its exact truth (no bar). Speed is in frames per second of CPU time, which a
busy machine leaves nearly as it is. The real clips are looked for in `HEADWORKS_SHARED`, by
default `../shared` beside the checkout. Leaves with status 1 when a bar is not met.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from headworks.artifacts import read_array, read_meta, read_table
from headworks.formats.crops import Crop, apply_crop
from headworks.formats.media import read_clip
from headworks.landmarks.steady import noise
from stages.contract import Context
from stages.registry import stage

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ("man_greenscreen_512", "man_grey_480", "woman_plain_512", "speech_834x884")
SCREEN = "man_greenscreen_512"
MATTE_BAR, FOUND_BAR = 0.03, 0.98


def run_stage(name: str, work: Path, out: str | None = None, **params: Any) -> tuple[Path, float]:
    """Run one stage inside `work`; its folder and the CPU seconds it took."""
    chosen = stage(name)
    folder = work / (out or name)
    inputs = {role: work / role for role in ("raw", "synthesis", "ingest")}
    inputs = {role: path for role, path in inputs.items() if path.exists()}
    start = time.process_time()
    chosen.function()(inputs, chosen.params_class()(**params), folder, Context())
    return folder, time.process_time() - start


def subject(work: Path, kind: str, file: Path | None = None, seed: int | None = None) -> None:
    """Make `work/raw`."""
    raw = work / "raw"
    raw.mkdir(parents=True)
    if file is not None:
        shutil.copy(file, raw)
    fields = {"kind": kind, "files": [file.name] if file else [], "seed": seed}
    (raw / "subject.json").write_text(json.dumps(fields))


def green_difference(clip: Path, capture: Path) -> np.ndarray:
    """Reference matte [T, H, W] in [0, 1]: the excess of green over red and blue at full size.

    Source: Vlahos, Comprehensive electronic compositing system, US patent 4,100,569, 1978.
    """
    table = read_table(capture / "frames.parquet")
    row = table.row(0, named=True)
    crop = Crop(row["crop_x"], row["crop_y"], row["crop_side"])
    size = read_array(capture / "frames.zarr", "rgb").shape[2]
    mattes = []
    wanted = set(table["frame"].to_list())
    for frame in read_clip(clip):
        if frame.index not in wanted:
            continue
        rgb = frame.rgb.astype(np.float32) / 255
        excess = rgb[..., 1] - np.maximum(rgb[..., 0], rgb[..., 2])
        level = np.median(excess[:12])
        alpha = 1 - np.clip((excess / level - 0.1) / 0.8, 0, 1)
        mattes.append(apply_crop(np.rint(alpha * 255).astype(np.uint8), crop, size))
    return np.stack(mattes) / 255.0


def measure_clip(name: str, clip: Path, work: Path) -> dict[str, Any]:
    """All figures of one real clip."""
    subject(work, "clip", clip)
    capture, ingest_s = run_stage("ingest", work)
    mattes, matting_s = run_stage("matting", work)
    landmarks, landmarks_s = run_stage("landmarks", work)
    points = read_array(landmarks / "landmarks.zarr", "points")[:, 0]
    frames = len(points)
    iod = float(np.nanmean(np.linalg.norm(points[:, 36, :2] - points[:, 45, :2], axis=-1)))
    found = points[np.isfinite(points[..., 0]).all(-1)]
    figures: dict[str, Any] = {
        "frames": frames,
        "matting_backend": read_meta(mattes)["backend"],
        "landmark_backend": read_meta(landmarks)["backend"],
        "landmarks_found": read_meta(landmarks)["found"],
        "landmark_noise_px": float(noise(found[..., :2]).mean()),
        "interocular_px": iod,
        "matte_quality": float(read_table(mattes / "mattes.parquet")["quality"].to_numpy().mean()),
        "ingest_frames_per_cpu_s": frames / ingest_s,
        "matting_frames_per_cpu_s": frames / matting_s,
        "landmarks_frames_per_cpu_s": frames / landmarks_s,
    }
    if name == SCREEN:
        truth = green_difference(clip, capture)
        for backend in ("colour_key", "plain"):
            folder, seconds = run_stage("matting", work, f"matting_{backend}", backend=backend)
            alpha = read_array(folder / "mattes.zarr", "alpha")[:, 0] / 255.0
            figures[f"matte_difference_{backend}"] = float(np.abs(alpha - truth).mean())
            figures[f"matting_frames_per_cpu_s_{backend}"] = frames / seconds
    return figures


def measure_synthetic(seed: int, frames: int, work: Path) -> dict[str, Any]:
    """Mattes and landmarks of a synthetic person's clip against the truth."""
    subject(work, "synthetic_clip", seed=seed)
    run_stage("synthesis", work, clip_frames=frames)
    capture, _ = run_stage("ingest", work)
    mattes, _ = run_stage("matting", work)
    landmarks, _ = run_stage("landmarks", work)
    truth = capture / "truth" / "truth.zarr"
    alpha = read_array(mattes / "mattes.zarr", "alpha") / 255.0
    points = read_array(landmarks / "landmarks.zarr", "points")[..., :2]
    exact = read_array(truth, "landmarks")[..., :2]
    iod = np.linalg.norm(exact[:, :, 36] - exact[:, :, 45], axis=-1)
    error = np.linalg.norm(points - exact, axis=-1) / iod[..., None]
    return {
        "frames": frames,
        "matting_backend": read_meta(mattes)["backend"],
        "landmark_backend": read_meta(landmarks)["backend"],
        "landmarks_found": read_meta(landmarks)["found"],
        "matte_difference": float(np.abs(alpha - read_array(truth, "alpha") / 255.0).mean()),
        "landmark_error_iod": float(np.nanmean(error)),
        "landmark_error_iod_inner": float(np.nanmean(error[..., 17:])),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", nargs="*", default=list(CLIPS), help="names without .mp4")
    parser.add_argument("--synthetic", type=int, default=40, help="frames of a synthetic clip")
    parser.add_argument("--seed", type=int, default=3, help="seed of the synthetic person")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    shared = Path(os.environ.get("HEADWORKS_SHARED", ROOT.parent / "shared"))

    figures: dict[str, dict[str, Any]] = {}
    bars: list[tuple[str, float, str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.clips:
            clip = shared / "captures" / f"{name}.mp4"
            if not clip.is_file():
                print(f"{name}: no clip at {clip}; set HEADWORKS_SHARED", file=sys.stderr)
                return 2
            figures[name] = measure_clip(name, clip, Path(folder) / name)
            report(name, figures[name])
            bars.append(
                (f"{name}: landmarks found", figures[name]["landmarks_found"], ">=", FOUND_BAR)
            )
        if arguments.synthetic:
            name = f"synthetic person {arguments.seed}"
            work = Path(folder) / "synthetic"
            figures[name] = measure_synthetic(arguments.seed, arguments.synthetic, work)
            report(name, figures[name])
    for backend in ("colour_key", "plain"):
        value = figures.get(SCREEN, {}).get(f"matte_difference_{backend}")
        if value is not None:
            bars.append((f"{SCREEN}: matte difference, {backend}", value, "<", MATTE_BAR))

    print("\nbars")
    met = True
    for what, value, relation, bar in bars:
        passed = value >= bar if relation == ">=" else value < bar
        met &= passed
        print(f"  {'met   ' if passed else 'MISSED'} {what}: {value:.4f} ({relation} {bar})")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    return 0 if met else 1


def report(name: str, figures: dict[str, Any]) -> None:
    print(name)
    for key, value in figures.items():
        print(f"  {key:36} {value:.4g}" if isinstance(value, float) else f"  {key:36} {value}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
