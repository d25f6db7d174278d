"""landmarks: 68 points of the face in every frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stages.contract import Context, Inputs, Params


class LandmarksParams(Params):
    """Parameters of `landmarks`."""

    backend: Literal["auto", "exact", "face_alignment", "dlib"] = Field(
        "auto",
        description="auto: exact where truth is known, else face_alignment if its weights are at "
        "hand, else dlib",
    )


def run(inputs: Inputs, params: LandmarksParams, out: Path, context: Context) -> None:
    """Write the landmarks of one capture.

    Args:
        inputs: "ingest": a capture. params: see `LandmarksParams`. out: folder to write.
        context: progress.

    Raises:
        CaptureError: no face is found in any frame.
        WeightsError: a backend was asked for whose weights are absent.
        ArtifactError: exact landmarks were asked for where there is no truth.
    """
    import numpy as np

    from headworks.artifacts import open_arrays, read_array, read_meta, write_arrays, write_meta
    from headworks.errors import ArtifactError, CaptureError

    capture = Path(inputs["ingest"])
    meta = read_meta(capture, "capture")
    backend, reason = _choose(params.backend, meta["subject_kind"])
    rgb = open_arrays(capture / "frames.zarr")["rgb"]
    times, cameras = rgb.shape[:2]
    weights: str | None = None
    if backend == "exact":
        truth = capture / "truth" / "truth.zarr"
        if not truth.is_dir():
            raise ArtifactError(f"{truth}: no truth here; set `landmarks.backend` to auto")
        points = read_array(truth, "landmarks", (times, cameras, 68, 3)).astype(np.float32)
        boxes = np.concatenate([points[..., :2].min(2), points[..., :2].max(2)], -1)
    else:
        from headworks.landmarks import detect, file_digest

        found = []
        for c in range(cameras):

            def progress(done: float, c: int = c) -> None:
                context.progress((c + done) / cameras, f"camera {c}")

            found.append(detect(backend, np.asarray(rgb[:, c]), _sequential(meta), progress))
        points = np.stack([p for p, _ in found], 1)
        boxes = np.stack([b for _, b in found], 1)
        weights = file_digest(backend)
    share = float(np.isfinite(points[..., 0]).all(-1).mean())
    if share == 0:
        names = ", ".join(source["file"] for source in meta.get("source", []))
        raise CaptureError(
            f"{names or capture}: no face landmarks in any frame; the face must be seen from the "
            "front and be lit"
        )
    write_arrays(out / "landmarks.zarr", {"points": points, "boxes": boxes})
    write_meta(
        out,
        "landmarks",
        {"backend": backend, "reason": reason, "weights_sha256": weights, "found": share},
    )
    context.progress(1.0, f"found in {share:.1%} of the frames")


def _sequential(meta: dict[str, Any]) -> bool:
    """Whether frames follow each other in time, so that one helps to find the next."""
    return meta["setting"] != "photo"


def _choose(wanted: str, kind: str) -> tuple[str, str]:
    """The backend and why it was chosen."""
    if wanted != "auto":
        return wanted, "asked for in the parameters"
    if kind in ("synthetic", "population"):
        return "exact", "a synthetic capture carries its true landmarks"
    from headworks.errors import WeightsError
    from headworks.landmarks import fan

    try:
        fan.weights_path()
    except WeightsError:
        return "dlib", "the weights of face_alignment are not at hand"
    return "face_alignment", "its weights are at hand"
