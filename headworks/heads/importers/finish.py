"""From a foreign model in metres to a `HeadModel`: what it lacks is derived, and said."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.headfiles import HeadFileError
from headworks.heads import load_head
from headworks.heads.base import JOINTS, REGIONS, HeadModel
from headworks.heads.importers.atlas import make_atlas
from headworks.heads.importers.bend import Bend, bend_onto
from headworks.heads.importers.landmarks import Marks
from headworks.heads.surface import closest_points

Array = NDArray[np.float64]
_OUTER = ("skin", "scalp", "lips", "eyelids", "ears", "neck", "torso")
_UPPER_INNER, _LOWER_INNER = (61, 62, 63), (65, 66, 67)
_JAW = JOINTS.index("jaw")
_CANAL_M = 0.07
"""Metres from our origin to the mouths of the ear canals, along x."""

_BEHIND_LIPS_M = 0.004
_EYE_REACH_M, _EYE_SIZE_M = 0.03, 0.04
_INTEROCULAR_M = (0.05, 0.075)
"""Distance between the middles of the eyes' landmarks: adults' pupils are 52 to 74 mm apart."""


@dataclass
class Foreign:
    """A model in its own axes, scaled to metres; axes +x left, +y up, +z out of the face.

    Attributes:
        kind: "flame", "bfm". vertices: [V, 3]. faces: [F, 3], counter-clockwise from outside.
        identity, expression: [K, V, 3] per standard deviation. expression_names, signed: of these.
        marks: landmarks that are known. mark_note: where they come from.
        uvs, faces_uv: None where the source has none.
        joints: [5, 3], joint_identity: [Ki, 5, 3], joint_expression: [Ke, 5, 3], skin_weights:
            [V, 5], pose_basis: [36, V, 3]; None where the source has none.
        regions: bool [V] masks by region name, where the source tells them.
    """

    kind: str
    vertices: Array
    faces: NDArray[np.int64]
    identity: NDArray[np.floating]
    expression: NDArray[np.floating]
    expression_names: tuple[str, ...]
    signed: tuple[bool, ...]
    marks: Marks
    mark_note: str
    uvs: NDArray[np.floating] | None = None
    faces_uv: NDArray[np.int64] | None = None
    joints: Array | None = None
    joint_identity: Array | None = None
    joint_expression: Array | None = None
    skin_weights: Array | None = None
    pose_basis: NDArray[np.floating] | None = None
    regions: dict[str, NDArray[np.bool_]] = field(default_factory=dict)


def finish(foreign: Foreign, name: str) -> tuple[HeadModel, Array, list[str]]:
    """The foreign model behind our interface.

    Args:
        foreign: see `Foreign`. name: of the head model.

    Returns:
        The model; our origin in the source's axes, [3] metres; notes on what was derived.

    Raises:
        HeadFileError: no face is found, or its size is no adult's.
    """
    notes = [f"landmarks: {foreign.mark_note}"]
    ours = load_head("procedural")
    vertices, faces = foreign.vertices, foreign.faces
    known = {i: bary @ vertices[faces[face]] for i, (face, bary) in foreign.marks.items()}
    bend = bend_onto(ours, vertices, faces, known)
    marks = _all_marks(foreign, bend, ours, notes)
    points = np.stack([bary @ vertices[faces[face]] for face, bary in marks])
    _check_size(points)

    origin = bend.to_theirs(np.array([[_CANAL_M, 0, 0], [-_CANAL_M, 0, 0]])).mean(0)
    # The source's plane of symmetry is ours: landmarks lie on both sides of it.
    origin[0] = (points[[36, 39, 31, 48], 0] + points[[45, 42, 35, 54], 0]).mean() / 2
    notes.append(
        "origin between the ear canals: from the procedural head laid over the model "
        f"(median gap over the face {bend.gap * 1e3:.1f} mm)"
    )
    canonical = bend.to_ours(vertices)
    joints, joint_identity, weights = _joints(foreign, bend, ours, canonical, marks, notes)
    if foreign.joints is None:
        joints[0] = origin
    if foreign.uvs is None or foreign.faces_uv is None:
        uvs, faces_uv = make_atlas(vertices - origin, faces)
        notes.append("UV atlas: generated, the source has none")
    else:
        uvs, faces_uv = np.asarray(foreign.uvs, np.float32), foreign.faces_uv
    regions = _regions(foreign, ours, canonical, points)
    told = ", ".join(sorted(foreign.regions))
    notes.append(f"regions: {'from the masks of ' + told + '; the rest ' if told else ''}derived")

    def real(array: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    head = HeadModel(
        name=name,
        template=real(vertices - origin),
        identity_basis=real(foreign.identity),
        expression_basis=real(foreign.expression),
        expression_names=foreign.expression_names,
        expression_signed=foreign.signed if any(foreign.signed) else (),
        faces=torch.from_numpy(np.ascontiguousarray(faces)),
        face_regions=torch.from_numpy(regions),
        uvs=real(uvs),
        faces_uv=torch.from_numpy(np.ascontiguousarray(faces_uv)),
        landmark_faces=torch.tensor([face for face, _ in marks]),
        landmark_bary=real(np.stack([bary for _, bary in marks])),
        joints=real(joints - origin),
        joint_identity=real(joint_identity),
        joint_expression=None
        if foreign.joint_expression is None
        else real(foreign.joint_expression),
        skin_weights=real(weights),
        pose_basis=None if foreign.pose_basis is None else real(foreign.pose_basis),
    )
    return head, origin, notes


def _all_marks(
    foreign: Foreign, bend: Bend, ours: HeadModel, notes: list[str]
) -> list[tuple[int, Array]]:
    """68 landmarks: the known ones, and the procedural head's carried over."""
    missing = [i for i in range(68) if i not in foreign.marks]
    found = dict(foreign.marks)
    if missing:
        own = ours.landmarks(ours.template[None])[0].double().numpy()[missing]
        allowed = np.ones(len(foreign.faces), bool)
        if "eyes" in foreign.regions:
            allowed &= ~foreign.regions["eyes"][foreign.faces].any(1)
        find = dict(zip(missing, bend.to_theirs(own), strict=True))

        def place(numbers: list[int], some: NDArray[np.bool_]) -> None:
            if numbers:
                wanted = np.stack([find[i] for i in numbers])
                ids, bary = closest_points(wanted, foreign.vertices, foreign.faces, some)
                found.update({i: (int(f), b) for i, f, b in zip(numbers, ids, bary, strict=True)})

        place([i for i in missing if i not in _UPPER_INNER + _LOWER_INNER], allowed)
        # Closed lips lie on each other: each is looked for among what moves with its own side.
        lower = _of_lower_lip(foreign, found)
        place([i for i in missing if i in _UPPER_INNER], allowed & ~lower)
        place([i for i in missing if i in _LOWER_INNER], allowed & lower)
        told = "all" if len(missing) == 68 else ", ".join(map(str, missing))
        notes.append(
            f"landmarks derived from geometry (the procedural head laid over the model): {told}"
        )
    return [found[i] for i in range(68)]


def _of_lower_lip(foreign: Foreign, found: Marks) -> NDArray[np.bool_]:
    """Which faces go with the lower lip: by jaw weight, by an opening shape, else by height."""
    faces = foreign.faces
    upper, lower = (found[i] for i in (51, 57))

    def at(mark: tuple[int, Array], values: NDArray[np.floating]) -> Array:
        return np.asarray(np.tensordot(mark[1], values[faces[mark[0]]], 1))

    if foreign.skin_weights is not None and (
        at(lower, foreign.skin_weights[:, _JAW]) > at(upper, foreign.skin_weights[:, _JAW]) + 0.2
    ):
        weight = foreign.skin_weights[:, _JAW]
        middle = (at(upper, weight) + at(lower, weight)) / 2
        return np.asarray(weight[faces].mean(1) > middle)
    if len(foreign.expression):
        apart = np.array([at(lower, shape) - at(upper, shape) for shape in foreign.expression])
        best = int(np.abs(apart[:, 1]).argmax())
        shape, axis = foreign.expression[best], apart[best]
        along = (shape[faces].mean(1) - at(upper, shape)) @ axis
        return np.asarray(along > 0.5 * axis @ axis)
    seam = (at(upper, foreign.vertices)[1] + at(lower, foreign.vertices)[1]) / 2
    return np.asarray(foreign.vertices[faces].mean(1)[:, 1] < seam)


def _check_size(points: Array) -> None:
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    apart = float(np.linalg.norm(eyes[0] - eyes[1]))
    low, high = _INTEROCULAR_M
    if not low <= apart <= high:
        raise HeadFileError(
            f"the eyes are {apart * 1e3:.1f} mm apart, expected {low * 1e3:.0f} to "
            f"{high * 1e3:.0f}: is the model in its official unit?"
        )
    if not (points[45, 0] > points[36, 0] and points[27, 1] > points[8, 1]):
        raise HeadFileError(
            "left and right, or up and down, are exchanged: expected +x to the subject's left and "
            "+y up, as in the official files"
        )


def _joints(
    foreign: Foreign, bend: Bend, ours: HeadModel, canonical: Array,
    marks: list[tuple[int, Array]], notes: list[str],
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Rest places of the joints, how identity moves them, and skinning weights."""
    if foreign.joints is not None and foreign.skin_weights is not None:
        assert foreign.joint_identity is not None
        return foreign.joints, foreign.joint_identity, foreign.skin_weights
    from scipy.spatial import cKDTree

    notes.append("neck, jaw and eye joints: from the procedural head; the jaw opens by shapes")
    joints = bend.to_theirs(ours.joints.double().numpy())
    count = len(foreign.identity)
    joint_identity = np.zeros((count, len(JOINTS), 3))
    for joint, numbers in ((3, range(42, 48)), (4, range(36, 42))):
        corner = np.stack([foreign.faces[marks[i][0]] for i in numbers])
        weights = np.stack([marks[i][1] for i in numbers])
        joint_identity[:, joint] = np.einsum(
            "kmic,mi->kc", foreign.identity[:, corner], weights
        ) / len(corner)
    own = ours.template.double().numpy()
    skin = np.unique(ours.faces.numpy()[ours.region_faces(*_OUTER).numpy()])
    # Turns with the head what turns with it on the procedural head.
    near = skin[cKDTree(own[skin]).query(canonical)[1]]
    root = ours.skin_weights[:, 0].double().numpy()[near]
    skin_weights = np.zeros((len(canonical), len(JOINTS)))
    skin_weights[:, 0], skin_weights[:, 1] = root, 1 - root
    return joints, joint_identity, skin_weights


def _regions(
    foreign: Foreign, ours: HeadModel, canonical: Array, points: Array
) -> NDArray[np.int64]:
    """Region of every triangle: nearest on the procedural skin, landmarks, parts, masks."""
    from scipy.spatial import cKDTree

    faces, vertices = foreign.faces, foreign.vertices
    own_faces = np.flatnonzero(ours.region_faces(*_OUTER).numpy())
    own_centres = ours.template.double().numpy()[ours.faces.numpy()[own_faces]].mean(1)
    near = cKDTree(own_centres).query(canonical[faces].mean(1))[1]
    region = ours.face_regions.numpy()[own_faces[near]].copy()
    centre = vertices[faces].mean(1)
    # Lips by landmarks alone: the outline is sharper than what was carried over.
    region[region == REGIONS.index("lips")] = REGIONS.index("skin")
    outline = points[48:60]
    within = inside_polygon(centre[:, :2], outline[:, :2])
    deep = outline[:, 2].min() - _BEHIND_LIPS_M
    region[within & (centre[:, 2] > deep)] = REGIONS.index("lips")
    behind = (centre[:, 2] <= deep) & (centre[:, 2] > deep - 0.06)
    region[within & behind] = REGIONS.index("mouth_inner")
    for lids in (points[36:42], points[42:48]):
        middle = lids.mean(0)
        open_eye = inside_polygon(centre[:, :2], lids[:, :2])
        region[open_eye & (np.abs(centre[:, 2] - middle[2]) < 0.02)] = REGIONS.index("eyes")
    for part in _parts(faces, len(vertices)):
        size = np.ptp(vertices[part], axis=0).max()
        for lids in (points[36:42], points[42:48]):
            away = np.linalg.norm(vertices[part].mean(0) - lids.mean(0))
            if size < _EYE_SIZE_M and away < _EYE_REACH_M:
                region[np.isin(faces, part).all(1)] = REGIONS.index("eyes")
    for name in ("scalp", "neck", "ears", "eyes", "lips"):
        if name in foreign.regions:
            region[region == REGIONS.index(name)] = REGIONS.index("skin")
            region[foreign.regions[name][faces].all(1)] = REGIONS.index(name)
    return region.astype(np.int64)


def _parts(faces: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Vertices of each connected part of the mesh."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    number, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    return np.split(order, np.searchsorted(label[order], np.arange(1, number)))


def inside_polygon(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """Even-odd rule; points [N, 2], polygon [M, 2]."""
    inside = np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            x = a[0] + (points[:, 1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
        inside ^= crosses & (points[:, 0] < x)
    return inside


def outward(vertices: Array, faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Faces turned counter-clockwise from outside, where a closed-enough head says inside out."""
    centre = vertices.mean(0)
    a, b, c = (vertices[faces[:, i]] - centre for i in range(3))
    volume = float(np.einsum("fc,fc->f", a, np.cross(b, c)).sum())
    return faces if volume > 0 else np.ascontiguousarray(faces[:, [0, 2, 1]])
