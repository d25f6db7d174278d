"""One synthetic person: shape, skin, hair, clothes and light, all from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.heads import HeadModel
from headworks.seeds import derive_seed, generator
from headworks.synthetic.canvas import canvas
from headworks.synthetic.clothes import Clothes, make_clothes
from headworks.synthetic.facial_hair import make_beard, make_brows, make_lashes
from headworks.synthetic.glasses import Glasses, make_glasses
from headworks.synthetic.hair import STYLES, HairAtRest, make_hair
from headworks.synthetic.occlusion import ambient_occlusion
from headworks.synthetic.scene import GAMMA, Light
from headworks.synthetic.skin import paint
from headworks.synthetic.space import HeadSpace, head_space
from headworks.synthetic.traits import Traits, draw_traits

Array = NDArray[np.float64]

TEXTURE = 1024
"""Texels per side of an albedo texture."""


@dataclass(frozen=True, eq=False)
class Person:
    """A synthetic person.

    Attributes:
        space: the head model, laid over the mean head. identity: [Ki].
        neutral: [V, 3] metres, at rest. middle: [3] metres, of the skull at rest.
        albedo: float32 [S, S, 3] linear. roughness: float32 [R, R].
        occlusion, covered: float32 [V], see `scene.Surface`. hair: all groups of strands at rest.
        clothes, clothes_occlusion: or None. glasses: or None. light: how this person is lit.
        attributes: labels, JSON values.
    """

    space: HeadSpace
    identity: Tensor
    neutral: Array
    middle: Array
    albedo: NDArray[np.float32]
    roughness: NDArray[np.float32]
    occlusion: NDArray[np.float32]
    covered: NDArray[np.float32]
    hair: tuple[HairAtRest, ...]
    clothes: Clothes | None
    clothes_occlusion: NDArray[np.float32]
    glasses: Glasses | None
    light: Light
    attributes: dict[str, Any]


def make_person(seed: int, texture: int = TEXTURE, head: str = "procedural") -> Person:
    """Draw a person.

    Args:
        seed: who. texture: texels per side of the albedo. head: as `load_head` names it.
    """
    traits = draw_traits(generator(seed, "person"))
    space = head_space(head)
    return dress(space, draw_identity(space.head, traits, seed), traits, seed, texture)


def dress(
    space: HeadSpace, identity: Tensor, traits: Traits, seed: int, texture: int = TEXTURE
) -> Person:
    """Give a head the looks that were drawn for a person.

    Args:
        space: of the head model. identity: [Ki]. traits: looks. seed: of all fine detail.
        texture: texels per side of the albedo.
    """
    head = space.head

    def chance(purpose: str) -> int:
        return derive_seed(seed, purpose) % 2**30

    with torch.no_grad():
        expression = torch.zeros(1, len(head.expression_names))
        neutral = head.rest_vertices(identity[None], expression)[0].double().numpy()
    rest = neutral * 1000
    warp = space.warp(rest)
    where = canvas(space, texture)
    albedo, roughness = paint(where, traits.skin, traits.eyes, chance("paint"))
    occlusion = ambient_occlusion(space).copy()
    groups: list[HairAtRest] = []
    clothes = make_clothes(space, warp, rest, traits.clothes, chance("clothes"))
    cloth_light = np.ones(len(clothes.vertices), np.float32)
    style = STYLES[traits.hair_style]
    length = 0.0
    if style is not None:
        style = replace(style, fringe=style.fringe * traits.fringe)
        hair, thicket, length = make_hair(
            space, warp, rest, style, np.array(traits.hair_colour) ** GAMMA, traits.grey,
            traits.density, traits.parting, traits.raised, traits.temples, chance("hair"),
        )  # fmt: skip
        groups.append(hair)
        if not style.fine:
            near = space.canonical + 2.5 * _outward(space)
            occlusion *= (0.35 + 0.65 * thicket.light(near)).astype(np.float32)
            cloth_light = (0.45 + 0.55 * thicket.light(clothes.canonical)).astype(np.float32)
    brow_colour = np.array(traits.brow_colour) ** GAMMA
    brows = make_brows(space, rest, traits.skin.brows, brow_colour, traits.grey, chance("brows"))
    if brows is not None:
        groups.append(brows)
    lash_colour = np.array([0.012, 0.009, 0.008]) + 0.12 * (1 - traits.lashes) * brow_colour
    groups.append(make_lashes(space, rest, traits.lashes, lash_colour, chance("lashes")))
    beard = make_beard(
        space, rest, traits.beard, traits.beard_length, traits.density,
        np.array(traits.beard_colour) ** GAMMA, traits.grey, chance("beard"),
    )  # fmt: skip
    if beard is not None:
        groups.append(beard)
    glasses = make_glasses(space, warp, rest, traits.glasses) if traits.glasses else None
    skull = np.array([[0.0, 42.0, -8.0]])
    return Person(
        space=space,
        identity=identity,
        neutral=neutral,
        middle=(skull + warp.at(skull))[0] / 1000,
        albedo=albedo,
        roughness=roughness,
        occlusion=occlusion,
        covered=clothes.covers.astype(np.float32),
        hair=tuple(groups),
        clothes=clothes,
        clothes_occlusion=cloth_light,
        glasses=glasses,
        light=traits.light,
        attributes=traits.attributes | {"hair_length_mm": round(length, 1)},
    )


def _outward(space: HeadSpace) -> Array:
    """Unit normals of the mean head's vertices, [V, 3]."""
    from headworks.synthetic.scene import mesh_normals

    return mesh_normals(space.canonical, space.head.faces.numpy())


def draw_identity(head: HeadModel, traits: Traits, seed: int) -> Tensor:
    """Identity coefficients [Ki] of a head model for a person of given sex and age."""
    rng = generator(seed, "shape")
    if head.name != "procedural":
        # Plausible heads of a model with standard normal modes but no statistics by sex.
        codes = 0.8 * rng.normal(0, 1, len(head.identity_basis))
        return torch.from_numpy(codes.astype(np.float32))
    from headworks.heads.procedural import sample_identity

    codes = sample_identity(traits.sex, traits.age, rng, traits.group)
    return torch.as_tensor(codes, dtype=torch.float32)
