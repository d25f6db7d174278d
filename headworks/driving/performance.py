"""`Performance`: what a head does over time. `Rest`: how a subject usually is in its capture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.cameras import Camera
from headworks.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from headworks.heads.base import HeadModel, HeadPose
from headworks.pictures import portrait_camera
from headworks.tracks import Tracking

_CALM = 0.25
"""Share of the frames, those of least expression, whose median is a subject's resting face."""
_NECK = 1
"""Joint that carries the head."""


@dataclass(frozen=True)
class Performance:
    """Expression and pose over time, in the coefficients of one head model.

    Attributes:
        head: the model. identity: [Ki] of whoever performs. expression: [T, Ke].
        pose: batch of T. fps: frames per second. source: what it came from, in words.
    """

    head: HeadModel
    identity: Tensor
    expression: Tensor
    pose: HeadPose
    fps: float
    source: str

    def __len__(self) -> int:
        return len(self.expression)

    def part(self, index: slice | NDArray[np.int64]) -> Performance:
        """Some of its frames."""
        rows = torch.arange(len(self))[index]
        return replace(self, expression=self.expression[rows], pose=self.pose[rows])

    def head_motion(self) -> tuple[Tensor, Tensor]:
        """Where the head (not the torso) is: R [T, 3, 3], t [T, 3]; x_world = R x_canonical + t."""
        identity = self.identity[None].expand(len(self), -1)
        rotations, offsets = self.head.joint_transforms(identity, self.pose, self.expression)
        return rotations[:, _NECK], offsets[:, _NECK]


@dataclass(frozen=True)
class Rest:
    """How a subject usually is in its capture, as one of its cameras sees it.

    Attributes:
        camera: that camera. rotation: [3, 3] and centre: [3] of the head in its axes.
        neck, neck_translation: [3], how the torso usually stands to the head.
        expression: [Ke], jaw: [3], eyes: [2, 3] of the resting face.
    """

    camera: Camera
    rotation: Tensor
    centre: Tensor
    neck: Tensor
    neck_translation: Tensor
    expression: Tensor
    jaw: Tensor
    eyes: Tensor


State = Callable[[Tracking, int], tuple[Tensor, HeadPose]]
"""Expression [Ke] and pose (batch of 1) of a time: `Avatar.state`."""


def performance_of(
    head: HeadModel, tracking: Tracking, fps: float, source: str, state: State | None = None
) -> Performance:
    """A tracked capture as a performance; a time that was not tracked repeats the one before.

    Args:
        head: the tracking's. fps: frames per second. source: in words.
        state: of an avatar made of this capture, whose fitting may have refined some times.

    Raises:
        ValueError: nothing was tracked.
    """
    valid = np.flatnonzero(tracking.valid)
    if not len(valid):
        raise ValueError("no frame was tracked")
    held = valid[np.maximum(np.searchsorted(valid, np.arange(len(tracking)), "right") - 1, 0)]
    rows = torch.from_numpy(held)
    if state is not None:
        states = [state(tracking, int(t)) for t in held]
        poses = (torch.cat([getattr(pose, f.name) for _, pose in states]) for f in fields(HeadPose))
        expression = torch.stack([e for e, _ in states])
        return Performance(head, tracking.identity, expression, HeadPose(*poses), fps, source)
    return Performance(
        head, tracking.identity, tracking.expression[rows], tracking.pose[rows], fps, source
    )


def frontal_camera(head: HeadModel, tracking: Tracking) -> int:
    """Index of the camera that sees the face most squarely over the valid frames."""
    valid = torch.from_numpy(np.flatnonzero(tracking.valid))
    seen = Performance(
        head, tracking.identity, tracking.expression[valid], tracking.pose[valid], 1.0, ""
    )
    rotations, _ = seen.head_motion()
    forward = mean_rotation(rotations)[:, 2].double().numpy()
    towards = -tracking.viewmats[:, 2, :3] @ forward
    return int(np.argmax(towards))


def tracked_rest(head: HeadModel, tracking: Tracking, size: tuple[int, int], camera: int) -> Rest:
    """How a tracked subject usually is.

    Args:
        size: (width, height) of the working frames. camera: index of the camera that looks.
    """
    valid = np.flatnonzero(tracking.valid)
    rows = torch.from_numpy(valid)
    some = Performance(
        head, tracking.identity, tracking.expression[rows], tracking.pose[rows], 1.0, ""
    )
    view = tracking.camera(int(valid[len(valid) // 2]), camera, *size)
    rotations, offsets = _in_camera(view, *some.head_motion())
    signed = torch.tensor(head.signed(), dtype=torch.bool)
    # A basis of standard deviations has its rest at its mean, activations at their least.
    effort = torch.where(signed, 0.0, some.expression).sum(1) + some.pose.jaw.norm(dim=1)
    calm = effort.argsort(stable=True)[: max(1, round(_CALM * len(effort)))]
    return Rest(
        camera=view,
        rotation=mean_rotation(rotations),
        centre=offsets.median(0).values,
        neck=some.pose.neck.median(0).values,
        neck_translation=some.pose.neck_translation.median(0).values,
        expression=some.expression[calm].median(0).values,
        jaw=some.pose.jaw[calm].median(0).values,
        eyes=some.pose.eyes[calm].median(0).values,
    )


def canonical_rest(head: HeadModel, identity: Tensor, side: int = 512) -> Rest:
    """An upright, neutral head before a portrait camera: for whoever has no capture at hand.

    Args:
        identity: [Ki]. side: pixels of the camera's square picture.
    """
    camera = portrait_camera(bare_head(head, identity), side)
    rotation = torch.from_numpy(camera.viewmat[:3, :3].astype(np.float32))
    centre = torch.from_numpy(camera.viewmat[:3, 3].astype(np.float32))
    zero = torch.zeros(3)
    expression = torch.zeros(len(head.expression_names))
    return Rest(camera, rotation, centre, zero, zero, expression, zero, torch.zeros(2, 3))


def home_rest(head: HeadModel, identity: Tensor, rest: Rest, side: int = 512) -> Rest:
    """The canonical place, with the torso and the face that a subject's own capture has shown."""
    home = canonical_rest(head, identity, side)
    return replace(rest, camera=home.camera, rotation=home.rotation, centre=home.centre)


def still(
    head: HeadModel, identity: Tensor, expression: Tensor, rest: Rest, source: str = "still"
) -> Performance:
    """One frame of an expression [Ke], head and torso as they rest in the rest's world."""
    place = world_place(rest)
    pose = replace(
        HeadPose.zeros(1), neck=rest.neck[None], neck_translation=rest.neck_translation[None]
    )
    rotation = torch.from_numpy(place[:3, :3]).float()[None]
    centre = torch.from_numpy(place[:3, 3]).float()[None]
    pose = posed(head, identity, expression[None], pose, rotation, centre)
    return Performance(head, identity, expression[None], pose, 25.0, source)


def bare_head(head: HeadModel, identity: Tensor) -> NDArray[np.float32]:
    """Vertices [., 3] of the neutral head without neck and torso, canonical frame."""
    neutral = torch.zeros(1, len(head.expression_names))
    with torch.no_grad():
        vertices = head.rest_vertices(identity[None], neutral)[0].numpy()
    body = head.region_faces("torso", "neck").numpy()
    return vertices[np.unique(head.faces.numpy()[~body])]


def world_place(rest: Rest) -> NDArray[np.float64]:
    """Canonical head -> world [4, 4] of the resting head."""
    place = np.eye(4)
    place[:3, :3] = rest.rotation.double().numpy()
    place[:3, 3] = rest.centre.double().numpy()
    return np.linalg.inv(rest.camera.viewmat) @ place


def mean_rotation(rotations: Tensor) -> Tensor:
    """The rotation [3, 3] nearest to all of [T, 3, 3] (chordal mean)."""
    u, _, vt = torch.linalg.svd(rotations.double().mean(0))
    sign = torch.ones(3, dtype=torch.float64)
    sign[2] = torch.det(u) * torch.det(vt)
    return (u @ torch.diag(sign) @ vt).to(rotations.dtype)


def _in_camera(camera: Camera, rotations: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """World transforms [T, ...] in the axes of a camera."""
    view = torch.from_numpy(camera.viewmat.astype(np.float32))
    return view[:3, :3] @ rotations, offsets @ view[:3, :3].T + view[:3, 3]


def in_camera(rest: Rest, performance: Performance) -> tuple[Tensor, Tensor]:
    """Where the head is in the axes of the resting camera: R [T, 3, 3], t [T, 3]."""
    return _in_camera(rest.camera, *performance.head_motion())


def posed(
    head: HeadModel, identity: Tensor, expression: Tensor, pose: HeadPose, rotations: Tensor,
    offsets: Tensor,
) -> HeadPose:  # fmt: skip
    """The pose whose root puts the head where it is asked to be.

    Args:
        identity: [Ki]. expression: [T, Ke]. pose: batch of T; its root is replaced.
        rotations: [T, 3, 3] and offsets: [T, 3] of the head in the world.
    """
    still = replace(
        pose, rotation=torch.zeros_like(pose.rotation), translation=torch.zeros_like(offsets)
    )
    everyone = identity[None].expand(len(expression), -1)
    turned, moved = head.joint_transforms(everyone, still, expression)
    root = rotations @ turned[:, _NECK].transpose(1, 2)
    shift = offsets - torch.einsum("tij,tj->ti", root, moved[:, _NECK])
    return replace(pose, rotation=matrix_to_axis_angle(root), translation=shift)


def turned_by(axis_angle: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Axis-angle [T, 3] of after . before^-1 . R(axis_angle): a turn taken to another rest."""
    change = axis_angle_to_matrix(after) @ axis_angle_to_matrix(before).transpose(-1, -2)
    return matrix_to_axis_angle(change @ axis_angle_to_matrix(axis_angle))
