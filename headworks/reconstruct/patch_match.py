"""Dense points by COLMAP's own PatchMatch, where there is a GPU and a COLMAP built for it.

Prepared and read here, computed by COLMAP. The wheel of pycolmap for CPUs has no CUDA: there
`available()` is false and `stereo` does the work.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headworks.errors import HeadworksError
from headworks.reconstruct import colmap
from headworks.reconstruct.clouds import PointCloud, empty_cloud
from headworks.reconstruct.features import quiet

if TYPE_CHECKING:
    import pycolmap

_VERTEX = np.dtype(
    [("xyz", "<f4", 3), ("normal", "<f4", 3), ("rgb", "u1", 3)]
)  # fmt: skip
_PROPERTIES = ("x", "y", "z", "nx", "ny", "nz", "red", "green", "blue")
_END = b"end_header\n"


def available() -> bool:
    """Whether COLMAP can use a GPU here."""
    import pycolmap
    import torch

    return bool(pycolmap.has_cuda and torch.cuda.is_available())


def dense_cloud(
    images: Sequence[NDArray[np.uint8]],
    mattes: Sequence[NDArray[np.uint8]],
    sparse: pycolmap.Reconstruction,
    t: int,
    least_views: int = 3,
) -> PointCloud:
    """Dense points of one time step.

    Args:
        images: C of uint8 [H, W, 3]. mattes: uint8 [H, W]; black outside is never matched.
        sparse: cameras and triangulated features of this time step, which choose each picture's
            sources and bound its depths. t: the time step.
        least_views: pictures that must agree on a point.

    Raises:
        HeadworksError: COLMAP cannot use a GPU here.

    Source: Schoenberger et al., Pixelwise View Selection for Unstructured Multi-View Stereo, 2016.
    """
    import pycolmap

    if not available():
        raise HeadworksError(
            "COLMAP's dense stereo needs a CUDA device and a pycolmap built with CUDA; set "
            "`reconstruct.dense_backend` to auto or cpu"
        )
    quiet()
    with tempfile.TemporaryDirectory(prefix="headworks-dense-") as folder:
        workspace = write_workspace(Path(folder), images, mattes, sparse)
        pycolmap.patch_match_stereo(workspace)
        options = pycolmap.StereoFusionOptions()
        options.min_num_pixels = least_views
        options.mask_path = str(Path(folder) / "masks")
        fused = workspace / "fused.ply"
        pycolmap.stereo_fusion(fused, workspace, options=options)
        return read_fused(fused, t)


def write_workspace(
    folder: Path,
    images: Sequence[NDArray[np.uint8]],
    mattes: Sequence[NDArray[np.uint8]],
    sparse: pycolmap.Reconstruction,
) -> Path:
    """Pictures, masks and cameras as COLMAP's dense stereo wants them; the workspace's folder.

    Args:
        folder: empty, to write. images: uint8 [H, W, 3]. mattes: uint8 [H, W].
        sparse: cameras, poses and points; images are named by `colmap.image_name`.
    """
    import pycolmap
    from PIL import Image

    for name in ("pictures", "masks", "model"):
        (folder / name).mkdir()
    for c, (rgb, alpha) in enumerate(zip(images, mattes, strict=True)):
        inside = (alpha > 127)[..., None]
        Image.fromarray(np.where(inside, rgb, 0)).save(folder / "pictures" / colmap.image_name(c))
        mask = np.where(inside[..., 0], 255, 0).astype(np.uint8)
        Image.fromarray(mask).save(folder / "masks" / f"{colmap.image_name(c)}.png")
    sparse.write_binary(folder / "model")
    workspace = folder / "dense"
    # The cameras are pinholes already: this only lays the files out.
    pycolmap.undistort_images(workspace, folder / "model", folder / "pictures")
    return workspace


def read_fused(path: Path, t: int) -> PointCloud:
    """The points of COLMAP's `fused.ply`, with the views of `fused.ply.vis` beside it.

    Args:
        path: the PLY file. t: time step of the points.

    Raises:
        HeadworksError: not such a file.
    """
    data = path.read_bytes()
    end = data.find(_END)
    header = data[: max(end, 0)].decode("ascii", "replace").split("\n")
    names = tuple(line.split()[-1] for line in header if line.startswith("property "))
    counts = [int(line.split()[-1]) for line in header if line.startswith("element vertex ")]
    if (
        end < 0
        or names != _PROPERTIES
        or len(counts) != 1
        or "binary_little_endian" not in str(header)
    ):
        raise HeadworksError(f"{path}: not a point cloud as COLMAP's fusion writes it")
    count = counts[0]
    body = data[end + len(_END) :]
    if len(body) < count * _VERTEX.itemsize:
        raise HeadworksError(f"{path}: ends before its {count} points")
    if not count:
        return empty_cloud()
    vertices = np.frombuffer(body, _VERTEX, count)
    seen = _views(path.with_name(path.name + ".vis"), count)
    return PointCloud(
        np.full(count, t, np.int32), vertices["xyz"].copy(), vertices["normal"].copy(),
        vertices["rgb"].copy(), (1 - 0.5 ** (seen - 1.0)).astype(np.float32), seen,
        np.ones(count, bool),
    )  # fmt: skip


def _views(path: Path, count: int) -> NDArray[np.int32]:
    """How many pictures see each point."""
    data = path.read_bytes()
    if int(np.frombuffer(data, "<u8", 1)[0]) != count:
        raise HeadworksError(f"{path}: not of the {count} points beside it")
    words = np.frombuffer(data, "<u4", offset=8)
    seen, at = np.empty(count, np.int32), 0
    for i in range(count):
        seen[i] = words[at]
        at += 1 + int(words[at])
    return seen
