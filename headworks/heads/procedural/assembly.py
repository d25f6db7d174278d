"""All parts of the head welded into one mesh with regions and one UV atlas."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headworks.heads.base import REGIONS
from headworks.heads.procedural import mesh, parts, torso
from headworks.heads.procedural.ear import ear
from headworks.heads.procedural.parttypes import Faces, Part, Points
from headworks.heads.procedural.rings import EAR_COUNT
from headworks.heads.procedural.surface import SkinSurface

Ids = NDArray[np.int64]
FRONT_ANGLE = np.radians(100.0)
_CHART_TILT = np.radians(-7.0)


@dataclass
class Assembly:
    """The mean head in millimetres.

    Attributes:
        points: [V, 3]. faces: [F, 3]. regions: [F] into REGIONS.
        uvs: [U, 2]. faces_uv: [F, 3].
        members: name of a part -> its vertex indices, in the part's own order.
        tags: vertex rings of the skin, see `mesh.head`.
    """

    points: Points
    faces: Faces
    regions: Ids
    uvs: Points
    faces_uv: Faces
    members: dict[str, Ids] = field(default_factory=dict)
    tags: dict[str, Ids] = field(default_factory=dict)


class _Builder:
    def __init__(self) -> None:
        self.points: list[Points] = []
        self.faces: list[Faces] = []
        self.regions: list[Ids] = []
        self.uvs: list[Points] = []
        self.faces_uv: list[Faces] = []
        self.count = 0
        self.uv_count = 0
        self.members: dict[str, Ids] = {}

    def add(
        self,
        name: str,
        part: Part,
        region: Ids | str,
        uvs: Points,
        faces_uv: Faces,
        weld: Ids | None = None,
    ) -> Ids:
        """Append a part; its first vertices are those of `weld` if given. Returns vertex ids."""
        welded = 0 if weld is None else len(weld)
        new = self.count + np.arange(len(part.points) - welded)
        ids = new if weld is None else np.concatenate([weld, new])
        self.points.append(part.points[welded:])
        self.count += len(new)
        self.faces.append(ids[part.faces])
        if isinstance(region, str):
            region = np.full(len(part.faces), REGIONS.index(region), np.int64)
        self.regions.append(region)
        self.uvs.append(uvs)
        self.faces_uv.append(faces_uv + self.uv_count)
        self.uv_count += len(uvs)
        self.members[name] = ids
        return ids


def _box(local: Points, u0: float, v0: float, u1: float, v1: float) -> Points:
    """Place local coordinates in [0, 1]^2 into a box of the atlas."""
    return np.array([u0, v0]) + local * [u1 - u0, v1 - v0]


def _fitted(chart: Points, used: Ids, u0: float, v0: float, u1: float, v1: float) -> Points:
    """Stretch a chart so that the used points fill a box of the atlas."""
    low, high = chart[used].min(0), chart[used].max(0)
    return _box((chart - low) / (high - low), u0, v0, u1, v1)


def _azimuthal(directions: Points, limit: float, power: float) -> Points:
    """Azimuthal chart of unit directions about +z: radius (angle / limit)^power, in [0, 1]^2."""
    angle = np.arccos(np.clip(directions[:, 2], -1, 1))
    turn = np.arctan2(directions[:, 1], directions[:, 0])
    rho = 0.5 * (angle / limit) ** power
    return 0.5 + np.column_stack([rho * np.cos(turn), rho * np.sin(turn)])


def _tilted(directions: Points, tilt: float) -> Points:
    c, s = np.cos(tilt), np.sin(tilt)
    y, z = directions[:, 1], directions[:, 2]
    return np.column_stack([directions[:, 0], c * y - s * z, s * y + c * z])


def _head_chart(part: Part) -> tuple[Points, Faces, Points]:
    """Atlas of the head's skin: a large front disc and a small back disc.

    Returns:
        uvs [U, 2], faces_uv [F, 3], and the front chart of every vertex [V, 2].
    """
    assert part.flat is not None
    turned = _tilted(part.flat, -_CHART_TILT)
    middle = turned[part.faces].mean(1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    is_back = middle[:, 2] < np.cos(FRONT_ANGLE)
    seen = [np.unique(part.faces[~is_back]), np.unique(part.faces[is_back])]
    # The exponent gives the middle of the face more texels than its rim.
    front = _fitted(_azimuthal(turned, np.pi, 0.72), seen[0], 0.003, 0.298, 0.703, 0.997)
    behind = turned * [-1, 1, -1]
    back = _fitted(_azimuthal(behind, np.pi, 1.0), seen[1], 0.715, 0.715, 0.995, 0.995)
    count = len(part.points)
    faces_uv = part.faces + count * is_back[:, None]
    used, compact = np.unique(faces_uv, return_inverse=True)
    return np.concatenate([front, back])[used], compact.reshape(-1, 3), front


def _polar(rows: int, columns: int, power: float = 1.0, first: float = 0.0) -> Points:
    """A grid [rows, columns] of a closed strip as rings of a disc in [0, 1]^2."""
    rho = 0.5 * np.linspace(first, 1, rows) ** power
    turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    u = 0.5 + rho[:, None] * np.cos(turn)
    v = 0.5 + rho[:, None] * np.sin(turn)
    return np.stack([u, v], -1).reshape(-1, 2)


def _strip(faces: Faces, rows: int, columns: int, start: int = 0) -> tuple[Points, Faces]:
    """A closed strip [rows, columns] cut open at column `start`: local UVs and faces into them."""
    u = np.arange(columns + 1) / columns
    v = 1 - np.arange(rows) / (rows - 1)
    local = np.stack(np.broadcast_arrays(u, v[:, None]), -1).reshape(-1, 2)
    row, column = faces // columns, (faces - start) % columns
    wraps = (column.max(1) - column.min(1)) > columns // 2
    column = np.where(wraps[:, None] & (column == 0), columns, column)
    return local, row * (columns + 1) + column


def _skin_regions(part: Part) -> Ids:
    """Region of each face of the head's skin."""
    corner = part.points[part.faces].mean(1)
    x, y, z = np.abs(corner[:, 0]), corner[:, 1], corner[:, 2]
    regions = np.full(len(part.faces), REGIONS.index("skin"), np.int64)
    # Hairline: over the forehead, in front of the ear, down behind it to the nape.
    rise = np.interp(z, [-100, -30, 0, 20, 45, 70, 86], [-45, -12, 10, 30, 58, 84, 93])
    regions[y > rise] = REGIONS.index("scalp")
    low = torso.neck_border(np.arctan2(x, z + 10)) + 14
    regions[(y < low) & (z < 45)] = REGIONS.index("neck")
    lips: set[int] = set()
    for k in range(4):
        lips |= set(part.tags[f"lip{k}"].tolist())
    lids: set[int] = set()
    for k in range(4):
        lids |= set(part.tags[f"lid{k}"].tolist()) | set(part.tags[f"lid{k}_r"].tolist())
    for name, members in (("lips", lips), ("eyelids", lids)):
        regions[np.isin(part.faces, list(members)).all(1)] = REGIONS.index(name)
    return regions


def _smooth_neck(
    points: Points, faces: Faces, members: dict[str, Ids], columns: int, rounds: int = 14
) -> Points:
    """Relax the skin where head and neck meet, so that no crease is left."""
    from scipy.sparse import coo_matrix
    from scipy.spatial import cKDTree

    near, reach = members["torso"][:columns], 16.0
    distance = cKDTree(points[near]).query(points)[0]
    free = np.zeros(len(points))
    for name in ("head", "torso"):
        ids = members[name]
        free[ids] = np.clip(1.4 - 1.4 * distance[ids] / reach, 0, 1)
    pairs = np.unique(
        np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=0
    )
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    ones = np.ones(len(pairs))
    links = coo_matrix((ones, pairs.T), shape=(len(points),) * 2).tocsr()
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    for _ in range(rounds):
        mean = (links @ points) / degree[:, None]
        points = points + 0.5 * free[:, None] * (mean - points)
    return points


def assemble(surface: SkinSurface) -> Assembly:
    """Build and weld all parts of the mean head."""
    out = _Builder()
    skin = mesh.head(surface)
    uvs, faces_uv, front = _head_chart(skin)
    head_ids = out.add("head", skin, _skin_regions(skin), uvs, faces_uv)

    ring = skin.tags["neck"]
    trunk = torso.torso(skin.points[ring])
    columns, rows = len(ring), len(trunk.points) // len(ring)
    local, faces_uv = _strip(trunk.faces, rows, columns, columns // 2)
    torso_region = np.where(
        trunk.points[trunk.faces].mean(1)[:, 1] > -150, REGIONS.index("neck"),
        REGIONS.index("torso"),
    )  # fmt: skip
    out.add("torso", trunk, torso_region, _box(local, 0, 0, 0.46, 0.29), faces_uv, ring)

    for side, box in (("left", (0.86, 0.56, 1.0, 0.70)), ("right", (0.71, 0.56, 0.85, 0.70))):
        suffix = "" if side == "left" else "_r"
        margin = skin.tags[f"lid0{suffix}"]
        rim = parts.lid_rim(skin.points[skin.tags["lid0"]])
        hole = front[margin]
        nested = [hole.mean(0) + (hole - hole.mean(0)) * scale for scale in (1.0, 0.8, 0.62)]
        ball = parts.eyeball()
        segments = 24
        ball_rows = (len(ball.points) - 2) // segments
        chart = np.concatenate(
            [_polar(ball_rows + 1, segments, 1.0)[segments:], [[0.5, 0.5]], [[0.5, 0.5]]]
        )
        faces_local = ball.faces.copy()
        # The back pole has no single place on the disc's edge: its faces get their own corners.
        pole = len(ball.points) - 1
        at = np.flatnonzero((ball.faces == pole).any(1))
        others = chart[ball.faces[at][:, :2]].mean(1)
        corners = 0.5 + (others - 0.5) * 1.05
        faces_local[at, 2] = len(chart) + np.arange(len(at))
        chart = 0.5 + (np.concatenate([chart, corners]) - 0.5) * 0.95
        if side == "right":
            rim, ball = parts.mirrored(rim), parts.mirrored(ball)
            faces_local = faces_local[:, ::-1]
            chart = chart * [-1, 1] + [1, 0]
        out.add(f"rim_{side}", rim, "eyelids", np.concatenate(nested), rim.faces, margin)
        out.add(f"eye_{side}", ball, "eyes", _box(chart, *box), faces_local)

    ring = skin.tags["lip0"]
    sock = parts.mouth_sock(skin.points[ring])
    sock_rows = len(sock.points) // len(ring)
    chart = np.concatenate([_polar(sock_rows + 1, len(ring))[::-1][: len(sock.points) - 1],
                            [[0.5, 0.5]]])  # fmt: skip
    out.add("sock", sock, "mouth_inner", _box(chart, 0.71, 0.40, 0.86, 0.55), sock.faces, ring)

    for name, upper, box in (
        ("teeth_upper", True, (0.71, 0.31, 0.99, 0.38)),
        ("teeth_lower", False, (0.71, 0.22, 0.99, 0.29)),
    ):
        arch = parts.teeth(upper)
        width = 25
        grid = np.indices((len(arch.points) // width, width)).reshape(2, -1).T[:, ::-1]
        chart = grid / grid.max(0)
        chart[:, 1] = 1 - chart[:, 1]
        out.add(name, arch, "teeth", _box(chart, *box), arch.faces)
    body = parts.tongue()
    rows_t, columns_t = 9, 11
    main = (body.faces < rows_t * columns_t).all(1)
    local, faces_main = _strip(body.faces[main], rows_t, columns_t)
    cap = body.faces[~main]
    around = np.where(cap == rows_t * columns_t, -1, cap)
    tip = 0.5 + 0.4 * np.column_stack(
        [np.cos(np.arange(columns_t) * 2 * np.pi / columns_t),
         np.sin(np.arange(columns_t) * 2 * np.pi / columns_t)]
    )  # fmt: skip
    uv = np.concatenate(
        [_box(local, 0.87, 0.45, 0.99, 0.55), _box(np.concatenate([tip, [[0.5, 0.5]]]), 0.87,
                                                   0.40, 0.91, 0.44)]
    )  # fmt: skip
    faces_uv = np.empty_like(body.faces)
    faces_uv[main] = faces_main
    faces_uv[~main] = len(local) + np.where(around < 0, columns_t, around)
    out.add("tongue", body, "tongue", uv, faces_uv)

    for side, box in (("left", (0.48, 0.0, 0.61, 0.135)), ("right", (0.48, 0.14, 0.61, 0.29))):
        shell = ear(skin.points[skin.tags["ear"]], surface)
        rows_e = (len(shell.points) - 1) // EAR_COUNT
        chart = np.concatenate([_polar(rows_e + 1, EAR_COUNT)[::-1][: len(shell.points) - 1],
                                [[0.5, 0.5]]])  # fmt: skip
        root = skin.tags["ear"]
        if side == "right":
            shell, root = parts.mirrored(shell), skin.tags["ear_r"]
            chart = chart * [-1, 1] + [1, 0]
        out.add(f"ear_{side}", shell, "ears", _box(chart, *box), shell.faces, root)

    points = _smooth_neck(np.concatenate(out.points), np.concatenate(out.faces), out.members,
                          columns)  # fmt: skip
    return Assembly(
        points, np.concatenate(out.faces), np.concatenate(out.regions),
        np.concatenate(out.uvs), np.concatenate(out.faces_uv), out.members,
        {name: head_ids[ids] for name, ids in skin.tags.items()},
    )  # fmt: skip
