"""Cross re-enactment: one subject's performance, shown by another subject's avatar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from headworks.driving.performance import (
    Performance,
    Rest,
    home_rest,
    in_camera,
    posed,
    turned_by,
)
from headworks.heads.base import HeadModel, HeadPose
from headworks.heads.retarget import retargeting

MOST = 3.0
"""Standard deviations within which coefficients of either sign are kept."""


@dataclass(frozen=True)
class Transfer:
    """How a performance is taken over.

    Attributes:
        pose: "camera": the head turns against its camera as the driver did against theirs;
            "relative": it turns from its own rest as the driver from theirs; "still": it stays.
        neutral: expressions are changes of the resting face, and not taken as they are.
    """

    pose: Literal["camera", "relative", "still"] = "camera"
    neutral: bool = False


def transfer(
    driver: Performance,
    driver_rest: Rest,
    head: HeadModel,
    identity: Tensor,
    rest: Rest,
    how: Transfer,
) -> Performance:
    """A performance in the coefficients, identity and world of another subject.

    Positions are changes from where the heads usually are: whoever sat nearer to the camera or
    lower does not move the avatar. The torso keeps its own usual place below the head. A subject
    that drives itself gets its own performance back.

    Args:
        driver: what is done, in the world of `driver_rest.camera`. head, identity: the avatar's.
        rest: how the avatar's subject usually is; its camera's world is the result's.

    Returns:
        The performance of the avatar.
    """
    expression, pose, calm = in_coefficients_of(driver, driver_rest, head)
    rotations, offsets = in_camera(driver_rest, driver)
    if how.pose == "relative":
        rotations = rest.rotation @ (driver_rest.rotation.T @ rotations)
    if how.pose == "still":
        rotations = rest.rotation.expand(len(driver), 3, 3)
        offsets = rest.centre.expand(len(driver), 3)
        pose = replace(
            pose,
            neck=rest.neck.expand(len(driver), 3),
            neck_translation=rest.neck_translation.expand(len(driver), 3),
        )
    else:
        offsets = rest.centre + offsets - driver_rest.centre
        pose = replace(
            pose,
            neck=turned_by(pose.neck, driver_rest.neck, rest.neck),
            neck_translation=pose.neck_translation
            + rest.neck_translation
            - driver_rest.neck_translation,
        )
    if how.neutral:
        expression = bounded(head, expression + rest.expression - calm.expression)
        pose = replace(
            pose,
            jaw=turned_by(pose.jaw, calm.jaw, rest.jaw),
            eyes=turned_by(pose.eyes, calm.eyes, rest.eyes),
        )
    view = torch.from_numpy(rest.camera.viewmat).float()
    world = view[:3, :3].T @ rotations
    place = (offsets - view[:3, 3]) @ view[:3, :3]
    pose = posed(head, identity, expression, pose, world, place)
    return Performance(head, identity, expression, pose, driver.fps, driver.source)


def brought_home(performance: Performance, rest: Rest) -> Performance:
    """A subject's own performance, moved as a whole: upright, in the canonical place.

    Args:
        rest: how the subject usually is; the camera that looks becomes the portrait's.
    """
    head, identity = performance.head, performance.identity
    return transfer(
        performance, rest, head, identity, home_rest(head, identity, rest), Transfer()
    )  # fmt: skip


def in_coefficients_of(
    driver: Performance, rest: Rest, head: HeadModel
) -> tuple[Tensor, HeadPose, Rest]:
    """Expression, pose and resting face of a driver in the coefficients of another head model."""
    if driver.head.digest == head.digest:
        return driver.expression, driver.pose, rest
    mapping = retargeting(driver.head, head)
    expression, pose = mapping(driver.expression, driver.pose, head.signed())
    calm, calm_pose = mapping(rest.expression[None], _calm_pose(rest), head.signed())
    changed = replace(rest, expression=calm[0], jaw=calm_pose.jaw[0])
    return expression, pose, changed


def bounded(head: HeadModel, expression: Tensor) -> Tensor:
    """Coefficients [T, Ke] within what the head can show."""
    signed = torch.tensor(head.signed(), dtype=torch.bool)
    low, high = torch.where(signed, -MOST, 0.0), torch.where(signed, MOST, 1.0)
    return torch.minimum(torch.maximum(expression, low), high)


def _calm_pose(rest: Rest) -> HeadPose:
    return replace(HeadPose.zeros(1), jaw=rest.jaw[None], eyes=rest.eyes[None])
