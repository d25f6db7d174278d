"""`Tracking`: what a tracker knows about a capture, and what drives an avatar."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.artifacts import open_arrays, read_meta
from headworks.cameras import Camera
from headworks.errors import ArtifactError
from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import HeadModel, HeadPose

POSE_FIELDS = ("rotation", "translation", "neck", "neck_translation", "jaw", "eyes")


@dataclass(frozen=True)
class Tracking:
    """Head model coefficients over time, and the cameras that see them.

    Attributes:
        head: name of the head model (`headworks.heads.load_head`). head_digest: its digest.
        identity: [Ki]. expression: [T, Ke]. pose: batch of T. valid: bool [T].
        viewmats: float64 [C, 4, 4]. Ks: float64 [T, C, 3, 3] in working pixels.
        view_weights: float32 [T, C] in [0, 1], how far a fit should trust a picture (blurred,
            occluded or badly tracked ones less); None where nobody rated them.
    """

    head: str
    head_digest: str
    identity: Tensor
    expression: Tensor
    pose: HeadPose
    valid: NDArray[np.bool_]
    viewmats: NDArray[np.float64]
    Ks: NDArray[np.float64]
    view_weights: NDArray[np.float32] | None = None

    @property
    def weights(self) -> NDArray[np.float32]:
        """[T] in [0, 1]: mean trust in a frame's pictures; 1 where nobody rated them, 0 invalid."""
        if self.view_weights is None:
            return self.valid.astype(np.float32)
        return self.view_weights.mean(1) * self.valid

    def __len__(self) -> int:
        return len(self.expression)

    def camera(self, t: int, c: int, width: int, height: int) -> Camera:
        """Camera `c` at time `t` for images of the working size (width, height)."""
        return Camera(self.viewmats[c], self.Ks[t, c], width, height)

    def vertices(self, head: HeadModel, times: list[int] | NDArray[np.int64]) -> Tensor:
        """Posed vertices [len(times), V, 3], metres."""
        index = torch.as_tensor(np.asarray(times), dtype=torch.long)
        identity = self.identity[None].expand(len(index), -1)
        return head.vertices(identity, self.expression[index], self.pose[index])

    def upright_pose(self, head: HeadModel) -> HeadPose:
        """The head in its canonical place, the torso where it usually is below it.

        A capture has seen the neck and collar from the torso's usual place only; in the model's
        canonical pose parts come into view that no frame has shown.

        Returns:
            Batch of 1; jaw and eyes at rest.
        """
        seen = torch.from_numpy(np.flatnonzero(self.valid))
        neck = self.pose.neck[seen].median(0).values
        shift = self.pose.neck_translation[seen].median(0).values
        joint = head.joints[1] + torch.einsum("k,kc->c", self.identity, head.joint_identity[:, 1])
        back = axis_angle_to_matrix(-neck)
        pose = HeadPose.zeros(1)
        return replace(
            pose,
            rotation=-neck[None],
            translation=(joint - back @ (joint + shift))[None],
            neck=neck[None],
            neck_translation=shift[None],
        )


def read_tracking(group: Path, head: str, head_digest: str) -> Tracking:
    """Read the tracking arrays of a Zarr group (docs/artifacts.md).

    Args:
        group: `tracking.zarr`, or `truth/truth.zarr` of a synthetic capture.
        head, head_digest: what the artifact beside it says.

    Raises:
        ArtifactError: when an array is missing.
    """
    arrays = open_arrays(group)
    missing = {"identity", "expression", "viewmats", "Ks", *POSE_FIELDS} - set(arrays.array_keys())
    if missing:
        raise ArtifactError(f"{group}: no {', '.join(sorted(missing))}; run the stage again")

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.asarray(arrays[name][...], np.float32))

    expression = tensor("expression")
    valid = arrays["valid"][...] if "valid" in arrays else np.ones(len(expression), bool)
    return Tracking(
        head=head,
        head_digest=head_digest,
        identity=tensor("identity"),
        expression=expression,
        pose=HeadPose(*(tensor(name) for name in POSE_FIELDS)),
        valid=np.asarray(valid, bool),
        viewmats=np.asarray(arrays["viewmats"][...], np.float64),
        Ks=np.asarray(arrays["Ks"][...], np.float64),
        view_weights=(
            np.asarray(arrays["view_weights"][...], np.float32)
            if "view_weights" in arrays
            else None
        ),
    )


def load_tracking(folder: Path) -> Tracking:
    """Read a tracking artifact.

    Raises:
        ArtifactError: when the folder is not a tracking artifact.
    """
    meta = read_meta(folder, "tracking")
    return read_tracking(folder / "tracking.zarr", meta["head"], meta["head_digest"])


def load_truth(capture: Path) -> Tracking:
    """The exact tracking of a synthetic capture.

    Raises:
        ArtifactError: when the capture carries no truth.
    """
    path = Path(capture) / "truth" / "truth.json"
    try:
        facts = json.loads(path.read_text())
        head, digest = facts["head"], facts["head_digest"]
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path}: no exact tracking there ({error!r})") from None
    return read_tracking(path.with_name("truth.zarr"), head, digest)
