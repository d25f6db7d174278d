"""Where the head's UV map lies on the mean head: what albedo is painted on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headworks.heads import load_head
from headworks.heads.base import REGIONS
from headworks.mesh import rasterize_uv


@dataclass(frozen=True, eq=False)
class Canvas:
    """Texels of the UV map that belong to the head.

    Attributes:
        size: texels per side. rows, columns: int [N] of the covered texels.
        position: [N, 3] millimetres on the mean head. region: int [N] into REGIONS.
        lip: [N] 1 on the lips, falling to 0 just outside. lid: same for the lids' margins.
        fill: int [size, size], for every texel the covered texel (index into N) nearest to it.
    """

    size: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    position: NDArray[np.float64]
    region: NDArray[np.int64]
    lip: NDArray[np.float64]
    lid: NDArray[np.float64]
    fill: NDArray[np.int64]

    def image(self, colors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Colours [N, 3] of the covered texels -> texture float32 [size, size, 3], gaps filled."""
        return np.asarray(colors, np.float32)[self.fill]

    def of(self, *names: str) -> NDArray[np.bool_]:
        """Which texels belong to the named regions, [N]."""
        return np.isin(self.region, [REGIONS.index(name) for name in names])


@lru_cache(maxsize=2)
def canvas(size: int) -> Canvas:
    """The canvas of the procedural head at a texture size."""
    from scipy.ndimage import distance_transform_edt

    head = load_head("procedural")
    faces = head.faces.numpy()
    ids, bary = rasterize_uv(head.uvs.numpy(), head.faces_uv.numpy(), size)
    rows, columns = np.nonzero(ids >= 0)
    face, weight = ids[rows, columns], bary[rows, columns].astype(np.float64)
    corner = faces[face]
    points = head.template.numpy().astype(np.float64) * 1000
    position = (points[corner] * weight[..., None]).sum(1)
    region = head.face_regions.numpy()[face]

    def spread(name: str) -> NDArray[np.float64]:
        mark = np.zeros(len(points))
        members = faces[head.face_regions.numpy() == REGIONS.index(name)]
        mark[members] = 1
        return (mark[corner] * weight).sum(1)

    lid = spread("eyelids")
    index = np.zeros((size, size), np.int64)
    index[rows, columns] = np.arange(len(rows))
    near = distance_transform_edt(ids < 0, return_distances=False, return_indices=True)
    fill = index[near[0], near[1]]
    return Canvas(size, rows, columns, position, region, spread("lips"), lid, fill)
