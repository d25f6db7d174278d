"""The avatar and its baselines behind one call: (t, c) -> picture over white and alpha."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars import Avatar
from headworks.avatars.baselines import (
    NearestFrame,
    TexturedMesh,
    gather_texture,
    head_states,
)
from headworks.avatars.baselines.textured_mesh import TrainingView
from headworks.images import to_float
from headworks.metrics.protocol import displayed
from stages.evaluate.subject import Pair, Subject, evenly

Rendered = tuple[NDArray[np.float32], NDArray[np.float32]]
Method = Callable[[Pair], Rendered | None]
"""Picture [H, W, 3] over white as displayed and alpha [H, W]; None where it has no answer."""


def make_methods(subject: Subject, texture_size: int, texture_frames: int) -> dict[str, Method]:
    """The avatar (under its method's name) first, then the baselines, avatars before the others.

    Args:
        subject: what is evaluated. texture_size: texels a side. texture_frames: at most so many
            training pictures give the texture.
    """
    return {
        subject.avatar.method: _remembered(_avatar(subject, subject.avatar)),
        **{name: _remembered(_avatar(subject, a)) for name, a in subject.baselines.items()},
        "nearest_frame": _remembered(_nearest_frame(subject)),
        "textured_mesh": _remembered(_textured_mesh(subject, texture_size, texture_frames)),
    }


def _remembered(method: Method) -> Method:
    """Frames are measured, shown and filmed: render each once."""
    results: dict[Pair, tuple[NDArray[np.uint8], NDArray[np.uint8]] | None] = {}

    def cached(pair: Pair) -> Rendered | None:
        if pair not in results:
            answer = method(pair)
            if answer is not None:
                rgb, alpha = answer
                answer_8bit = tuple(np.rint(x * 255).astype(np.uint8) for x in (rgb, alpha))
                results[pair] = (answer_8bit[0], answer_8bit[1])
            else:
                results[pair] = None
        stored = results[pair]
        return None if stored is None else (to_float(stored[0]), to_float(stored[1]))

    return cached


def _avatar(subject: Subject, avatar: Avatar) -> Method:
    def render(pair: Pair) -> Rendered:
        expression, pose = avatar.state(subject.tracking, pair[0])
        rgb, alpha = avatar.render(expression, pose, subject.camera(pair))
        return displayed(rgb), alpha

    return render


def _nearest_frame(subject: Subject) -> Method:
    retrieval = NearestFrame.of(head_states(subject.head, subject.tracking, subject.train))
    position = {pair: i for i, pair in enumerate(subject.train)}

    def render(pair: Pair) -> Rendered | None:
        state = head_states(subject.head, subject.tracking, [pair])
        index = retrieval.nearest(state, exclude=position.get(pair))
        return None if index is None else subject.target(subject.train[index])

    return render


def _textured_mesh(subject: Subject, size: int, frames: int) -> Method:
    faces, faces_uv, uvs = (
        x.numpy() for x in (subject.head.faces, subject.head.faces_uv, subject.head.uvs)
    )
    texture = gather_texture(
        faces,
        uvs,
        faces_uv,
        (
            TrainingView(
                subject.vertices(pair),
                subject.camera(pair),
                *subject.matted(pair),
            )
            for pair in evenly(subject.train, frames)
        ),
        size,
    )
    mesh = TexturedMesh(faces, uvs, faces_uv, texture)

    @torch.no_grad()
    def render(pair: Pair) -> Rendered:
        rgb, alpha = mesh.render(subject.vertices(pair), subject.camera(pair))
        return displayed(rgb), alpha

    return render
