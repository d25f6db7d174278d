"""landmarks: 68 points of the face in every frame."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.contract import Context, Inputs, Params


class LandmarksParams(Params):
    """Parameters of `landmarks`."""

    backend: Literal["auto", "exact", "face_alignment", "face_alignment_3d", "dlib"] = Field(
        "auto",
        description="auto: exact where truth is known, else face_alignment if its weights are at "
        "hand, else dlib; face_alignment_3d: points that do not slide along the outline, with "
        "depths",
    )
    rendered: bool = Field(
        False,
        description="dlib: the pictures are rendered, not photographs; its errors there are "
        "taken out by a map learnt from synthetic people",
    )
    overlay: bool = Field(
        True, description="write overlay.mp4, the landmarks over the pictures (not of populations)"
    )


def assets(params: LandmarksParams) -> dict[str, Path | None]:
    """The network's weights, where the backend or its choice depends on them."""
    from headworks.errors import WeightsError
    from headworks.landmarks import fan

    if params.backend == fan.NAME_3D:
        try:
            return dict(zip(("face_alignment_3d", "depth"), fan.weights_paths_3d()))
        except WeightsError:
            return {"face_alignment_3d": None, "depth": None}
    if params.backend not in ("auto", "face_alignment"):
        return {}
    try:
        return {"face_alignment": fan.weights_path()}
    except WeightsError:
        return {"face_alignment": None}


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

    from headworks.artifacts import (
        open_arrays,
        read_array,
        read_meta,
        read_table,
        write_arrays,
        write_meta,
    )
    from headworks.errors import ArtifactError, CaptureError
    from headworks.formats.sequences import sequence_runs

    capture = Path(inputs["ingest"])
    meta = read_meta(capture, "capture")
    backend, reason = _choose(params.backend, meta["subject_kind"])
    rgb = open_arrays(capture / "frames.zarr")["rgb"]
    times, cameras = rgb.shape[:2]
    weights: str | None = None
    depths: dict[str, np.ndarray] = {}
    if backend == "exact":
        truth = capture / "truth" / "truth.zarr"
        if not truth.is_dir():
            raise ArtifactError(f"{truth}: no truth here; set `landmarks.backend` to auto")
        points = read_array(truth, "landmarks", (times, cameras, 68, 3)).astype(np.float32)
        boxes = np.concatenate([points[..., :2].min(2), points[..., :2].max(2)], -1)
    else:
        from headworks.landmarks import detect, detect_3d, file_digest
        from headworks.landmarks.fan import NAME_3D

        names = read_table(capture / "frames.parquet").filter(c=0).sort("t")["sequence"].to_list()
        runs = sequence_runs(names)
        points = np.empty((times, cameras, 68, 3), np.float32)
        boxes = np.empty((times, cameras, 4), np.float32)
        if backend == NAME_3D:
            depths["depth"] = np.empty((times, cameras, 68), np.float32)
        done = 0
        for c in range(cameras):
            for span in runs:
                length = span.stop - span.start

                def progress(part: float, done: int = done, length: int = length) -> None:
                    context.progress((done + part * length) / (times * cameras), "landmarks")

                frames = np.asarray(rgb[span, c])
                if backend == NAME_3D:
                    points[span, c], boxes[span, c], depths["depth"][span, c] = detect_3d(
                        frames, progress
                    )
                else:
                    points[span, c], boxes[span, c] = detect(
                        backend, frames, progress, params.rendered
                    )
                done += length
        weights = file_digest(backend, params.rendered)
    share = float(np.isfinite(points[..., 0]).all(-1).mean())
    if share == 0:
        files = ", ".join(source["file"] for source in meta.get("source", []))
        raise CaptureError(
            f"{files or capture}: no face landmarks in any frame; the face must be seen from the "
            "front and be lit"
        )
    write_arrays(out / "landmarks.zarr", {"points": points, "boxes": boxes, **depths})
    write_meta(
        out,
        "landmarks",
        {"backend": backend, "reason": reason, "weights_sha256": weights, "found": share},
    )
    if params.overlay and meta["subject_kind"] != "population":
        from headworks.overlays import landmark_picture, write_overlay

        write_overlay(
            out / "overlay.mp4",
            (times, cameras),
            lambda t, c: landmark_picture(np.asarray(rgb[t, c]), points[t, c]),
            meta.get("fps"),
        )
    context.progress(1.0, f"found in {share:.1%} of the frames")


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
