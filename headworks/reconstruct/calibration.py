"""Self-calibration: where the cameras of a rig stand, and how they see, from their pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.reconstruct import colmap
from headworks.reconstruct.features import Features, quiet

if TYPE_CHECKING:
    import pycolmap

# Focal lengths to start from, in longer sides of the image: a wide and a portrait lens.
_STARTS = (2.5, 1.2)
# Epipolar distance of a match, in shares of the longer side: 1.5 pixels at 256.
_EPIPOLAR = 0.006
# Scale of Cauchy's loss at first, in pixels of any picture that is sharp; then the usual error of
# the observations, within bounds. Observations further off than the last number are removed.
_LOSS_PX, _LEAST_LOSS_PX, _MOST_ERROR_PX = 0.3, 0.05, 1.5
_ROUNDS = 2


@dataclass(frozen=True)
class Calibration:
    """What self-calibration found, in a world of arbitrary place and scale.

    Attributes:
        cameras: one per camera, None where it could not be placed.
        points: float64 [N, 3] of features. residual_px: mean reprojection error.
        focal_start: focal length it started from, longer sides of the image.
    """

    cameras: tuple[Camera | None, ...]
    points: NDArray[np.float64]
    residual_px: float
    focal_start: float


def calibrate(
    features: Features,
    sizes: Sequence[tuple[int, int]],
    shared: bool = True,
    threads: int = 1,
    scale: float = 1.0,
) -> Calibration:
    """Camera poses and focal lengths of a static rig from matched features.

    Verification of the matches by epipolar geometry, incremental mapping and bundle adjustment
    (COLMAP), then adjustments under a robust loss with the worst observations removed. Pixels are
    square and the principal point is the image's centre, as in an uncropped picture.

    Args:
        features: matched, in pixels of the uncropped images. sizes: (width, height) of each
            camera's. shared: one focal length for all cameras of one size, else one each.
        threads: CPU threads.
        scale: uncropped pixels per pixel that the features were found in.

    Raises:
        CaptureError: the pictures do not hold together.

    Source: Schoenberger and Frahm, Structure-from-Motion Revisited, 2016.
    """
    import pycolmap

    quiet()
    count, longer = len(features.xy), max(max(size) for size in sizes)
    different = list(dict.fromkeys(sizes))
    which = [different.index(size) for size in sizes] if shared else list(range(count))
    best: tuple[int, float, float, pycolmap.Reconstruction] | None = None
    for start in _STARTS:
        made = [
            pycolmap.Camera(
                model="SIMPLE_PINHOLE", width=width, height=height,
                params=[start * max(width, height), width / 2, height / 2],
            )
            for width, height in (different if shared else sizes)
        ]  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="headworks-colmap-") as folder:
            geometries = _verified(features, [made[i] for i in which], _EPIPOLAR * longer)
            if not geometries:
                break
            colmap.write_database(Path(folder) / "db.db", features, made, geometries, which)
            options = _mapping(longer, threads)
            database = str(Path(folder) / "db.db")
            models = pycolmap.incremental_mapping(database, folder, folder, options)
        for model in models.values():
            score = (model.num_reg_images(), -model.compute_mean_reprojection_error(), start, model)
            if best is None or score[:2] > best[:2]:
                best = score
        if best is not None and best[0] == count:
            break
    if best is None or best[0] < 3:
        raise CaptureError(
            "the cameras cannot be calibrated from their pictures: too few features agree; give "
            "larger or sharper pictures, more time steps, cameras nearer to each other, or known "
            "cameras"
        )
    model, start = best[3], best[2]
    loss = _LOSS_PX
    for _ in range(_ROUNDS):
        _adjust(model, loss * scale, threads)
        _drop(model, _MOST_ERROR_PX * scale)
        if not len(model.points3D):
            raise CaptureError(
                "the cameras cannot be calibrated from their pictures: no feature lies where all "
                "that see it say; give sharper pictures, and frames of one moment by all cameras"
            )
        usual = float(np.median([p.error for p in model.points3D.values()])) / scale
        loss = min(max(usual, _LEAST_LOSS_PX), _LOSS_PX)
    _adjust(model, loss * scale, threads)
    found = colmap.registered(model)
    points = np.array([model.points3D[i].xyz for i in sorted(model.points3D)])
    residual = float(np.mean([p.error for p in model.points3D.values()]))
    return Calibration(tuple(found.get(c) for c in range(count)), points, residual, start)


def _verified(
    features: Features, cameras: Sequence[pycolmap.Camera], error_px: float
) -> dict[tuple[int, int], pycolmap.TwoViewGeometry]:
    import pycolmap

    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.max_error = error_px
    options.ransac.random_seed = 0
    options.ransac.max_num_trials = 3000
    options.detect_watermark = False
    geometries = {}
    for (a, b), matches in features.matches.items():
        if len(matches) < colmap.LEAST_MATCHES:
            continue
        xy = [features.xy[c].astype(np.float64) for c in (a, b)]
        geometry = pycolmap.estimate_two_view_geometry(
            cameras[a], xy[0], cameras[b], xy[1], matches, options
        )
        if len(geometry.inlier_matches) >= colmap.LEAST_MATCHES:
            geometries[a, b] = geometry
    return geometries


def _mapping(longer: int, threads: int) -> pycolmap.IncrementalPipelineOptions:
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = threads, 0
    options.min_model_size, options.multiple_models = 3, False
    options.extract_colors = False
    pixel = longer / 256
    options.mapper.init_min_num_inliers = 40
    options.mapper.init_min_tri_angle = 8
    options.mapper.init_max_error = 2 * pixel
    options.mapper.abs_pose_max_error = 4 * pixel
    options.mapper.filter_max_reproj_error = 2 * pixel
    options.triangulation.ignore_two_view_tracks = False
    return options


def _adjust(model: Any, scale: float, threads: int) -> None:
    """Bundle adjustment under Cauchy's loss."""
    import pycolmap

    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = scale
    options.ceres.solver_options.num_threads = threads
    options.ceres.solver_options.function_tolerance = 1e-7
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in sorted(model.reg_image_ids()):
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()
    model.update_point_3d_errors()


def _drop(model: Any, most_px: float) -> None:
    """Remove observations with larger errors, and points with fewer than two left."""
    import pycolmap

    manager = pycolmap.ObservationManager(model)
    manager.filter_all_points3D(most_px, 1.5)
