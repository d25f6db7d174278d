"""Populations of the world as components of a mixture: means that differ from group to group.

People are not one cloud around one mean: the means of whole populations lie apart, in some measures
(breadth of the nose, distance of the inner canthi) by more than people of one population deviate.

Sources:
    Farkas, Katic, Forrest et al., International anthropometric study of facial morphology in
        various ethnic groups/races, J. Craniofac. Surg. 16(4), 2005: 1470 adults of 25 groups
        from Europe, the Middle East, Asia and Africa, beside North Americans.
    Canthal distances: systematic review of 67 studies in Plast. Reconstr. Surg. Glob. Open, 2022
        (PMC9029890): African 38.5, Asian 36.4, White 31.4, Middle Eastern 31.2 mm.
The differences below are rounded and coarse, not the tables: five groups stand for hundreds,
samples of such studies differ by method, and what tape and calliper do not measure (fullness of
lids and lips, profile of the nose) was set by eye.
"""

from __future__ import annotations

from typing import NamedTuple


class Group(NamedTuple):
    """A component of the mixture.

    Attributes:
        share: of all people. measures: mm by which means differ from the first group's.
        controls: units by which what is not measured differs.
    """

    share: float
    measures: dict[str, float]
    controls: dict[str, float]


GROUPS: dict[str, Group] = {
    "europe": Group(0.26, {}, {"orbit_hollow": 0.2, "lip_sides": -0.2}),
    "middle east": Group(
        0.18,
        {"head_length": -5, "nose_length": 1.5, "nose_breadth": 1.5, "nose_protrusion": 1.0,
         "intercanthal": -0.5, "eye_fissure_height": 0.3},
        {"hump": 1.0, "bridge_height": 0.6, "orbit_hollow": 0.4, "tip_rotation": -0.6,
         "lower_lip": 0.4, "eye_bags": 0.3, "columella": 0.4},
    ),
    "south asia": Group(
        0.18,
        {"head_breadth": -5, "head_length": -7, "min_frontal_breadth": -2, "bizygomatic": -4,
         "bigonial": -4, "face_length": -3, "nose_length": -1, "nose_breadth": 3,
         "nose_protrusion": -1, "eye_fissure_length": 0.5, "eye_fissure_height": 0.5,
         "mouth_width": -1},
        {"upper_lip": 0.5, "lower_lip": 0.6, "orbit_hollow": 0.5, "eye_bags": 0.5, "hump": 0.2,
         "nostril_flare": 0.3, "lip_sides": 0.3},
    ),
    "east asia": Group(
        0.19,
        {"head_breadth": 5, "head_length": -9, "min_frontal_breadth": 2, "bizygomatic": 7,
         "bigonial": 5, "nose_breadth": 4, "nose_protrusion": -3.5, "nasal_root_breadth": 2,
         "intercanthal": 4, "eye_fissure_length": -1, "eye_fissure_height": -1.2,
         "mouth_width": -1.5, "upper_lip_height": 1},
        {"lid_fold": 1.2, "face_curvature": 1.0, "eye_depth": 1.0, "orbit_hollow": -1.1,
         "bridge_height": -1.3, "nasion_depth": 0.4, "cheekbone": 0.9, "inner_canthus": 1.1,
         "canthal_tilt": 0.8, "brow_ridge": -0.8, "glabella": -0.4, "hump": -0.6,
         "brow_height": 0.4, "tip_bulb": -0.3},
    ),
    "africa": Group(
        0.19,
        {"head_breadth": -3, "head_length": 1, "min_frontal_breadth": 1, "bizygomatic": 1,
         "bigonial": 1, "face_length": 3, "nose_length": -3, "nose_breadth": 9,
         "nose_protrusion": -4, "nasal_root_breadth": 2.5, "intercanthal": 4.5,
         "eye_fissure_length": 1, "mouth_width": 2.5, "upper_lip_height": 2},
        {"upper_lip": 1.5, "lower_lip": 1.5, "lip_protrusion": 1.4, "lip_sides": 0.8,
         "nostril_flare": 0.9, "tip_width": 0.9, "tip_bulb": 0.3, "bridge_height": -1.2,
         "bridge_width": 0.6, "midface_depth": 0.8, "hump": -0.8, "chin_protrusion": -0.4,
         "forehead_boss": 0.5, "eye_depth": 0.4},
    ),
}  # fmt: skip
