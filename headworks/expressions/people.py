"""Synthetic people who show an expression: the same coefficients on other identities, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.cameras import Camera, intrinsics, orbit
from headworks.expressions.crops import face_crop
from headworks.expressions.made import Made
from headworks.heads import HeadPose
from headworks.images import to_uint8
from headworks.seeds import derive_seed
from headworks.synthetic import Person, make_person
from headworks.synthetic.render import pose_person, render_stage
from headworks.synthetic.rigs import TARGET

_DISTANCE = 1.1


@dataclass(frozen=True)
class Shown:
    """A picture of a synthetic person.

    Attributes:
        rgb: uint8 [S, S, 3] over white. alpha: uint8 [S, S]. landmarks: float32 [68, 3] x, y in
            pixels, 1 if visible else 0.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


@dataclass(frozen=True)
class SyntheticPeople:
    """People drawn from seeds, each before a camera that frames the face at rest.

    Attributes:
        people: who. cameras: one each. seeds: one each.
    """

    people: tuple[Person, ...]
    cameras: tuple[Camera, ...]
    seeds: tuple[int, ...]

    @staticmethod
    def draw(
        seed: int, count: int, size: int, texture: int, head: str = "procedural"
    ) -> SyntheticPeople:
        """Draw people.

        Args:
            seed: of the draw. count: people. size: side of their pictures, pixels.
            texture: texels per side of their albedo. head: head model that they are made on.
        """
        seeds = tuple(derive_seed(seed, "expressions", "person", i) for i in range(count))
        people = tuple(make_person(s, texture, head) for s in seeds)
        return SyntheticPeople(people, tuple(framed(p, size) for p in people), seeds)

    def show(
        self, index: int, expression: Tensor, pose: HeadPose | None = None, supersampling: int = 2
    ) -> Shown:
        """A person with an expression, the head upright.

        Args:
            index: who. expression: [Ke] of their head model.
            pose: batch of 1, of which jaw and eyes are used; None for rest.
            supersampling: samples per pixel and axis.
        """
        rest = HeadPose.zeros(1)
        if pose is not None:
            rest = replace(rest, jaw=pose.jaw, eyes=pose.eyes)
        stage = pose_person(self.people[index], expression, rest)
        picture = render_stage(stage, self.cameras[index], supersampling)
        return Shown(
            to_uint8(picture.over((1.0, 1.0, 1.0))),
            to_uint8(picture.alpha),
            picture.landmarks.astype(np.float32),
        )

    def at_rest(self) -> NDArray[np.uint8]:
        """Everybody without expression, uint8 [P, S, S, 3]."""
        count = len(self.people[0].space.head.expression_names)
        return np.stack([self.show(i, torch.zeros(count)).rgb for i in range(len(self.people))])


def make_with_people(
    people: SyntheticPeople,
    expression: Tensor,
    pose: HeadPose,
    choices: NDArray[np.int64],
    progress: Callable[[float, str], None],
) -> Made:
    """Pictures of synthetic people with given expressions.

    Args:
        people: who. expression: [N, Ke] of their head model. pose: batch of N, of which jaw
            and eyes are used. choices: [N, K] indices into `people`. progress: called often.
    """
    frames, count = choices.shape
    side = people.cameras[0].width
    rgb = np.zeros((frames, count, side, side, 3), np.uint8)
    alpha = np.zeros((frames, count, side, side), np.uint8)
    landmarks = np.zeros((frames, count, 68, 3), np.float32)
    for n in range(frames):
        for k in range(count):
            shown = people.show(int(choices[n, k]), expression[n], pose[[n]])
            rgb[n, k], alpha[n, k], landmarks[n, k] = shown.rgb, shown.alpha, shown.landmarks
        progress((n + 1) / frames, f"frame {n + 1} of {frames}")
    return Made(rgb, alpha, landmarks, people.at_rest())


def framed(person: Person, size: int) -> Camera:
    """A camera in front of a person that frames the face at rest as a source picture."""
    head = person.space.head
    rest = torch.zeros(1, len(head.expression_names))
    with torch.no_grad():
        landmarks = head.landmarks(head.vertices(person.identity[None], rest))[0].numpy()
    wide = Camera(
        orbit(0.0, 0.0, _DISTANCE, TARGET), intrinsics(2.0 * size, size, size), size, size
    )
    crop = face_crop(wide.project(landmarks), upright=False)
    return Camera(wide.viewmat, crop.matrix(size) @ wide.K, size, size)
