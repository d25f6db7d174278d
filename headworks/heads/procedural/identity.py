"""Who people are: identity modes that follow published statistics, and a draw by sex and age.

Controls c (fields over space and shapes of the lids) have measures m = m0 + J c. People of one sex
are drawn so that their measures have the published mean and covariance exactly (to first order):
fine shape c0 ~ N(shift, I) is drawn first, then c = c0 + G (m - m0 - J c0), where
G = J^T (J J^T)^-1 changes the measures in the likeliest way. Populations' own means shift both
(`groups`). The identity basis is the controls times the Cholesky factor of the covariance over both
sexes, all groups, ages and builds: coefficients are uncorrelated and of unit deviation over that
population.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy, linear, measures
from headworks.heads.procedural.assembly import Assembly
from headworks.heads.procedural.fields import FIELDS
from headworks.heads.procedural.groups import GROUPS
from headworks.heads.procedural.lids import FLIP, LID_NAMES, lid_control, meeting
from headworks.heads.procedural.parttypes import Points, smoothstep
from headworks.heads.procedural.skinning import joints

Array = NDArray[np.float64]
Sex = Literal["female", "male"]

IDENTITY_NAMES = (*LID_NAMES, *FIELDS)
"""The control that leads each mode; later controls go along as the population's do."""
_RADIUS_NEAR, _RADIUS_FAR = 14.5, 25.0
_WIDEST = 2.6
"""Deviations beyond which nobody is drawn."""
_MEAN_AGE, _AGE_SPREAD = 0.4, 0.22

# What published measures do not hold, in units of the controls. Directions are those of the
# literature on dimorphism and ageing of faces; amounts were set by eye.
_MALE = {
    "brow_ridge": 1.0, "glabella": 0.75, "brow_height": -0.85, "brow_arch": -0.6,
    "forehead_slope": 0.8, "forehead_boss": -0.6, "cheekbone": -0.3, "cheek_apple": -0.55,
    "chin_width": 0.85, "chin_protrusion": 0.3, "jaw_square": 0.95, "gonial_height": 0.5,
    "upper_lip": -0.7, "lower_lip": -0.6, "lip_sides": -0.5, "cupids_bow": -0.3,
    "lid_height": -0.45, "lid_lower": -0.2, "eye_width": -0.3,
    "eye_depth": -0.5, "orbit_hollow": 0.2, "lid_fold": 0.45, "bridge_height": 0.35, "hump": 0.4,
    "tip_rotation": -0.6, "tip_width": 0.35, "tip_bulb": 0.2, "neck_width": 1.0,
    "shoulders": 1.3, "ear_size": 0.5, "size": 0.25, "cheek_fullness": -0.3,
    "nostril_flare": 0.35, "bridge_width": 0.4, "canthal_tilt": -0.3, "lid_outer_hood": 0.35,
    "mentolabial": 0.3, "nasolabial": 0.3,
}  # fmt: skip
_OLD = {
    # Per unit of age: from about 20 to about 80 years.
    "ear_size": 2.2, "upper_lip": -1.8, "lower_lip": -1.5, "cupids_bow": -1.2, "philtrum": 1.2,
    "nose_length": 0.8, "tip_rotation": -1.4, "jowl": 2.6, "submental": 1.2, "nasolabial": 2.2,
    "eye_bags": 2.2, "lid_fold": 1.8, "lid_outer_hood": 1.4, "brow_height": -0.9,
    "cheek_hollow": 0.8, "cheek_apple": -0.8, "mouth_corner": -1.2, "orbit_hollow": 0.8,
    "cheekbone_height": -0.6, "temple": -0.8, "nostril_flare": 0.4, "columella": 0.6,
}  # fmt: skip
_LATENT: tuple[dict[str, float], ...] = (
    # Build: light to heavy.
    {"cheek_fullness": 0.9, "submental": 0.9, "jowl": 0.7, "neck_width": 0.7, "cheek_hollow": -0.6,
     "cheek_apple": 0.4, "jaw_square": 0.3, "lid_fold": 0.25, "chin_width": 0.4, "temple": 0.3},
    # Full lips and a broad tip of the nose, or thin lips and a narrow one.
    {"nostril_flare": 0.4, "tip_width": 0.5, "upper_lip": 0.6, "lower_lip": 0.6,
     "lip_protrusion": 0.4, "bridge_width": 0.3, "lip_sides": 0.4},
    # Heavy upper lids on round orbits, or deep orbits.
    {"lid_fold": 0.6, "eye_depth": 0.6, "orbit_hollow": -0.6, "lid_outer_hood": 0.4,
     "brow_height": 0.3, "lid_height": -0.4},
    # Robust or delicate.
    {"brow_ridge": 0.7, "glabella": 0.6, "jaw_square": 0.7, "chin_width": 0.6, "cheekbone": 0.5,
     "chin_protrusion": 0.4, "lid_height": -0.4, "brow_height": -0.5, "hump": 0.4},
    # Large round eyes under high brows, or narrow ones under low brows.
    {"lid_height": 0.7, "lid_lower": 0.6, "brow_height": 0.6, "brow_arch": 0.4, "lid_fold": -0.4},
    # A long face that falls in, or a short one with full cheeks.
    {"midface_height": 0.6, "lower_face_height": 0.6, "cheek_fullness": -0.6, "cheek_apple": -0.6,
     "cheek_hollow": 0.6, "infraorbital": -0.5, "face_taper": 0.4},
)  # fmt: skip

_TOGETHER: tuple[tuple[dict[str, float], float], ...] = (
    ({"lip_sides": -1, "upper_lip": -1}, 3.5),
    ({"eye_height": 1, "brow_ridge": -1, "brow_tilt": -1}, 4.0),
)
"""Sums of controls that nobody exceeds: beyond them the thinnest upper lips and the flattest brows
over high eyes fold their skin through itself."""


@dataclass(frozen=True, eq=False)
class Population:
    """How controls and coefficients are distributed.

    Attributes:
        gain: [K, M] G of the module's text. slope: [M, K] J. factor: [K, K] Cholesky factor.
        male, old: [K] shifts. latent: [L, K]. shares: [N] of the groups. measures [N, M] mm and
        controls [N, K]: by which their means differ from the whole population's.
    """

    gain: Array
    slope: Array
    factor: Array
    male: Array
    old: Array
    latent: Array
    shares: Array
    measures: Array
    controls: Array

    def coefficients(
        self, sex: Sex, age: float, rng: np.random.Generator, group: str | None = None
    ) -> Array:
        """One person's identity coefficients, see `sample_identity`."""
        means, deviations, correlation = measures.statistics()
        row = ("male", "female").index(sex)
        chance = rng.uniform()
        of = int((chance > np.cumsum(self.shares)[:-1]).sum())
        if group is not None:
            of = list(GROUPS).index(group)
        common = linear.product(
            linear.cholesky(correlation), rng.standard_normal((len(correlation), 1))
        )[:, 0]
        wanted = means[row] - means.mean(0) + self.measures[of]
        wanted = wanted + deviations[row] * np.clip(common, -_WIDEST, _WIDEST)
        fine = np.clip(rng.standard_normal(len(self.male)), -_WIDEST, _WIDEST)
        build = np.clip(rng.standard_normal(len(self.latent)), -_WIDEST, _WIDEST)
        fine = fine + (1 if row == 0 else -1) * self.male + (age - _MEAN_AGE) * self.old
        fine = fine + (build[:, None] * self.latent).sum(0) + self.controls[of]
        fine = np.clip(fine, -_WIDEST, _WIDEST)
        missing = wanted - (self.slope * fine).sum(1)
        control = fine + (self.gain * missing).sum(1)
        for signs, most in _TOGETHER:
            sign = _row(signs)
            total = float((sign * control).sum())
            if total > most:
                control = np.where(sign != 0, control * most / total, control)
        z = linear.solve(self.factor, control[:, None])[:, 0]
        return np.clip(z, -3.0, 3.0)


def _row(values: dict[str, float]) -> Array:
    unknown = set(values) - set(IDENTITY_NAMES)
    if unknown:
        raise KeyError(f"no such controls: {sorted(unknown)}")
    return np.array([values.get(name, 0.0) for name in IDENTITY_NAMES])


def population(slope: Array) -> Population:
    """The distribution of people, from how controls change measures [M, K]."""
    means, deviations, correlation = measures.statistics()
    male, old = _row(_MALE), _row(_OLD)
    latent = np.stack([_row(values) for values in _LATENT])
    square = linear.product(slope, slope.T)
    gain = linear.solve(square + 1e-6 * np.eye(len(square)), slope).T
    keeps = np.eye(len(male)) - linear.product(gain, slope)
    shares = np.array([group.share for group in GROUPS.values()])
    shares = shares / shares.sum()
    sizes = np.array([[g.measures.get(m, 0.0) for m in measures.MEASURES] for g in GROUPS.values()])
    sizes = sizes - (shares[:, None] * sizes).sum(0)
    shifts = np.stack([_row(group.controls) for group in GROUPS.values()])
    shifts = shifts - (shares[:, None] * shifts).sum(0)
    total = np.zeros((len(male), len(male)))
    fine = np.eye(len(male)) + linear.product(latent.T, latent)
    fine += np.outer(_AGE_SPREAD * old, _AGE_SPREAD * old)
    for row, sign in ((0, 1), (1, -1)):
        spread = correlation * np.outer(deviations[row], deviations[row])
        total += linear.product(linear.product(keeps, fine), keeps.T) / 2
        total += linear.product(linear.product(gain, spread), gain.T) / 2
        for share, size, shift in zip(shares, sizes, shifts, strict=True):
            at = (keeps * (sign * male + shift)).sum(1)
            at = at + (gain * (means[row] - means.mean(0) + size)).sum(1)
            total += share * np.outer(at, at) / 2
    # The trunk's modes move the trunk alone, though men are broader: trackers place it apart.
    trunk = np.array([IDENTITY_NAMES.index(name) for name in ("neck_width", "shoulders")])
    face = np.setdiff1d(np.arange(len(male)), trunk)
    total[np.ix_(face, trunk)] = 0
    total[np.ix_(trunk, face)] = 0
    return Population(gain, slope, linear.cholesky(total), male, old, latent, shares, sizes, shifts)


def _rigid_near_eyes(head: Assembly, shape: Points, at_eyes: Points) -> Points:
    """Near an eye the skin moves with the eyeball, so that the lids stay on it."""
    for side, ids_name, move in ((1, "eye_left", at_eyes[0]), (-1, "eye_right", at_eyes[1])):
        centre = anatomy.EYE_CENTRE * [side, 1, 1]
        offset = (head.points - centre) * [0.85, 1.1, 1.0]
        near = smoothstep(np.linalg.norm(offset, axis=1), _RADIUS_FAR, _RADIUS_NEAR)[:, None]
        soft = np.zeros((len(shape), 1))
        suffix = ids_name.removeprefix("eye_")
        for name in ("head", f"rim_{suffix}"):
            soft[head.members[name]] = 1
        shape = shape + soft * near * (move - shape)
        shape[head.members[ids_name]] = move
    return shape


def _ears_scaled(head: Assembly, rate: float = 0.055) -> Points:
    out = np.zeros_like(head.points)
    for name in ("ear_left", "ear_right"):
        ids = head.members[name]
        centre = head.points[ids].mean(0)
        out[ids] = rate * (head.points[ids] - centre)
    return out


_LIPS_ONLY = ("upper_lip", "lower_lip", "lip_protrusion", "mouth_tilt", "overbite", "lip_sides",
              "cupids_bow", "mouth_corner")  # fmt: skip
_ON_THE_EYE = ("lid_fold", "eye_bags")
"""Fields that shape the skin over the eyeball instead of moving with it."""


def controls(head: Assembly, twin: NDArray[np.int64]) -> tuple[Points, Points]:
    """Shapes [K, V, 3] and moves of the joints [K, 5, 3] per unit of each control, mm.

    Args:
        head: the mean. twin: [V] each vertex's mirror image.
    """
    rest = joints()
    shapes, moved = [], []
    for name in LID_NAMES:
        left = lid_control(head, name)
        shapes.append(left + left[twin] * FLIP)
        moved.append(np.zeros_like(rest))
    for name, field in FIELDS.items():
        shape, at_joints = field(head.points), field(rest)
        at_joints[0] = 0
        at_joints[2] = field(anatomy.JAW_JOINT + np.array([[55, 0, 0], [-55, 0, 0]])).mean(0)
        for ids_name, place in (
            ("teeth_upper", (0, -36, 99)),
            ("teeth_lower", (0, -50, 98)),
            ("tongue", (0, -50, 92)),
        ):
            rigid = field(np.array([place], np.float64))[0]
            shape[head.members[ids_name]] = 0 if name in _LIPS_ONLY else rigid
        if name == "ear_size":
            shape, at_joints = _ears_scaled(head), np.zeros_like(rest)
        if name in _ON_THE_EYE:
            at_joints[3:] = 0
            for part in ("eye_left", "eye_right", "rim_left", "rim_right"):
                shape[head.members[part]] = 0
            # The rings that closing takes over the eyeball keep off it.
            for k, share in enumerate((0.0, 0.0, 0.1, 0.5)):
                for tag in (f"lid{k}", f"lid{k}_r"):
                    shape[head.tags[tag]] *= share
        else:
            shape = _rigid_near_eyes(head, shape, at_joints[3:5])
        shapes.append(shape)
        moved.append(at_joints)
    return np.stack(shapes), np.stack(moved)


def identity(head: Assembly, twin: NDArray[np.int64]) -> tuple[Points, Points, Population]:
    """Modes [Ki, V, 3] and what they do to the joints [Ki, 5, 3], mm per standard deviation."""
    shapes, moved = controls(head, twin)
    _, slope = measures.measured(head, shapes)
    people = population(slope)
    modes = np.einsum("kj,kvc->jvc", people.factor, shapes)
    return modes, np.einsum("kj,kvc->jvc", people.factor, moved), people


def meeting_lids(
    head: Assembly, twin: NDArray[np.int64], people: Population
) -> list[tuple[str, int, Points]]:
    """What blinks add to the lids of a person whose lids are not the mean's.

    Returns:
        Expression, identity coefficient and the shape that their product adds.
    """
    found = []
    extra = np.stack([meeting(head, name) for name in LID_NAMES])
    count = len(LID_NAMES)
    left = np.einsum("kj,kvc->jvc", people.factor[:count, :count], extra)
    for j in range(count):
        found.append(("eyeBlinkLeft", j, left[j]))
        found.append(("eyeBlinkRight", j, left[j][twin] * FLIP))
    return found
