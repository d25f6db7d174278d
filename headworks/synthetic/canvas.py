"""Where a head's UV map lies on the mean head: what albedo is painted on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headworks.heads.base import REGIONS
from headworks.mesh import rasterize_uv
from headworks.synthetic.space import HeadSpace

Real = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Canvas:
    """Texels of the UV map that belong to the head.

    Attributes:
        size: texels per side. position: float32 [N, 3] millimetres on the mean head.
        region: int [N] into REGIONS.
        lip: float32 [N], 1 on the lips, falling to 0 just outside.
        fill: int32 [size, size], for every texel the covered texel (index into N) nearest to it.
        face: int [M], texels of the face's skin (with lips and lids) in front.
    """

    size: int
    position: Real
    region: NDArray[np.int64]
    lip: Real
    fill: NDArray[np.int32]
    face: NDArray[np.int64]

    def image(self, values: NDArray[np.floating]) -> Real:
        """Values [N, D] of the covered texels -> float32 [size, size, D], gaps filled."""
        return np.asarray(values, np.float32)[self.fill]

    def of(self, *names: str) -> NDArray[np.bool_]:
        """Which texels belong to the named regions, [N]."""
        return np.isin(self.region, [REGIONS.index(name) for name in names])


@lru_cache(maxsize=2)
def canvas(space: HeadSpace, size: int) -> Canvas:
    """The canvas of a head at a texture size."""
    from scipy.ndimage import distance_transform_edt

    head = space.head
    faces = head.faces.numpy()
    ids, bary = rasterize_uv(head.uvs.numpy(), head.faces_uv.numpy(), size)
    rows, columns = np.nonzero(ids >= 0)
    face, weight = ids[rows, columns], bary[rows, columns].astype(np.float64)
    corner = faces[face]
    position = (space.canonical[corner] * weight[..., None]).sum(1).astype(np.float32)
    region = head.face_regions.numpy()[face]
    mark = np.zeros(len(space.canonical))
    mark[faces[head.face_regions.numpy() == REGIONS.index("lips")]] = 1
    lip = (mark[corner] * weight).sum(1).astype(np.float32)
    index = np.zeros((size, size), np.int32)
    index[rows, columns] = np.arange(len(rows))
    near = distance_transform_edt(ids < 0, return_distances=False, return_indices=True)
    skin = np.isin(region, [REGIONS.index(n) for n in ("skin", "lips", "eyelids", "neck")])
    front = (position[:, 2] > -5) & (position[:, 1] > -150) & (position[:, 1] < 110)
    return Canvas(
        size, position, region, lip, index[near[0], near[1]], np.flatnonzero(skin & front)
    )
