"""Sparse points of every time step: matched features triangulated by known cameras."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.reconstruct import colmap
from headworks.reconstruct.features import Features, quiet

if TYPE_CHECKING:
    import pycolmap

# Pixels at 256: epipolar distance of a match, reprojection error of an observation.
_EPIPOLAR = 1.0
_MOST_ERROR = 1.0
_LEAST_ANGLE = 4.0
"""Degrees between two rays to a point."""


def triangulate_features(
    features: Features, cameras: Sequence[Camera], threads: int = 1
) -> tuple[pycolmap.Reconstruction, Features]:
    """Points of matched features, by COLMAP, with the cameras as they are.

    Args:
        features: matched, in the cameras' pixels. cameras: of all views. threads: CPU threads.

    Returns:
        COLMAP's reconstruction, and the features with the matches that the cameras allow.

    Source: Schoenberger and Frahm, Structure-from-Motion Revisited, 2016, section 4.3.
    """
    import pycolmap

    quiet()
    pixel = max(cameras[0].width, cameras[0].height) / 256
    geometries = {}
    for (a, b), matches in features.matches.items():
        good = matches[_epipolar(features, a, b, matches, cameras) < _EPIPOLAR * pixel]
        if not len(good):
            continue
        geometry = pycolmap.TwoViewGeometry()
        geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED.value
        relative = cameras[b].viewmat @ np.linalg.inv(cameras[a].viewmat)
        geometry.cam2_from_cam1 = pycolmap.Rigid3d(relative[:3])
        geometry.inlier_matches = good
        geometries[a, b] = geometry
    kept = replace(features, matches={p: g.inlier_matches for p, g in geometries.items()})
    model = pycolmap.Reconstruction()
    made = [colmap.colmap_camera(camera) for camera in cameras]
    for c, camera in enumerate(cameras):
        made[c].camera_id = c + 1
        model.add_camera_with_trivial_rig(made[c])
        image = pycolmap.Image(
            name=colmap.image_name(c), camera_id=c + 1, image_id=c + 1,
            keypoints=features.xy[c].astype(np.float64),
        )  # fmt: skip
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(camera.viewmat[:3]))
    if not geometries:
        return model, kept
    with tempfile.TemporaryDirectory(prefix="headworks-colmap-") as folder:
        database = Path(folder) / "db.db"
        colmap.write_database(database, features, made, geometries)
        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads, options.random_seed = threads, 0
        options.extract_colors = False
        options.min_num_matches = 1
        options.mapper.filter_max_reproj_error = _MOST_ERROR * pixel
        options.mapper.filter_min_tri_angle = _LEAST_ANGLE
        options.triangulation.min_angle = _LEAST_ANGLE
        options.triangulation.complete_max_reproj_error = _MOST_ERROR * pixel
        options.triangulation.merge_max_reproj_error = _MOST_ERROR * pixel
        options.triangulation.create_max_angle_error = 0.2
        options.triangulation.continue_max_angle_error = 0.2
        options.triangulation.ignore_two_view_tracks = False
        model = pycolmap.triangulate_points(
            model, database, folder, folder, True, options, refine_intrinsics=False
        )
    return model, kept


def _epipolar(
    features: Features, a: int, b: int, matches: NDArray[np.uint32], cameras: Sequence[Camera]
) -> NDArray[np.float64]:
    """Larger of both distances to the epipolar lines, pixels, [M]."""
    relative = cameras[b].viewmat @ np.linalg.inv(cameras[a].viewmat)
    x, y, z = relative[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    F = np.linalg.inv(cameras[b].K).T @ cross @ relative[:3, :3] @ np.linalg.inv(cameras[a].K)
    p = np.c_[features.xy[a][matches[:, 0]].astype(np.float64), np.ones(len(matches))]
    q = np.c_[features.xy[b][matches[:, 1]].astype(np.float64), np.ones(len(matches))]
    there, here = p @ F.T, q @ F
    off = np.abs((q * there).sum(1))
    length = np.minimum(np.hypot(*there[:, :2].T), np.hypot(*here[:, :2].T))
    return off / np.maximum(length, 1e-12)
