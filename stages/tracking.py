"""tracking: head model coefficients, pose and cameras of every frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.heads.base import HeadModel
    from headworks.tracking.rig_view import Cloud, RigView
    from headworks.tracking.tracker import Tracked, View

_USUAL_RATE = 25.0


class TrackingParams(Params):
    """Parameters of `tracking`."""

    head: str = Field(
        "procedural",
        description="head model: procedural, a name given to headworks heads import, or "
        "ict:<path to ict_facekit.npz>",
    )
    keyframes: int = Field(
        40, ge=1, le=400, description="frames that identity and focal length are estimated from"
    )
    pixel_rounds: int = Field(
        2, ge=0, le=10, description="refinements of pose and expression by pixels"
    )
    photometric_passes: int = Field(
        12, ge=0, le=200, description="passes of refinement by rendering over all frames; 0: none"
    )
    photometric_size: int = Field(
        128, ge=32, le=1024, description="side of the pictures that the refinement compares, pixels"
    )
    truth: bool = Field(
        True, description="take over the truth of synthetic captures; false: track them as real"
    )
    stereo: bool = Field(
        True, description="rigs: let the surface that neighbouring cameras share shape the head"
    )
    overlay: bool = Field(True, description="write overlay.mp4, the mesh over the pictures")
    outline: bool = Field(True, description="let the matte's outline shape the head")
    focal_prior: float = Field(
        2.2, gt=0.3, le=10, description="expected focal length in longer sides of the source image"
    )
    focal_sigma: float = Field(
        0.3, gt=0, le=1, description="standard deviation of the focal length's logarithm"
    )
    identity_weight: float = Field(
        0.25, gt=0, le=100, description="strength of the identity's N(0, 1) prior, per keyframe"
    )


def assets(params: TrackingParams) -> dict[str, Path | None]:
    """The file of an imported head model."""
    from headworks.headfiles import head_assets

    return head_assets(params.head)


def run(inputs: Inputs, params: TrackingParams, out: Path, context: Context) -> None:
    """Write the tracking of one subject.

    Args:
        inputs: "ingest", "matting", "landmarks" and, of rigs, "reconstruct" where there is one.
        params: see `TrackingParams`. out: folder to write. context: progress.

    Raises:
        CaptureError: no landmarks at all, or several cameras that are not calibrated.
        ArtifactError: an input or the truth does not fit the head model.
    """
    from headworks.artifacts import read_meta
    from headworks.errors import CaptureError
    from headworks.heads import load_head

    ingest = Path(inputs["ingest"])
    meta = read_meta(ingest, "capture")
    head = load_head(params.head)
    if params.truth and meta["subject_kind"] in ("synthetic", "population"):
        exact = _exact(ingest, Path(inputs["matting"]), Path(inputs["landmarks"]), params, head)
        _write(out, head, params.head, exact, "exact")
        if params.overlay:
            _overlay(out, head, exact, inputs, meta)
        context.progress(1.0, "truth taken over")
        return
    import torch

    from headworks.tracking.checkpoints import Checkpoints
    from headworks.tracking.energy import Weights
    from headworks.tracking.photometric import PhotometricConfig
    from headworks.tracking.rig_tracker import track_rig
    from headworks.tracking.tracker import Options, track

    torch.set_num_threads(context.threads)
    weights = Weights(identity=params.identity_weight, focal_log_sigma=params.focal_sigma)
    options = Options(
        keyframes=params.keyframes,
        pixel_rounds=params.pixel_rounds,
        outline=params.outline,
        stereo=params.stereo,
        weights=weights,
        photometric=PhotometricConfig(params.photometric_passes, params.photometric_size),
        seed=context.seed,
    )
    store = Checkpoints(context.scratch)
    try:
        if len(meta["cameras"]) == 1:
            view = _view(ingest, Path(inputs["matting"]), Path(inputs["landmarks"]), params, meta)
            tracked, backend = track(head, view, options, context.progress, store), "monocular"
        else:
            rig = rig_view(inputs, meta)
            tracked, backend = track_rig(head, rig, options, context.progress, store), "multiview"
    except CaptureError as error:
        raise CaptureError(f"{inputs['landmarks']}: {error}") from None
    _write(out, head, params.head, tracked, backend)
    if params.overlay:
        _overlay(out, head, tracked, inputs, meta)
    context.progress(1.0, "tracked")


def rig_view(inputs: Inputs, meta: dict[str, Any]) -> RigView:
    """What a rig saw; pictures are read camera by camera.

    Args:
        inputs: "ingest", "matting", "landmarks" and, where there is one, "reconstruct".
        meta: of the capture.

    Raises:
        CaptureError: the cameras are not known.
        ArtifactError: an input is damaged.
    """
    from functools import lru_cache

    import numpy as np

    from headworks.artifacts import open_arrays, read_array, read_meta
    from headworks.errors import CaptureError
    from headworks.tracking.rig_view import RigView

    ingest, matting = Path(inputs["ingest"]), Path(inputs["matting"])
    cameras, space, cloud = meta["cameras"], None, None
    if inputs.get("reconstruct") is not None:
        folder = Path(inputs["reconstruct"])
        cameras = read_meta(folder, "reconstruction")["cameras"]
        space, cloud = _reconstructed(folder)
    unknown = [c["name"] for c in cameras if c.get("K") is None or c.get("viewmat") is None]
    if unknown:
        raise CaptureError(
            f"{ingest}: the cameras {', '.join(unknown)} are not calibrated; several cameras are "
            "tracked together only where it is known how they stand: give their calibration, or "
            "run `reconstruct`, which estimates it"
        )
    rgb = open_arrays(ingest / "frames.zarr")["rgb"]
    t, c, height, width = rgb.shape[:4]
    alpha = open_arrays(matting / "mattes.zarr")["alpha"]
    points = read_array(Path(inputs["landmarks"]) / "landmarks.zarr", "points", (t, c, 68, 3))
    linked, rate = _linked(ingest, meta)
    return RigView(
        viewmats=np.array([camera["viewmat"] for camera in cameras], np.float64),
        Ks=np.tile(np.array([camera["K"] for camera in cameras], np.float64), (t, 1, 1, 1)),
        rgb=lru_cache(1)(lambda camera: np.asarray(rgb[:, camera])),
        alpha=lru_cache(1)(lambda camera: np.asarray(alpha[:, camera])),
        size=(width, height),
        landmarks=points.astype(np.float64),
        linked=linked,
        rate=rate,
        space=space,
        cloud=cloud,
    )


def _reconstructed(folder: Path) -> tuple[NDArray[np.float64], Cloud | None]:
    """Triangulated landmarks [T, 68, 4], and the cloud where it has normals."""
    import numpy as np
    import polars as pl

    from headworks.artifacts import read_array, read_table
    from headworks.tracking.rig_view import Cloud

    marks = read_array(folder / "landmarks3d.zarr", "points", (None, 68, 3)).astype(np.float64)
    trust = read_array(folder / "landmarks3d.zarr", "confidence", (len(marks), 68))
    space = np.concatenate([marks, trust[..., None].astype(np.float64)], -1)
    table = read_table(folder / "points.parquet").filter(pl.col("nx").is_finite()).sort("t")
    if not len(table):
        return space, None
    start = np.searchsorted(table["t"].to_numpy(), np.arange(len(marks) + 1))

    def columns(*names: str) -> NDArray[np.float64]:
        return np.stack([table[name].to_numpy() for name in names], 1).astype(np.float64)

    cloud = Cloud(
        columns("x", "y", "z"), columns("nx", "ny", "nz"), columns("confidence")[:, 0], start
    )
    return space, cloud


def _linked(ingest: Path, meta: dict[str, Any]) -> tuple[NDArray[np.bool_], float]:
    """Which frames follow each other in time [T-1], and how many there are per second."""
    import numpy as np

    from headworks.artifacts import read_table

    table = read_table(ingest / "frames.parquet").sort("t", "c").unique("t", maintain_order=True)
    sequence, frame = table["sequence"].to_numpy(), table["frame"].to_numpy()
    same = (sequence[1:] == sequence[:-1]) & (meta["setting"] != "photo")
    usual = np.median(np.diff(frame)[same]) if same.any() else 1
    return same & (np.diff(frame) == usual), float(meta["fps"] or _USUAL_RATE)


def _view(
    ingest: Path, matting: Path, landmarks: Path, params: TrackingParams, meta: dict[str, Any]
) -> View:
    import numpy as np

    from headworks.artifacts import read_array, read_table
    from headworks.tracking.tracker import View

    rgb = read_array(ingest / "frames.zarr", "rgb", (None, 1, None, None, 3))[:, 0]
    t, side = len(rgb), rgb.shape[2]
    alpha = read_array(matting / "mattes.zarr", "alpha", (t, 1, *rgb.shape[1:3]))[:, 0]
    points = read_array(landmarks / "landmarks.zarr", "points", (t, 1, 68, 3))[:, 0]
    table = read_table(ingest / "frames.parquet").sort("t")
    crop = np.stack([table[n].to_numpy() for n in ("crop_x", "crop_y", "crop_side")], 1).astype(
        np.float64
    )
    zoom = side / crop[:, 2]  # working pixels per source pixel
    sizes = _source_sizes(meta, crop)
    # The lens looks at the middle of the source image, not at the middle of the crop.
    principal = (sizes / 2 - crop[:, :2]) * zoom[:, None]
    linked, rate = _linked(ingest, meta)
    return View(
        rgb=rgb,
        alpha=alpha,
        landmarks=points.astype(np.float64),
        principal=principal,
        magnification=zoom / zoom.mean(),
        focal_prior=float(params.focal_prior * sizes.max(1).mean() * zoom.mean()),
        linked=linked,
        rate=rate,
    )


def _source_sizes(meta: dict[str, Any], crop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Width and height [T, 2] of each frame's source image; the crop's where it is not known."""
    import numpy as np

    sizes = crop[:, :2] * 2 + crop[:, 2:]  # an image whose middle is the crop's middle
    known = [(s.get("width"), s.get("height")) for s in meta["source"]]
    photos = meta["setting"] == "photo"
    for t in range(len(sizes)):
        source = t if photos else 0  # each photo is a sequence of one frame, in order of sources
        if source < len(known) and all(known[source]):
            sizes[t] = known[source]
    return np.asarray(sizes, np.float64)


def _exact(
    ingest: Path, matting: Path, landmarks: Path, params: TrackingParams, head: HeadModel
) -> Tracked:
    """The truth of a synthetic capture, measured against its mattes and landmarks."""
    import json

    import numpy as np

    from headworks.artifacts import open_arrays, read_array
    from headworks.errors import ArtifactError
    from headworks.tracking.report import measure
    from headworks.tracks import read_tracking

    about = ingest / "truth" / "truth.json"
    try:
        told = json.loads(about.read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{about}: not readable ({error}); run synthesis again") from None
    if told.get("head_digest") != head.digest:
        raise ArtifactError(
            f"{about}: made with head {told.get('head')!r} of digest {told.get('head_digest')}, "
            f"but `tracking.head` is {params.head!r} with {head.digest}; synthesise again with "
            "this head model, or track with that one"
        )
    truth = read_tracking(ingest / "truth" / "truth.zarr", params.head, head.digest)
    rgb = open_arrays(ingest / "frames.zarr")["rgb"]
    alpha = open_arrays(matting / "mattes.zarr")["alpha"]
    points = read_array(landmarks / "landmarks.zarr", "points", (*rgb.shape[:2], 68, 3))
    return measure(
        head,
        truth.identity.numpy(),
        truth.expression.numpy(),
        truth.pose,
        truth.viewmats,
        truth.Ks,
        lambda camera: np.asarray(rgb[:, camera]),
        lambda camera: np.asarray(alpha[:, camera]),
        points.astype(np.float64),
    )


def _write(out: Path, head: HeadModel, name: str, tracked: Tracked, backend: str) -> None:
    import numpy as np
    import polars as pl

    from headworks.artifacts import write_arrays, write_meta, write_table
    from headworks.tracks import POSE_FIELDS

    out.mkdir(parents=True, exist_ok=True)
    write_arrays(
        out / "tracking.zarr",
        {
            "identity": tracked.identity,
            "expression": tracked.expression,
            **{n: getattr(tracked.pose, n).numpy() for n in POSE_FIELDS},
            "viewmats": tracked.viewmats,
            "Ks": tracked.Ks,
            "valid": tracked.valid,
            "view_weights": tracked.quality.weight.astype(np.float32),
        },
    )
    t, c = tracked.iou.shape

    def column(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return values.reshape(-1).astype(np.float32)

    write_table(
        out / "tracking.parquet",
        pl.DataFrame(
            {
                "t": np.repeat(np.arange(t, dtype=np.int32), c),
                "c": np.tile(np.arange(c, dtype=np.int32), t),
                "landmark_error_px": column(tracked.error_px),
                "landmark_error_iod": column(tracked.error_iod),
                "landmark_error_inner_iod": column(tracked.inner_iod),
                "iou": column(tracked.iou),
                "sharpness": column(tracked.quality.sharpness),
                "occlusion": column(tracked.quality.occlusion),
                "weight": column(tracked.quality.weight),
                "flag": [flag for row in tracked.flags for flag in row],
            }
        ),
    )
    write_meta(
        out,
        "tracking",
        {
            "head": name,
            "head_digest": head.digest,
            "expression_names": list(head.expression_names),
            "backend": backend,
            "residuals": {
                "landmark_error_iod_mean": _mean(tracked.error_iod),
                "landmark_error_iod_p95": _percentile(tracked.error_iod, 95),
                "landmark_error_inner_iod_mean": _mean(tracked.inner_iod),
                "iou_mean": _mean(tracked.iou),
                "valid": float(tracked.valid.mean()),
                "weight_mean": round(float(tracked.weights.mean()), 6),
                "focal_px": float(tracked.Ks[..., 0, 0].mean()),
            },
        },
    )


def _overlay(
    out: Path, head: HeadModel, tracked: Tracked, inputs: Inputs, meta: dict[str, Any]
) -> None:
    import numpy as np

    from headworks.artifacts import open_arrays, read_array
    from headworks.tracking.overlay import Overlay, shown_cameras, write_overlay

    rgb = open_arrays(Path(inputs["ingest"]) / "frames.zarr")["rgb"]
    points = read_array(Path(inputs["landmarks"]) / "landmarks.zarr", "points")
    overlay = Overlay(head, tracked, points.astype(np.float64), shown_cameras(tracked))
    rate = float(meta["fps"] or _USUAL_RATE)
    write_overlay(out / "overlay.mp4", overlay, lambda t, c: np.asarray(rgb[t, c]), rate)


def _mean(values: NDArray[np.float64]) -> float | None:
    import numpy as np

    return round(float(np.nanmean(values)), 6) if np.isfinite(values).any() else None


def _percentile(values: NDArray[np.float64], q: float) -> float | None:
    import numpy as np

    return round(float(np.nanpercentile(values, q)), 6) if np.isfinite(values).any() else None
