"""`Studio`: a state and a view in, a picture out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars import Avatar, BoundAvatar
from headworks.avatars.avatar import picture_of
from headworks.cameras import Camera, intrinsics
from headworks.driving.poser import Poser
from headworks.errors import HeadworksError
from headworks.geometry import quat_to_matrix
from headworks.images import to_uint8
from headworks.viewer.cast import Actor, Row, can_mix, corner_weights, mixed
from headworks.viewer.latents import Latents
from headworks.viewer.state import NO_MOTION, State, View
from headworks.web.motion import unpack

Picture = NDArray[np.uint8]
_KEPT = 6
"""How many made-ready avatars are remembered."""
_GRID = 100
"""Mixtures and edits are made on a grid this fine, so that going back finds them again."""


class Studio:
    """Shows actors. `picture` may be called from one thread at a time.

    Args:
        actors: at least one. latents: of a prior, or None.

    Raises:
        HeadworksError: there is no actor.
    """

    def __init__(self, actors: Sequence[Actor], latents: Latents | None = None) -> None:
        if not actors:
            raise HeadworksError("the viewer needs at least one avatar")
        self.actors = list(actors)
        self.latents = latents
        self.mixable = len(actors) > 1 and can_mix([a.avatar for a in actors])
        self._ready: dict[Hashable, tuple[Avatar, Poser | None]] = {}

    def motions(self) -> list[str]:
        """Names of the motions that any actor has."""
        return list(dict.fromkeys(name for a in self.actors for name in a.motions))

    def duration(self, motion: str) -> float:
        """Seconds of a motion, 0 without one."""
        played = next((a.motions[motion] for a in self.actors if motion in a.motions), None)
        return 0.0 if played is None else max(len(played.rows) - 1, 1) / played.fps

    def row(self, actor: Actor, state: State) -> Row:
        """Expression and pose of an actor: [Ke + 21]."""
        row = actor.resting
        if state.motion in actor.motions:
            row = actor.frame(state.motion, state.time)
        if state.mix_expressions:
            weights = corner_weights(state.x, state.y)
            zero = np.zeros_like(row)
            corners = [actor.poses.get(name, zero) for name in state.corners]
            row = row + np.float32(1) * sum(w * c for w, c in zip(weights, corners, strict=True))
        return actor.moved(np.asarray(row, np.float32), state.values)

    def picture(self, state: State, view: View, height: int = 0) -> Picture:
        """What the state looks like.

        Args:
            height: pixels; 0: the state's. The width follows from the view.

        Returns:
            uint8 [H, W, 3]; with a pair, its two pictures side by side.
        """
        height = height or state.height
        width = max(16, round(height * view.aspect))
        if not state.pair:
            return self._pane(state, state.first, view, width, height)
        half = width // 2
        left = self._pane(state, state.first, view, half, height)
        right = self._pane(state, state.second, view, width - half, height)
        right[:, :1] = 200  # a line between them
        return np.concatenate([left, right], 1)

    def _pane(self, state: State, number: int, view: View, width: int, height: int) -> Picture:
        actor = self.actors[number]
        avatar, poser = self._avatar(state, number)
        expression, pose = unpack(self.row(actor, state)[None])
        camera = camera_of(view, width, height)
        if poser is not None:
            rgb, _ = picture_of(next(poser.frames(expression, pose)), camera, state.background)
        else:
            rgb, _ = avatar.render(expression[0], pose, camera, state.background)
        out = to_uint8(rgb)
        if state.names:
            write_on(out, "mixture" if state.mix_people and self.mixable else actor.name)
        return out

    def _avatar(self, state: State, number: int) -> tuple[Avatar, Poser | None]:
        """Who is shown, made ready for many frames."""
        mix = state.mix_people and self.mixable
        place = (round(state.x * _GRID), round(state.y * _GRID), state.people) if mix else number
        steps = {k: round(v * _GRID) / _GRID for k, v in state.latents.items() if v}
        key = (place, tuple(sorted(steps.items())))
        if key not in self._ready:
            avatar: Avatar = self.actors[number].avatar
            if mix:
                people = [self.actors[n].avatar for n in state.people]
                bound = [a for a in people if isinstance(a, BoundAvatar)]
                x, y = round(state.x * _GRID) / _GRID, round(state.y * _GRID) / _GRID
                avatar = mixed(bound, corner_weights(x, y))
            if steps and isinstance(avatar, BoundAvatar):
                avatar = self._edited(avatar, steps)
            while len(self._ready) >= _KEPT:
                self._ready.pop(next(iter(self._ready)))
            poser = Poser(avatar) if isinstance(avatar, BoundAvatar) else None
            self._ready[key] = (avatar, poser)
        return self._ready[key]

    def _edited(self, avatar: BoundAvatar, steps: dict[str, float]) -> BoundAvatar:
        fits = self.latents is not None and self.latents.fits(avatar)
        return self.latents.edited(avatar, steps) if self.latents and fits else avatar

    def motion_or_none(self, state: State) -> str | None:
        """The motion that a state plays."""
        return None if state.motion == NO_MOTION else state.motion


def camera_of(view: View, width: int, height: int) -> Camera:
    """A browser's camera on a picture of the given size.

    Its field of view is that of the shorter side: half a window shows the whole head, smaller.
    """
    focal = min(width, height) / 2 / np.tan(view.fov / 2)
    turn = quat_to_matrix(torch.tensor(view.wxyz, dtype=torch.float64)).numpy()
    viewmat = np.eye(4)
    viewmat[:3, :3] = turn.T
    viewmat[:3, 3] = -turn.T @ np.asarray(view.position)
    return Camera(viewmat, intrinsics(focal, width, height), width, height)


def write_on(picture: Picture, text: str, below: bool = False) -> None:
    """Words in the upper left corner, or in the lower right one."""
    import cv2

    font, size = cv2.FONT_HERSHEY_SIMPLEX, picture.shape[0] / 1000
    margin = round(16 * size) + 4
    (width, height), _ = cv2.getTextSize(text, font, size, 1)
    at = (margin, margin + height)
    if below:
        at = (picture.shape[1] - width - margin, picture.shape[0] - margin)
    for colour, thickness in (((255, 255, 255), 3), ((60, 66, 74), 1)):
        cv2.putText(picture, text, at, font, size, colour, thickness, cv2.LINE_AA)
