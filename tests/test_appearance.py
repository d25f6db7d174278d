"""Looks of synthetic people: pigments, hair that lies on heads, spectacles that fit, labels."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from headworks.seeds import generator
from headworks.synthetic.glasses import FRAMES, GlassesStyle, make_glasses
from headworks.synthetic.hair import LONG, STYLES, inside_hairline, make_hair
from headworks.synthetic.person import draw_identity
from headworks.synthetic.pigment import FITZPATRICK, skin_colours, skin_reflectance
from headworks.synthetic.scene import mesh_normals
from headworks.synthetic.space import body_distance, head_space
from headworks.synthetic.traits import draw_traits

BROWN = np.array([0.03, 0.02, 0.01])


def test_more_melanin_is_darker_and_more_blood_is_redder():
    steps = [skin_reflectance(low, 0.008) for low, _ in FITZPATRICK.values()]
    assert all((a > b).all() for a, b in pairwise(steps))
    assert steps[0].mean() > 3 * steps[-1].mean()
    for colour in steps:
        assert colour[0] > colour[1] > colour[2], "skin is never grey or blue"
    pale, flushed = skin_reflectance(0.02, 0.004), skin_reflectance(0.02, 0.02)
    assert flushed[1] / flushed[0] < 0.85 * pale[1] / pale[0]


def test_table_of_skin_colours_equals_the_formula():
    rng = np.random.default_rng(0)
    melanin, blood = rng.uniform(0.006, 0.5, 200), rng.uniform(0.001, 0.07, 200)
    table = skin_colours(np.log(melanin).astype(np.float32), blood.astype(np.float32))
    assert np.abs(table - skin_reflectance(melanin, blood)).max() < 0.004


@pytest.mark.parametrize("name", [name for name, style in STYLES.items() if style is not None])
def test_hair_grows_from_the_scalp_and_enters_neither_skin_nor_face(name):
    space = head_space()
    style = STYLES[name]
    assert style is not None
    warp = space.warp(space.canonical)
    hair, _, _ = make_hair(
        space, warp, space.canonical, style, BROWN, 0.0, 1.0, 5.0, 0.0, 0.0, seed=3
    )
    points = hair.points.astype(np.float64) * 1000
    height = body_distance().at(points)[..., 0]
    assert np.abs(height[:, 0]).max() < 2.5, "roots stand on the skin"
    assert np.quantile(height, 0.002) > -1.5, "hair does not enter skin or shoulders"
    assert inside_hairline(points[:, 0]).min() > -20
    if name in LONG and not style.fringe:
        x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
        face = (z > 75) & (x < 35) & (y < 30) & (y > -90)
        assert face.mean() < 0.002, "eyes, nose and mouth stay free"


def test_hair_keeps_its_length_and_differs_between_styles():
    space = head_space()
    warp = space.warp(space.canonical)
    reach = {}
    for name in ("buzz", "short", "bob", "long straight"):
        style = STYLES[name]
        assert style is not None
        hair, _, length = make_hair(
            space, warp, space.canonical, style, BROWN, 0.0, 0.3, 0.0, 0.0, 0.0, seed=1
        )
        steps = np.linalg.norm(np.diff(hair.points, axis=1), axis=2).sum(1) * 1000
        assert np.median(steps) < 1.4 * length
        reach[name] = float(np.median(steps))
    assert reach["buzz"] < 8 < reach["short"] < 40 < reach["bob"] < 260 < reach["long straight"]


@pytest.mark.parametrize("frame", list(FRAMES))
def test_spectacles_stand_before_the_face_and_reach_the_ears(frame):
    space = head_space()
    faces = space.head.faces.numpy()
    skin = np.unique(faces[space.head.region_faces("skin", "eyelids").numpy()])
    none = torch.zeros(1, len(space.head.expression_names))
    for seed in range(4):
        traits = replace(draw_traits(generator(seed, "person")), glasses=None)
        identity = draw_identity(space.head, traits, seed)
        rest = space.head.rest_vertices(identity[None], none)[0].double().numpy() * 1000
        style = GlassesStyle(frame, "plastic", (0.1, 0.1, 0.1), 1.6)
        made = make_glasses(space, space.warp(rest), rest, style)
        frame_points = made.vertices * 1000
        near = cKDTree(rest[skin]).query(frame_points)[1]
        out = mesh_normals(rest, faces)[skin][near]
        depth = ((frame_points - rest[skin][near]) * out).sum(1)
        front = frame_points[:, 2] > 0.6 * frame_points[:, 2].max()
        assert depth[front].min() > -0.5, "no rim cuts brow, cheek or nose"
        assert frame_points[:, 2].min() < 5, "temples reach behind the ears"
        nose = np.abs(frame_points[:, 0]) < 8
        assert depth[nose].min() < 14, "the bridge sits on the nose"


def test_looks_cover_people_and_are_labelled():
    drawn = [draw_traits(generator(seed, "person")) for seed in range(400)]
    labels = [json.loads(json.dumps(t.attributes)) for t in drawn]
    assert {label["skin_type"] for label in labels} == set(FITZPATRICK)
    assert {label["hair"] for label in labels} >= set(STYLES) - {"long curly"}
    women = [label for label in labels if label["sex"] == "female"]
    assert 0.4 < len(women) / len(labels) < 0.6
    assert all(label["beard"] == "none" and label["stubble"] == 0 for label in women)
    assert 0.1 < np.mean([label["glasses"] != "none" for label in labels]) < 0.4
    ages = np.array([label["age"] for label in labels])
    assert ages.min() < 22 < 70 < ages.max()
    grey = np.array([label["grey"] for label in labels])
    assert grey[ages > 70].mean() > 0.4 > 0.05 > grey[ages < 35].mean()
    bars = np.array([t.skin.creases["forehead"] for t in drawn])
    assert bars[ages > 65].mean() > 2 * bars[ages < 30].mean()
