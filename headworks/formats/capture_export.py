"""Our captures in the layouts of others: what ingest, matting and tracking know, written anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.artifacts import open_arrays, read_meta, read_table
from headworks.cameras import Camera
from headworks.errors import CaptureError, HeadworksError
from headworks.formats import nersemble
from headworks.formats.sequences import sequence_runs
from headworks.formats.vhap import PARAMETERS
from headworks.formats.vhap_write import VhapWriter

USUAL_FPS = nersemble.FPS / 3
"""NeRSemble's usual rate, where a capture states none."""

_PARTICIPANT = "000"
_SHARED = 1e-3
"""Cameras of equal focal length and principal point, relative to the focal length."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Known:
    """A capture's artifacts, opened.

    Attributes:
        meta, rows: of ingest; rows by (t, c). rgb: [T, C, H, W, 3]. alpha: [T, C, H, W] or None.
        cameras: name -> camera. runs: sequence -> time steps. parameters: per time step VHAP's
            FLAME parameters, or empty. notes: what a reader should know.
    """

    meta: dict[str, Any]
    rows: dict[tuple[int, int], dict[str, Any]]
    rgb: Any
    alpha: Any
    cameras: dict[str, Camera]
    runs: dict[str, slice]
    parameters: list[dict[str, NDArray[np.float32]]]
    notes: list[str]


def open_capture(ingest: Path, matting: Path | None, tracking: Path | None) -> Known:
    """Open what is known of a subject.

    Args:
        ingest: artifact of a capture. matting, tracking: further artifacts, where there are.

    Raises:
        CaptureError: no cameras: neither calibrated nor tracked; or they are not still.
        ArtifactError: an artifact is damaged.
    """
    meta = read_meta(ingest, "capture")
    table = read_table(ingest / "frames.parquet").sort("t", "c")
    rgb = open_arrays(ingest / "frames.zarr")["rgb"]
    alpha = open_arrays(matting / "mattes.zarr")["alpha"] if matting else None
    names = [c["name"] for c in meta["cameras"]]
    size = (rgb.shape[3], rgb.shape[2])
    notes: list[str] = []
    parameters: list[dict[str, NDArray[np.float32]]] = []
    tracked = _tracked(tracking, notes) if tracking else None
    if tracked is not None:
        viewmats, Ks, parameters = tracked
        if np.abs(Ks - Ks[:1]).max() > _SHARED * Ks[0, 0, 0, 0]:
            raise CaptureError(
                f"{ingest}: the lens changes from picture to picture (several photos?); these "
                "layouts are for still cameras"
            )
        cameras = {n: Camera(viewmats[c], Ks[0, c], *size) for c, n in enumerate(names)}
    else:
        unknown = [c["name"] for c in meta["cameras"] if c["K"] is None or c["viewmat"] is None]
        if unknown:
            raise CaptureError(
                f"{ingest}: camera {unknown[0]} is not calibrated; run tracking first: headworks "
                "run --stage tracking"
            )
        cameras = {c["name"]: Camera(c["viewmat"], c["K"], *size) for c in meta["cameras"]}
    if not parameters:
        parameters = _carried(ingest, meta)
    sequences = table.filter(table["c"] == 0)["sequence"].to_list()
    runs = {sequences[r.start]: r for r in sequence_runs(sequences)}
    rows = {(int(r["t"]), int(r["c"])): r for r in table.iter_rows(named=True)}
    return Known(meta, rows, rgb, alpha, cameras, runs, parameters, notes)


def _tracked(
    folder: Path, notes: list[str]
) -> tuple[NDArray[Any], NDArray[Any], list[dict[str, NDArray[np.float32]]]]:
    """Cameras, and FLAME's parameters where the head is an imported FLAME."""
    from headworks.headfiles import HeadFileError, record
    from headworks.heads import load_exact
    from headworks.tracks import load_tracking

    track = load_tracking(folder)
    try:
        kind, origin = (lambda r: (r.kind, r.origin))(record(track.head))
    except HeadFileError:
        kind, origin = "", []
    if kind != "flame":
        return track.viewmats, track.Ks, []
    from headworks.formats.vhap_flame import flame_parameters

    parameters, told = flame_parameters(
        load_exact(track.head, track.head_digest, str(folder)), origin, track
    )
    notes += told
    return track.viewmats, track.Ks, parameters


def _carried(ingest: Path, meta: dict[str, Any]) -> list[dict[str, NDArray[np.float32]]]:
    """FLAME's parameters that came with a calibrated capture, in its own world."""
    names = set(meta.get("parameters") or ())
    if not names >= set(PARAMETERS) or meta["setting"] != "multiview":
        return []
    group = open_arrays(ingest / "parameters.zarr")
    arrays = {n: np.asarray(group[n][...], np.float32) for n in PARAMETERS}
    still = np.asarray(group["static_offset"][...]) if "static_offset" in names else None
    offset = np.zeros((1, 5023, 3), np.float32) if still is None else still[None]
    return [
        {n: a[t] if n == "shape" else a[t][None] for n, a in arrays.items()}
        | {"static_offset": offset}
        for t in range(len(arrays["shape"]))
    ]


def export_vhap(
    known: Known, name: str, folder: Path, centred: bool = True,
    progress: Progress = lambda done, text: None,
) -> list[str]:  # fmt: skip
    """Write a capture as VHAP exports it.

    Args:
        known: see `open_capture`. name: of the subject. folder: to make. centred: pad pictures
            until the principal point is in the middle, as GaussianAvatars' reader needs it.
        progress: told now and then.

    Returns:
        Lines for people: what was written, what could not be.
    """
    folder.mkdir(parents=True)
    names = _names(known)
    writer = VhapWriter(folder, _plain(name), known.cameras, tuple(names.values()), centred)
    cameras = list(known.cameras)
    times = known.rgb.shape[0]
    for sequence, run in known.runs.items():
        for t in range(run.start, run.stop):
            step = t - run.start
            if known.parameters:
                writer.parameters(names[sequence], step, known.parameters[t])
            learnt = any(known.rows[t, c]["split"] == "train" for c in range(len(cameras)))
            for c, camera in enumerate(cameras):
                row = known.rows[t, c]
                writer.add(
                    names[sequence], step, int(row["frame"]), camera, np.asarray(known.rgb[t, c]),
                    None if known.alpha is None else np.asarray(known.alpha[t, c]),
                    _split(row, learnt), bool(known.parameters),
                )  # fmt: skip
            progress((t + 1) / times, f"{sequence}: frame {step}")
    writer.close()
    lines = [f"{times} time steps, {len(cameras)} cameras, {len(known.runs)} sequences"]
    if known.alpha is None:
        lines.append("no mattes: pictures keep their background, no fg_masks")
    if not known.parameters:
        lines.append(
            "no flame_param: the head model is not FLAME, nor did parameters come along; "
            "GaussianAvatars needs them, readers of plain NeRF data do not"
        )
    widest = max(max(p) for p in writer.pads.values())
    if centred and widest:
        lines.append(f"pictures padded by up to {widest} pixels: principal points in the middle")
    if not centred:
        off = max(np.abs(c.K[:2, 2] - [c.width / 2, c.height / 2]).max()
                  for c in known.cameras.values())  # fmt: skip
        if off > 1:
            lines.append(
                f"principal points up to {off:.0f} pixels off the middle: GaussianAvatars' reader "
                "does not know of that"
            )
    return lines + known.notes


def _split(row: dict[str, Any], learnt: bool) -> str:
    """VHAP's: validation are held-out cameras at times that others learn from."""
    given = row.get("given_split")
    if given:
        return str(given)
    return "train" if row["split"] == "train" else "val" if learnt else "test"


def export_nersemble(
    known: Known, folder: Path, participant: str = _PARTICIPANT,
    progress: Progress = lambda done, text: None,
) -> list[str]:  # fmt: skip
    """Write a capture in the layout of NeRSemble's second release.

    Its readers want one picture size and, but for the benchmark's, one matrix of intrinsics. Where
    our squares were cut out of pictures that shared both, they are put back to where they were cut
    out, over white; else intrinsics are written per camera, as the benchmark does.

    Args:
        known: see `open_capture`. folder: to make. participant: number of the person.
        progress: told now and then.

    Returns:
        Lines for people.

    Raises:
        HeadworksError: a participant's number that is none.
    """
    if not re.fullmatch(r"[0-9]{3}", participant):
        raise HeadworksError(f"participant {participant!r}: three digits are expected")
    folder.mkdir(parents=True)
    own = folder / participant
    lines = []
    serials = {n: n if n.isdigit() else f"{i:09d}" for i, n in enumerate(known.cameras)}
    if len(set(serials.values())) < len(serials):
        raise CaptureError("two cameras would get one serial number; rename them")
    renamed = [f"{n} is {s}" for n, s in serials.items() if n != s]
    if renamed:
        lines.append(f"cameras: {', '.join(renamed[:8])}")
    canvas = _canvas(known)
    cameras = canvas or known.cameras
    nersemble.write_calibration(own, {serials[n]: c for n, c in cameras.items()})
    first = next(iter(cameras.values()))
    if canvas is None and any(np.abs(c.K - first.K).max() > 1e-9 for c in cameras.values()):
        lines.append("intrinsics per camera, as NeRSemble's benchmark: others' readers take one")
    fps = float(known.meta["fps"] or USUAL_FPS)
    total = len(known.runs) * len(cameras)
    names = _names(known)
    for k, (sequence, run) in enumerate(known.runs.items()):
        for c, name in enumerate(known.cameras):
            for mattes in [False, True] if known.alpha is not None else [False]:
                pictures = _pictures(known, run, c, cameras[name], mattes, canvas is not None)
                nersemble.write_recording(
                    own, names[sequence], serials[name], pictures, fps, alpha=mattes
                )
            progress((k * len(cameras) + c + 1) / total, f"{sequence}, camera {name}")
    nersemble.write_metadata(folder, {participant: (False, names.values())})
    if known.meta["fps"] is None:
        lines.append(f"the capture states no frame rate: written at {USUAL_FPS:.1f}")
    lines.append(f"{len(cameras)} cameras, {first.width} x {first.height}, {fps:.4g} fps")
    return lines + known.notes


def _canvas(known: Known) -> dict[str, Camera] | None:
    """Cameras of the pictures that the squares were cut out of, if all share their intrinsics."""
    whole = {}
    size = known.rgb.shape[3]
    for c, (name, camera) in enumerate(known.cameras.items()):
        row = known.rows[0, c]
        zoom = row["crop_side"] / size
        K = np.diag([zoom, zoom, 1]) @ camera.K
        K[:2, 2] += [row["crop_x"], row["crop_y"]]
        whole[name] = K
    mean = np.mean(list(whole.values()), 0)
    if max(np.abs(K - mean).max() for K in whole.values()) > _SHARED * mean[0, 0]:
        return None
    corners = [known.rows[0, c] for c in range(len(whole))]
    right = max(r["crop_x"] + r["crop_side"] for r in corners)
    below = max(r["crop_y"] + r["crop_side"] for r in corners)
    # The pictures' size is not kept; the lens looks at their middle, or nearly so.
    width = int(np.ceil(max(right, 2 * mean[0, 2]) / 2) * 2)
    height = int(np.ceil(max(below, 2 * mean[1, 2]) / 2) * 2)
    return {n: Camera(c.viewmat, mean, width, height) for n, c in known.cameras.items()}


def _pictures(
    known: Known, run: slice, c: int, camera: Camera, mattes: bool, whole: bool
) -> Iterator[NDArray[np.uint8]]:
    import cv2

    for t in range(run.start, run.stop):
        if mattes:
            image = np.repeat(np.asarray(known.alpha[t, c])[..., None], 3, -1)
        else:
            image = np.asarray(known.rgb[t, c])
        if not whole:
            yield image
            continue
        row = known.rows[t, c]
        x, y, side = int(row["crop_x"]), int(row["crop_y"]), int(row["crop_side"])
        mode = cv2.INTER_AREA if side < len(image) else cv2.INTER_CUBIC
        placed = np.asarray(cv2.resize(image, (side, side), interpolation=mode), np.uint8)
        canvas = np.full((camera.height, camera.width, 3), 0 if mattes else 255, np.uint8)
        top, left = max(y, 0), max(x, 0)
        bottom, right = min(y + side, camera.height), min(x + side, camera.width)
        canvas[top:bottom, left:right] = placed[top - y : bottom - y, left - x : right - x]
        yield canvas


def _names(known: Known) -> dict[str, str]:
    """Sequences by names that folders may have, all different."""
    names = {s: _plain(s) for s in known.runs}
    if len(set(names.values())) < len(names):
        names = {s: f"{i:02d}_{_plain(s)}" for i, s in enumerate(known.runs)}
    return names


def _plain(name: str) -> str:
    """A name as a folder may have it."""
    return re.sub(r"[^A-Za-z0-9+_-]", "_", name) or "_"
