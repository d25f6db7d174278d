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
        inputs: "ingest", "matting", "landmarks".
        params: see `TrackingParams`. out: folder to write. context: progress.

    Raises:
        CaptureError: no landmarks at all, or a capture by several cameras without truth.
        ArtifactError: an input or the truth does not fit the head model.
    """
    from headworks.artifacts import read_meta
    from headworks.errors import CaptureError
    from headworks.heads import load_head

    ingest = Path(inputs["ingest"])
    meta = read_meta(ingest, "capture")
    head = load_head(params.head)
    if meta["subject_kind"] in ("synthetic", "population"):
        exact = _exact(ingest, Path(inputs["matting"]), Path(inputs["landmarks"]), params, head)
        _write(out, head, params.head, exact, "exact")
        context.progress(1.0, "truth taken over")
        return
    if len(meta["cameras"]) != 1:
        raise CaptureError(
            f"{ingest}: {len(meta['cameras'])} cameras; tracking of real multi-view captures is "
            "not implemented, only of photos, clips and synthetic captures (which carry truth)"
        )
    import torch

    from headworks.tracking.energy import Weights
    from headworks.tracking.photometric import PhotometricConfig
    from headworks.tracking.tracker import Options, track

    torch.set_num_threads(context.threads)
    view = _view(ingest, Path(inputs["matting"]), Path(inputs["landmarks"]), params, meta)
    weights = Weights(identity=params.identity_weight, focal_log_sigma=params.focal_sigma)
    try:
        options = Options(
            keyframes=params.keyframes,
            pixel_rounds=params.pixel_rounds,
            outline=params.outline,
            weights=weights,
            photometric=PhotometricConfig(params.photometric_passes, params.photometric_size),
            seed=context.seed,
        )
        tracked = track(head, view, options, context.progress)
    except CaptureError as error:
        raise CaptureError(f"{inputs['landmarks']}: {error}") from None
    _write(out, head, params.head, tracked, "monocular")
    context.progress(1.0, "tracked")


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
    sequence, frame = table["sequence"].to_numpy(), table["frame"].to_numpy()
    same = (sequence[1:] == sequence[:-1]) & (meta["setting"] != "photo")
    usual = np.median(np.diff(frame)) if t > 1 else 1
    linked = same & (np.diff(frame) == usual)
    return View(
        rgb=rgb,
        alpha=alpha,
        landmarks=points.astype(np.float64),
        principal=principal,
        magnification=zoom / zoom.mean(),
        focal_prior=float(params.focal_prior * sizes.max(1).mean() * zoom.mean()),
        linked=linked,
        rate=float(meta["fps"] or _USUAL_RATE),
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

    from headworks.artifacts import read_array
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
    alpha = read_array(matting / "mattes.zarr", "alpha")
    points = read_array(landmarks / "landmarks.zarr", "points", (*alpha.shape[:2], 68, 3))
    return measure(
        head,
        truth.identity.numpy(),
        truth.expression.numpy(),
        truth.pose,
        truth.viewmats,
        truth.Ks,
        alpha,
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
                "focal_px": float(tracked.Ks[..., 0, 0].mean()),
            },
        },
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    import numpy as np

    return round(float(np.nanmean(values)), 6) if np.isfinite(values).any() else None


def _percentile(values: NDArray[np.float64], q: float) -> float | None:
    import numpy as np

    return round(float(np.nanpercentile(values, q)), 6) if np.isfinite(values).any() else None
