"""reconstruct: cameras where they are unknown, point clouds and landmarks in space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.cameras import Camera
    from headworks.reconstruct.clouds import PointCloud


# Time steps whose features are held at once.
_BATCH = 16
# The overlay's frames per second, and for how many a step with dense points stands.
_RATE, _HELD = 10.0, 10


class ReconstructParams(Params):
    """Parameters of `reconstruct`."""

    cameras: Literal["auto", "known", "estimate"] = Field(
        "auto",
        description="auto: the capture's cameras where it has them, else estimated from its "
        "pictures; estimate: always",
    )
    intrinsics: Literal["shared", "each"] = Field(
        "shared", description="estimated cameras: one focal length for all, or one each"
    )
    calibration_steps: int = Field(
        12, ge=1, le=1000, description="time steps whose features calibrate the cameras"
    )
    head: str = Field(
        "procedural", description="head model whose eyes and axes scale and turn estimated cameras"
    )
    stride: int = Field(1, ge=1, le=1000, description="sparse points of every stride-th time step")
    dense_backend: Literal["auto", "cpu", "colmap", "none"] = Field(
        "auto", description="colmap: its PatchMatch, on CUDA; auto: that where it runs, else cpu"
    )
    dense_steps: int = Field(
        1, ge=0, le=100_000, description="time steps with dense points, evenly spread"
    )
    dense_size: int = Field(
        256, ge=64, le=4096, description="largest side of the pictures compared on the CPU, pixels"
    )
    dense_sources: int = Field(
        4, ge=1, le=8, description="other cameras that each picture is compared with on the CPU"
    )
    dense_window: int = Field(
        0, ge=0, le=15, description="radius of the compared window, pixels; 0: by the size"
    )
    dense_views: int = Field(3, ge=2, le=64, description="cameras that must agree on a point")
    dense_cost: float = Field(
        0.25, gt=0, le=1, description="highest 1 - correlation of windows on the CPU"
    )
    overlay: bool = Field(True, description="write overlay.mp4, the points over the pictures")


def assets(params: Params) -> dict[str, Path | None]:
    """The file of an imported head."""
    from headworks.headfiles import head_assets

    assert isinstance(params, ReconstructParams)
    return head_assets(params.head)


def run(inputs: Inputs, params: ReconstructParams, out: Path, context: Context) -> None:
    """Write points, landmarks in space and cameras of one multi-view capture.

    Args:
        inputs: "ingest", "matting", "landmarks". params: see `ReconstructParams`.
        out: folder to write. context: threads and progress.

    Raises:
        CaptureError: fewer than two cameras see the person, cameras are asked for as known that
            are not, or cannot be estimated.
    """
    import numpy as np

    from headworks.artifacts import write_arrays, write_meta, write_table
    from headworks.errors import CaptureError
    from headworks.landmarks.triangulate import triangulate_landmarks
    from headworks.reconstruct.clouds import cloud_table, join, with_normals

    capture = _Capture(inputs)
    if len(capture.train) < 2:
        raise CaptureError(
            f"{inputs['ingest']}: {len(capture.train)} camera holds training frames; points in "
            "space need two or more"
        )
    notes: list[str] = []
    cameras, facts = _cameras(capture, params, context, notes)
    seen = [c for c in capture.train if cameras[c] is not None]
    looked = [camera for c in seen if (camera := cameras[c]) is not None]
    if len(looked) < 2:
        raise CaptureError(f"{inputs['ingest']}: fewer than two cameras could be placed")
    marks = triangulate_landmarks(capture.landmarks[:, seen], looked)
    steps = list(range(0, capture.times, params.stride))
    sparse = _sparse(capture, seen, looked, steps, context)
    backend = _backend(params)
    dense_steps: list[int] = []
    if backend != "none":
        count = min(params.dense_steps, len(steps))
        at = (np.arange(count) + 0.5) * len(steps) / count - 0.5
        dense_steps = [steps[int(i)] for i in np.rint(at)]
    clouds = [sparse]
    for n, t in enumerate(dense_steps):
        context.progress(0.6 + 0.4 * n / len(dense_steps), f"dense points of step {t}")
        start = sparse.points[sparse.t == t]
        found = marks.points[t][np.isfinite(marks.points[t]).all(1)]
        start = np.concatenate([start, found])
        clouds.append(_dense(backend, capture, seen, looked, t, start, params, context))
    cloud = with_normals(join(clouds), np.stack([c.centre for c in looked]))
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "points.parquet", cloud_table(cloud))
    write_arrays(out / "landmarks3d.zarr", marks._asdict())
    described = [
        {"name": name, "width": capture.width, "height": capture.height,
         "K": None if camera is None else camera.K.tolist(),
         "viewmat": None if camera is None else camera.viewmat.tolist()}
        for name, camera in zip(capture.names, cameras, strict=True)
    ]  # fmt: skip
    facts |= {
        "cameras": described, "steps": steps, "dense_steps": dense_steps, "dense_backend": backend,
        "sparse_points": int((~cloud.dense).sum()), "dense_points": int(cloud.dense.sum()),
        "notes": notes,
    }  # fmt: skip
    write_meta(out, "reconstruction", facts)
    if params.overlay:
        _overlay(out / "overlay.mp4", capture, seen, looked, steps, cloud, marks.points)
    context.progress(1.0, f"{len(cloud)} points at {len(steps)} time steps")


def _overlay(
    path: Path, capture: _Capture, seen: list[int], cameras: list[Camera], steps: list[int],
    cloud: PointCloud, marks: NDArray[np.floating],
) -> None:  # fmt: skip
    """A film of the points of the looked-at steps; those with dense points stand for a second."""
    import numpy as np

    from headworks.overlays import MOST_FRAMES, cloud_picture, write_overlay

    dense = {int(t) for t in np.unique(cloud.t[cloud.dense])}
    some = np.linspace(0, len(steps) - 1, min(len(steps), MOST_FRAMES // 2)).astype(int)
    film: list[int] = []
    for t in sorted({steps[i] for i in some} | dense):
        film += [t] * (_HELD if t in dense else 1)

    def drawn(i: int, c: int) -> NDArray[np.uint8]:
        t = film[i]
        rows = (cloud.t == t) & (cloud.dense == (t in dense))
        kind = "dense" if t in dense else "sparse"
        text = f"{capture.names[seen[c]]}, step {t}: {rows.sum()} {kind}"
        picture = capture.frame(t, seen[c])[0]
        return cloud_picture(picture, cameras[c], cloud.points[rows], marks[t], text)

    write_overlay(path, (len(film), len(seen)), drawn, _RATE)


class _Capture:
    """The inputs, read as they are needed."""

    def __init__(self, inputs: Inputs) -> None:
        import numpy as np

        from headworks.artifacts import open_arrays, read_array, read_meta, read_table

        folder = Path(inputs["ingest"])
        self.meta = read_meta(folder, "capture")
        self.rgb = open_arrays(folder / "frames.zarr")["rgb"]
        self.times, count, self.height, self.width = self.rgb.shape[:4]
        self.alpha = open_arrays(Path(inputs["matting"]) / "mattes.zarr")["alpha"]
        self.landmarks = read_array(
            Path(inputs["landmarks"]) / "landmarks.zarr", "points", (self.times, count, 68, 3)
        )
        table = read_table(folder / "frames.parquet")
        self.crops = table.filter(t=0).sort("c").select("crop_x", "crop_y", "crop_side").to_numpy()
        self.names = [camera["name"] for camera in self.meta["cameras"]]
        used = set(table.filter(split="train")["c"].to_list())
        self.train = [c for c in range(count) if c in used]
        self.cameras: list[dict[str, Any]] = self.meta["cameras"]
        self.known = all(c["viewmat"] is not None and c["K"] is not None for c in self.cameras)
        self._read = np.asarray

    def frame(self, t: int, c: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Picture [H, W, 3] and matte [H, W]."""
        return self._read(self.rgb[t, c]), self._read(self.alpha[t, c])


def _cameras(
    capture: _Capture, params: ReconstructParams, context: Context, notes: list[str]
) -> tuple[list[Camera | None], dict[str, Any]]:
    """All cameras in working pixels, and what `artifact.json` says of them."""
    import numpy as np

    from headworks.cameras import Camera
    from headworks.errors import CaptureError

    if params.cameras == "known" and not capture.known:
        raise CaptureError(
            "the capture's cameras are unknown; set `reconstruct.cameras` to auto or bring them"
        )
    if capture.known and params.cameras != "estimate":
        cameras: list[Camera | None] = [
            Camera(np.array(c["viewmat"]), np.array(c["K"]), c["width"], c["height"])
            for c in capture.cameras
        ]
        facts = {"calibration": "known", "aligned_to": "capture", "reference_step": None,
                 "calibration_residual_px": None}  # fmt: skip
        return cameras, facts
    return _estimated(capture, params, context, notes)


def _estimated(
    capture: _Capture, params: ReconstructParams, context: Context, notes: list[str]
) -> tuple[list[Camera | None], dict[str, Any]]:
    from dataclasses import replace

    import numpy as np

    from headworks.cameras import Camera, intrinsics
    from headworks.errors import CaptureError
    from headworks.heads import load_head
    from headworks.landmarks.triangulate import triangulate_landmarks
    from headworks.reconstruct.alignment import align_to_cameras, align_to_head
    from headworks.reconstruct.calibration import calibrate
    from headworks.reconstruct.features import match_features
    from headworks.reconstruct.resection import place_by_landmarks

    count = len(capture.names)
    steps = np.unique(
        np.linspace(0, capture.times - 1, min(params.calibration_steps, capture.times)).astype(int)
    )
    features = match_features(
        capture.frame, steps.tolist(), range(count), context.threads,
        progress=lambda part: context.progress(0.2 * part, "features of all cameras"),
    )  # fmt: skip
    scale, offset, sizes = _uncropped(capture, notes)
    full = replace(
        features,
        xy=tuple(
            (xy * scale[c] + offset[c]).astype(np.float32) for c, xy in enumerate(features.xy)
        ),
    )
    found = calibrate(
        full, sizes, params.intrinsics == "shared", context.threads, float(scale.mean())
    )

    def cropped(c: int, viewmat: NDArray[np.float64], K: NDArray[np.float64]) -> Camera:
        K = K.copy()
        K[:2, 2] -= offset[c]
        K[:2] /= scale[c]
        return Camera(viewmat, K, capture.width, capture.height)

    working = [
        None if camera is None else cropped(c, camera.viewmat, camera.K)
        for c, camera in enumerate(found.cameras)
    ]
    if not all(working):
        # What too few features show, the landmarks may: a camera of another's lens is placed by
        # what the others know of the face.
        focal = np.median([c.K[0, 0] / max(c.width, c.height) for c in found.cameras if c])
        for c in [c for c, camera in enumerate(working) if camera is None]:
            width, height = sizes[c]
            lens = intrinsics(float(focal) * max(width, height), width, height)
            guess = cropped(c, np.eye(4), lens)
            working[c] = place_by_landmarks(capture.landmarks, working, c, guess)
            how = "could not be placed" if working[c] is None else "placed by the face's landmarks"
            notes.append(f"camera {capture.names[c]}: too few features, {how}")
    facts: dict[str, Any] = {
        "calibration": "estimated",
        "calibration_residual_px": round(found.residual_px, 4),
    }
    if capture.known:
        known = [
            Camera(np.array(c["viewmat"]), np.array(c["K"]), c["width"], c["height"])
            for c in capture.cameras
        ]
        move, left = align_to_cameras(working, known)
        facts |= {
            "aligned_to": "capture", "reference_step": None,
            "centre_error_mm": [None if np.isnan(d) else round(1e3 * float(d), 4) for d in left],
        }  # fmt: skip
    else:
        lost = [capture.names[c] for c, camera in enumerate(working) if camera is None]
        if lost:
            raise CaptureError(
                f"cameras {', '.join(lost)} see nothing that the others see: they cannot be placed;"
                " add the capture without them, or with cameras between them and the others"
            )
        placed = list(range(count))
        looked = [camera for camera in working if camera is not None]
        marks = triangulate_landmarks(capture.landmarks[:, placed], looked)
        head = load_head(params.head)
        canonical = head.landmarks(head.template[None])[0].numpy()
        try:
            move, reference = align_to_head(marks.points, marks.confidence, canonical)
        except ValueError as error:
            raise CaptureError(
                f"the estimated cameras cannot be put in scale: {error}; give more cameras that "
                "see the face from the front"
            ) from None
        facts |= {"aligned_to": "head", "reference_step": reference}
    return [None if c is None else move.camera(c) for c in working], facts


def _uncropped(
    capture: _Capture, notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[tuple[int, int]]]:
    """Per camera scale and offset [2] from working to full pixels, and the full picture's size."""
    import numpy as np

    scale = capture.crops[:, 2].astype(np.float64) / capture.width
    offset = capture.crops[:, :2].astype(np.float64)
    sizes = [(c.get("source_width"), c.get("source_height")) for c in capture.cameras]
    known = [(int(width), int(height)) for width, height in sizes if width and height]
    if len(known) == len(sizes):
        return scale, offset, known
    # Without the size of the full pictures the crop is all there is.
    if np.ptp(capture.crops, axis=0).max() > 0:
        notes.append("the size of the uncropped pictures is unknown: each crop is taken for one")
    whole = [(capture.width, capture.height)] * len(scale)
    return np.ones(len(scale)), np.zeros_like(offset), whole


def _sparse(
    capture: _Capture, seen: list[int], cameras: list[Camera], steps: list[int], context: Context
) -> PointCloud:
    """Triangulated features of the given steps, a batch of steps at a time."""
    import numpy as np

    from headworks.reconstruct.clouds import in_mattes, join
    from headworks.reconstruct.colmap import sparse_cloud
    from headworks.reconstruct.features import match_features
    from headworks.reconstruct.sparse import triangulate_features

    clouds = []
    inside: dict[int, NDArray[np.int64]] = {}
    batches = [steps[i : i + _BATCH] for i in range(0, len(steps), _BATCH)]
    for n, batch in enumerate(batches):
        features = match_features(capture.frame, batch, seen, context.threads, cameras)
        model, kept = triangulate_features(features, cameras, context.threads)
        cloud = sparse_cloud(model, kept)
        for t in batch:
            mattes = [capture.frame(t, c)[1] for c in seen]
            rows = np.flatnonzero(cloud.t == t)
            inside[t] = rows[in_mattes(cloud.points[rows], mattes, cameras)]
        clouds.append(cloud[np.concatenate([inside[t] for t in batch])])
        context.progress(0.3 + 0.3 * (n + 1) / len(batches), "sparse points")
    return join(clouds)


def _backend(params: ReconstructParams) -> str:
    """What makes dense points here."""
    from headworks.reconstruct import patch_match

    if params.dense_steps == 0 or params.dense_backend == "none":
        return "none"
    if params.dense_backend == "auto":
        return "colmap" if patch_match.available() else "cpu"
    return params.dense_backend


def _dense(
    backend: str, capture: _Capture, seen: list[int], cameras: list[Camera], t: int,
    start: NDArray[np.floating], params: ReconstructParams, context: Context,
) -> PointCloud:  # fmt: skip
    """Dense points of one time step; `start` are points known there."""
    from headworks.images import resize
    from headworks.reconstruct import patch_match
    from headworks.reconstruct.clouds import empty_cloud
    from headworks.reconstruct.features import match_features
    from headworks.reconstruct.fusion import fuse
    from headworks.reconstruct.sparse import triangulate_features
    from headworks.reconstruct.stereo import depth_maps

    pictures = [capture.frame(t, c) for c in seen]
    images, mattes = [p[0] for p in pictures], [p[1] for p in pictures]
    if backend == "colmap":
        features = match_features(capture.frame, [t], seen, context.threads, cameras)
        model, _ = triangulate_features(features, cameras, context.threads)
        return patch_match.dense_cloud(images, mattes, model, t, params.dense_views)
    if len(start) < 8:
        return empty_cloud()
    factor = params.dense_size / max(capture.width, capture.height)
    if factor < 1:
        size = (round(capture.width * factor), round(capture.height * factor))
        images, mattes = [resize(i, *size) for i in images], [resize(m, *size) for m in mattes]
        cameras = [c.resized(*size) for c in cameras]
    radius = params.dense_window or min(max(2, round(max(images[0].shape) / 128)), 5)
    maps = depth_maps(
        images, mattes, cameras, start, params.dense_sources, min(3, params.dense_sources),
        radius, context.seed % 2**31, context.threads,
    )  # fmt: skip
    return fuse(maps, images, cameras, t, params.dense_views, params.dense_cost)
