"""Between our features and cameras and COLMAP's database and reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headworks.cameras import Camera
from headworks.reconstruct.clouds import PointCloud, empty_cloud
from headworks.reconstruct.features import Features

if TYPE_CHECKING:
    import pycolmap

# Pairs of cameras with fewer verified matches say nothing.
LEAST_MATCHES = 15


def write_database(
    path: Path,
    features: Features,
    cameras: Sequence[pycolmap.Camera],
    geometries: dict[tuple[int, int], pycolmap.TwoViewGeometry],
    which: Sequence[int] | None = None,
) -> None:
    """A COLMAP database with one image per camera, named by its index: `000.png`, ...

    Args:
        path: file to write. features: of all cameras.
        cameras: lenses. geometries: verified matches by (a, b).
        which: of each image, the place of its lens in `cameras`; None: one each.
    """
    import pycolmap

    database = pycolmap.Database.open(path)
    camera_ids = [database.write_camera(camera) for camera in cameras]
    rigs = []
    for camera_id in camera_ids:
        rig = pycolmap.Rig()
        rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, camera_id))
        rigs.append(database.write_rig(rig))
    for c, xy in enumerate(features.xy):
        own = c if which is None else which[c]
        image = pycolmap.Image(name=image_name(c), camera_id=camera_ids[own])
        image_id = database.write_image(image)
        if image_id != c + 1:
            raise RuntimeError(f"image {c} got the number {image_id}")
        frame = pycolmap.Frame()
        frame.rig_id = rigs[own]
        sensor = pycolmap.sensor_t(pycolmap.SensorType.CAMERA, camera_ids[own])
        frame.add_data_id(pycolmap.data_t(sensor, image_id))
        database.write_frame(frame)
        if len(xy):
            database.write_keypoints(image_id, np.ascontiguousarray(xy, np.float32))
    for (a, b), geometry in geometries.items():
        database.write_matches(a + 1, b + 1, geometry.inlier_matches)
        database.write_two_view_geometry(a + 1, b + 1, geometry)
    database.close()


def image_name(c: int) -> str:
    """Name of camera `c` in the database."""
    return f"{c:03d}.png"


def colmap_camera(camera: Camera) -> pycolmap.Camera:
    """COLMAP's camera (without its number) of ours."""
    import pycolmap

    K = camera.K
    return pycolmap.Camera(
        model="PINHOLE",
        width=camera.width,
        height=camera.height,
        params=[K[0, 0], K[1, 1], K[0, 2], K[1, 2]],
    )


def registered(reconstruction: pycolmap.Reconstruction) -> dict[int, Camera]:
    """Our cameras of the images that have a pose, by index."""
    found = {}
    for image_id in sorted(reconstruction.reg_image_ids()):
        image = reconstruction.images[image_id]
        viewmat = np.eye(4)
        viewmat[:3] = image.cam_from_world().matrix()
        camera = reconstruction.cameras[image.camera_id]
        found[image_id - 1] = Camera(
            viewmat, camera.calibration_matrix(), camera.width, camera.height
        )
    return found


def sparse_cloud(reconstruction: pycolmap.Reconstruction, features: Features) -> PointCloud:
    """The reconstruction's points with the time step of their features.

    Args:
        reconstruction: made from `features`. features: its features.

    Returns:
        Points without normals; the confidence grows with the views and falls with the residual.
    """
    if not reconstruction.num_points3D():
        return empty_cloud()
    t, xyz, views, error, rgb = [], [], [], [], []
    for point_id in sorted(reconstruction.points3D):
        point = reconstruction.points3D[point_id]
        elements = [(e.image_id - 1, e.point2D_idx) for e in point.track.elements]
        steps = {int(features.times[c][i]) for c, i in elements}
        if len(steps) != 1:
            continue
        t.append(steps.pop())
        xyz.append(point.xyz)
        views.append(len({c for c, _ in elements}))
        error.append(point.error)
        rgb.append(np.mean([features.colors[c][i] for c, i in elements], 0))
    count = len(t)
    seen = np.array(views, np.int32)
    confidence = (1 - 0.5 ** (seen - 1.0)) / (1 + np.square(error))
    order = np.argsort(np.array(t, np.int32), kind="stable")
    return PointCloud(
        np.array(t, np.int32)[order],
        np.array(xyz, np.float32).reshape(-1, 3)[order],
        np.full((count, 3), np.nan, np.float32),
        np.rint(np.array(rgb).reshape(-1, 3)).astype(np.uint8)[order],
        confidence.astype(np.float32)[order],
        seen[order],
        np.zeros(count, bool),
    )
