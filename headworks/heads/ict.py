"""ICT-FaceKit (MIT, (c) 2020 USC Institute for Creative Technologies) behind `HeadModel`.

The file (`ict-facekit-npz/1`) is the user's; nothing of it ships here. What changes on the way in:
centimetres become metres, the origin moves between the ear canals, transparent helper shells and
the hidden iris shells are left out, the materials' UV tiles are packed into one atlas, and the
joints that the model lacks are added.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.errors import WeightsError
from headworks.heads.base import JOINTS, REGIONS, HeadModel

FORMAT = "ict-facekit-npz/1"
_CM = 0.01
_SOLID_PARTS = 9  # parts 0-8; 9-16 are tear film, occlusion shells and lash cards
_NECK_PIVOT_CM = np.array([0.0, -2.0, -0.5])
_NECK_LOW_CM, _NECK_HIGH_CM = -14.0, -6.0  # smoothstep of y + 0.35 (z - 2)
_TORSO_BELOW_CM = -13.5
_EAR_WINDOW_CM = ((-0.5, 1.5), (0.5, 1.8))  # y and z between which the concha is deepest
_EAR_ELLIPSE_CM = ((0.9, 3.3), (0.0, 1.75))  # middle and half axis, y and z, of the ear's outline
_SKULL_BASE_CM, _JAW_MARGIN_CM = -1.5, 0.8  # where the neck begins: below the skull, the jaw
_JAW_LINE = (
    3041, 3661, 3042, 4390, 3880, 3022, 3085, 2484, 4102, 4036, 3061, 2253, 3466, 3490, 3493, 3496,
    3498,
)  # fmt: skip
"""Vertices of the left jaw line, from the ear to the chin (the repository's extended set)."""
_TONGUE_HALF_WIDTH_CM, _TONGUE_LENGTH_CM = 1.0, 3.0

# Place of each material in the atlas: (u, v, width, height). The face takes 2/3 x 2/3 of it.
_THIRD, _SIXTH = 1 / 3, 1 / 6
_TILES: dict[str, tuple[float, float, float, float]] = {
    "M_Face": (0.0, 0.0, 2 * _THIRD, 2 * _THIRD),
    "M_BackHead": (2 * _THIRD, 0.0, _THIRD, 2 * _THIRD),
    "M_GumsTongue": (0.0, 2 * _THIRD, _THIRD, _THIRD),
    "M_Teeth": (_THIRD, 2 * _THIRD, _THIRD, _THIRD),
    "M_ScleraLeft": (2 * _THIRD + _SIXTH, 2 * _THIRD, _SIXTH, _SIXTH),
    "M_ScleraRight": (2 * _THIRD, 2 * _THIRD, _SIXTH, _SIXTH),
}
_TILE_MARGIN = 0.01  # of a tile, so that filtering does not bleed between materials


def arkit_name(name: str) -> str:
    """ICT's `eyeBlink_L` as ARKit's `eyeBlinkLeft`; names without a side stay."""
    if name.endswith("_L"):
        return name[:-2] + "Left"
    if name.endswith("_R"):
        return name[:-2] + "Right"
    return name


def load_ict(path: str | Path) -> HeadModel:
    """The ICT Face Model Light as a `HeadModel` named "ict".

    Identity: all modes of the file, in standard deviations. Expressions: the file's 53 shapes under
    ARKit's Left/Right names, in [0, 1]; the jaw opens by `jawOpen`, so no vertex has jaw weight.
    The eyeballs follow the eye joints (the `eyeLook*` shapes move lids only).

    Args:
        path: the npz file.

    Raises:
        WeightsError: when the file is absent or of another format.
    """
    return ict_head(read_npz(Path(path)))


def ict_head(data: dict[str, NDArray]) -> HeadModel:
    """The model of the arrays of `ict-facekit-npz/1` (see `load_ict`)."""
    vertex_part, ranges = data["vertex_part"], dict(zip(data["sub_names"], data["sub_ranges"]))
    keep = vertex_part < _SOLID_PARTS
    face_part = data["poly_part"][data["face_poly"]]
    face_keep = face_part < _SOLID_PARTS
    for side in ("iris_left", "iris_right"):  # wholly inside the outer shell of the eyeball
        v0, v1, p0, p1 = ranges[side]
        keep[v0:v1] = False
        face_keep &= ~((data["face_poly"] >= p0) & (data["face_poly"] < p1))
    ids = np.flatnonzero(keep)
    new_id = np.full(len(keep), -1, np.int64)
    new_id[ids] = np.arange(len(ids))

    neutral = data["vertices"].astype(np.float64)
    origin = ear_canal_midpoint(neutral[vertex_part == 0])
    faces = data["faces"][face_keep]
    identity = data["identity_basis"].astype(np.float32) * np.float32(_CM)
    expression = data["expression_basis"].astype(np.float32)[:, ids] * np.float32(_CM)

    joints = np.zeros((len(JOINTS), 3))
    joints[1] = (_NECK_PIVOT_CM - origin) * _CM
    joints[2] = (data["jaw_pivot"] - origin) * _CM
    joints[3:] = (data["eye_centers"] - origin) * _CM
    joint_identity = np.zeros((len(identity), len(JOINTS), 3), np.float32)
    for joint, name in ((3, "sclera_left"), (4, "sclera_right")):
        v0, v1 = ranges[name][:2]
        joint_identity[:, joint] = identity[:, v0:v1].mean(1)

    uvs, faces_uv = _atlas(data, face_keep)
    regions = _face_regions(data, neutral, faces, np.flatnonzero(face_keep), face_part[face_keep])
    local_faces = new_id[faces]
    landmark_faces, landmark_bary = _landmark_embedding(
        local_faces, new_id[data["lmk68_vertices"]], face_part[face_keep]
    )

    return HeadModel(
        name="ict",
        template=torch.from_numpy(((neutral[ids] - origin) * _CM).astype(np.float32)),
        identity_basis=torch.from_numpy(np.ascontiguousarray(identity[:, ids])),
        expression_basis=torch.from_numpy(np.ascontiguousarray(expression)),
        expression_names=tuple(arkit_name(str(n)) for n in data["expression_names"]),
        faces=torch.from_numpy(local_faces),
        face_regions=torch.from_numpy(regions),
        uvs=torch.from_numpy(uvs),
        faces_uv=torch.from_numpy(faces_uv),
        landmark_faces=torch.from_numpy(landmark_faces),
        landmark_bary=torch.from_numpy(landmark_bary),
        joints=torch.from_numpy(joints.astype(np.float32)),
        joint_identity=torch.from_numpy(joint_identity),
        skin_weights=torch.from_numpy(_skin_weights(neutral[ids], vertex_part[ids])),
    )


def ear_canal_midpoint(face_cm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Midpoint between the ear canals, in the file's frame.

    The model has no canal; its mouth is the bottom of the concha, just behind the tragus: the
    place where the ear lies deepest. The mean of the ten deepest vertices of each side is taken.

    Args:
        face_cm: [N, 3] neutral vertices of the face part (with ears), centimetres.

    Returns:
        [3] centimetres; x = 0 (the neutral head is symmetric).
    """
    (y0, y1), (z0, z1) = _EAR_WINDOW_CM
    x, y, z = face_cm.T
    window = (y > y0) & (y < y1) & (z > z0) & (z < z1)
    sides = []
    for sign in (1, -1):
        side = face_cm[window & (sign * x > 0)]
        sides.append(side[np.argsort(np.abs(side[:, 0]), kind="stable")[:10]].mean(0))
    middle = (sides[0] + sides[1]) / 2
    middle[0] = 0.0
    return middle


def read_npz(path: Path) -> dict[str, NDArray]:
    """The arrays of an `ict-facekit-npz/1` file.

    Raises:
        WeightsError: when the file is absent or of another format.
    """
    expected = (
        f"{path}: expected an ICT-FaceKit file of format {FORMAT!r}; convert your checkout of "
        "ICT-FaceKit or choose another head model (head: procedural)"
    )
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{expected} ({error})") from None
    if str(data.get("format")) != FORMAT:
        raise WeightsError(f"{expected}; the file says {data.get('format')}")
    return data


def _smoothstep(low: float, high: float, x: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _skin_weights(vertices_cm: NDArray[np.float64], part: NDArray) -> NDArray[np.float32]:
    head = _smoothstep(
        _NECK_LOW_CM, _NECK_HIGH_CM, vertices_cm[:, 1] + 0.35 * (vertices_cm[:, 2] - 2)
    )
    weights = np.zeros((len(vertices_cm), len(JOINTS)))
    weights[:, 0], weights[:, 1] = 1 - head, head
    for eye, joint in ((7, 3), (8, 4)):
        weights[part == eye] = np.eye(len(JOINTS))[joint]
    return weights.astype(np.float32)


def _atlas(
    data: dict[str, NDArray], face_keep: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One atlas: each material's tile scaled into its own rectangle (no tile is shared)."""
    corners = data["faces_uv"][face_keep].astype(np.int64)
    material = data["poly_material"][data["face_poly"][face_keep]].astype(np.int64)
    # A UV vertex that two materials share must be written twice: (material, uv) is the identity.
    key = material[:, None] * len(data["uv"]) + corners
    unique, faces_uv = np.unique(key, return_inverse=True)
    uv = data["uv"][unique % len(data["uv"])].astype(np.float64)
    owner = unique // len(data["uv"])
    packed = np.empty_like(uv)
    for index, name in enumerate(data["material_names"]):
        mine = owner == index
        if not mine.any():
            continue
        u0, v0, width, height = _TILES[str(name)]
        tile = np.floor(uv[mine].min(0) + 1e-6)  # tiles differ in u; their content is in [0, 1]
        inside = _TILE_MARGIN + (1 - 2 * _TILE_MARGIN) * np.clip(uv[mine] - tile, 0, 1)
        packed[mine] = np.array([u0, v0]) + inside * np.array([width, height])
    return packed.astype(np.float32), faces_uv.reshape(-1, 3).astype(np.int64)


def _face_regions(
    data: dict[str, NDArray],
    neutral: NDArray[np.float64],
    faces: NDArray,
    kept: NDArray[np.intp],
    part: NDArray,
) -> NDArray[np.int64]:
    """Region of each kept triangle, from parts, landmarks, blink motion and the jaw line."""
    centre = neutral[faces].mean(1)
    x, y, z = centre.T
    region = np.full(len(faces), REGIONS.index("skin"), np.int64)
    region[part == 1] = REGIONS.index("scalp")
    region[part == 2] = REGIONS.index("mouth_inner")
    region[(part == 3) | (part == 4)] = REGIONS.index("eyelids")
    region[part == 5] = REGIONS.index("mouth_inner")
    region[part == 6] = REGIONS.index("teeth")
    region[(part == 7) | (part == 8)] = REGIONS.index("eyes")

    skin = (part == 0) | (part == 1)
    jaw = neutral[list(_JAW_LINE)]
    order = np.argsort(jaw[:, 2])
    jaw_y = np.interp(z, jaw[order, 2], jaw[order, 1], left=_SKULL_BASE_CM)
    neck = skin & (y < np.minimum(jaw_y - _JAW_MARGIN_CM, _SKULL_BASE_CM))
    region[neck] = REGIONS.index("neck")
    region[skin & (y < _TORSO_BELOW_CM)] = REGIONS.index("torso")
    (y0, height), (z0, depth) = _EAR_ELLIPSE_CM
    ear = ((y - y0) / height) ** 2 + ((z - z0) / depth) ** 2 < 1
    ear &= (part == 0) & (np.abs(x) > 6.4)
    region[ear] = REGIONS.index("ears")

    names = [str(n) for n in data["expression_names"]]
    blink = data["expression_basis"][names.index("eyeBlink_L")].astype(np.float32)
    blink = blink + data["expression_basis"][names.index("eyeBlink_R")].astype(np.float32)
    moved = np.linalg.norm(blink, axis=1)[faces].mean(1)
    region[(part == 0) & (moved > 0.15)] = REGIONS.index("eyelids")

    outline = neutral[data["lmk68_vertices"][48:60]]
    in_front = z > outline[:, 2].min() - 1.0
    lips = (part == 0) & in_front & _inside_polygon(centre[:, :2], outline[:, :2])
    region[lips] = REGIONS.index("lips")

    region[_tongue_faces(data, kept, part)] = REGIONS.index("tongue")
    return region


def _tongue_faces(data: dict[str, NDArray], kept: NDArray[np.intp], part: NDArray) -> NDArray:
    """The tongue's share of gums-and-tongue: its UV charts are narrow in x and long in z.

    (The part is one connected surface; only its UV charts tell tongue and gums apart.)
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    index = np.flatnonzero(part == 5)
    corners = data["faces_uv"][kept[index]].astype(np.int64)
    centre = data["vertices"][data["faces"][kept[index]]].mean(1)
    pairs, n = np.concatenate([corners[:, :2], corners[:, 1:]]), len(data["uv"])
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    chart = connected_components(graph, directed=False)[1][corners[:, 0]]
    tongue = [
        index[chart == c]
        for c in np.unique(chart)
        if np.abs(centre[chart == c, 0]).mean() < _TONGUE_HALF_WIDTH_CM
        and np.ptp(centre[chart == c, 2]) > _TONGUE_LENGTH_CM
    ]
    return np.concatenate(tongue)


def _inside_polygon(points: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Even-odd rule; points [N, 2], polygon [M, 2]."""
    inside = np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, 0)):
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            x = a[0] + (points[:, 1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
        inside ^= crosses & (points[:, 0] < x)
    return inside


def _landmark_embedding(
    faces: NDArray[np.int64], landmarks: NDArray[np.int64], part: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A skin triangle that has the landmark's vertex as a corner, rolled into first place."""
    index, bary = np.zeros(68, np.int64), np.zeros((68, 3), np.float32)
    for i, vertex in enumerate(landmarks):
        touching = np.flatnonzero((faces == vertex).any(1))
        index[i] = touching[np.argmin(part[touching])]
        bary[i] = faces[index[i]] == vertex
    return index, bary
