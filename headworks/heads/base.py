"""`HeadModel`: the one interface under which every 3D morphable head model stands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from headworks.geometry import axis_angle_to_matrix

JOINTS = ("root", "neck", "jaw", "eye_left", "eye_right")
REGIONS = (
    "skin", "scalp", "lips", "eyelids", "eyes", "teeth", "tongue", "mouth_inner", "ears", "neck",
    "torso",
)  # fmt: skip
"""Names of the values of `HeadModel.face_regions`."""


@dataclass(frozen=True)
class HeadPose:
    """Joint pose of a batch of heads; angles are axis-angle in radians, lengths in metres.

    The root carries the torso; the neck turns the head against the torso (and may shift it, for
    trackers that see head and torso move apart). The order in time is jaw and eyes, neck, root:
    x_world = R(rotation) x_posed + translation, where the rotation is about the canonical origin.

    Attributes:
        rotation, translation: [B, 3] of the root. neck, neck_translation: [B, 3].
        jaw: [B, 3]. eyes: [B, 2, 3], the subject's left eye first.
    """

    rotation: Tensor
    translation: Tensor
    neck: Tensor
    neck_translation: Tensor
    jaw: Tensor
    eyes: Tensor

    @staticmethod
    def zeros(batch: int, dtype: torch.dtype = torch.float32) -> HeadPose:
        """The canonical pose, `batch` times."""
        r, t, n, nt, j = (torch.zeros(batch, 3, dtype=dtype) for _ in range(5))
        return HeadPose(r, t, n, nt, j, torch.zeros(batch, 2, 3, dtype=dtype))

    def __getitem__(self, index: object) -> HeadPose:
        """Rows of the batch (an index that keeps the batch dimension)."""
        return HeadPose(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> HeadPose:
        """The same pose on another device."""
        return HeadPose(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A linear head model with five joints.

    vertices = skin(template + identity . identity_basis + expression . expression_basis).
    Frame: +x to the subject's left, +y up, +z out of the face, metres, origin between the ear
    canals. Coefficients are in standard deviations (identity) and [0, 1]-like activations
    (expression). All tensors live on one device; float32.

    Attributes:
        name: how params.yaml names the model.
        template: [V, 3]. identity_basis: [Ki, V, 3]. expression_basis: [Ke, V, 3].
        expression_names: Ke names, ARKit's where they coincide.
        faces: int64 [F, 3], counter-clockwise from outside. face_regions: int64 [F] into REGIONS.
        uvs: [U, 2] in [0, 1], v up, one atlas without overlaps. faces_uv: int64 [F, 3] into uvs.
        landmark_faces: int64 [68]. landmark_bary: [68, 3] (iBUG-68 order).
        joints: [5, 3] rest positions in JOINTS order. joint_identity: [Ki, 5, 3].
        skin_weights: [V, 5], rows sum to 1.
    """

    name: str
    template: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    expression_names: tuple[str, ...]
    faces: Tensor
    face_regions: Tensor
    uvs: Tensor
    faces_uv: Tensor
    landmark_faces: Tensor
    landmark_bary: Tensor
    joints: Tensor
    joint_identity: Tensor
    skin_weights: Tensor

    def __post_init__(self) -> None:
        v, ki, ke = len(self.template), len(self.identity_basis), len(self.expression_basis)
        expected = {
            "template": (v, 3), "identity_basis": (ki, v, 3), "expression_basis": (ke, v, 3),
            "landmark_bary": (68, 3), "landmark_faces": (68,), "joints": (5, 3),
            "joint_identity": (ki, 5, 3), "skin_weights": (v, 5),
        }  # fmt: skip
        for field, shape in expected.items():
            actual = tuple(getattr(self, field).shape)
            if actual != shape:
                raise ValueError(f"{self.name}.{field}: expected {shape}, got {actual}")
        if len(self.expression_names) != ke:
            raise ValueError(
                f"{self.name}: {ke} expressions but {len(self.expression_names)} names"
            )

    @property
    def digest(self) -> str:
        """SHA-256 over all tensors and names: two models with one digest are the same model."""
        h = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            h.update(field.name.encode())
            if isinstance(value, Tensor):
                h.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
            elif field.name != "name":
                h.update("\n".join(value).encode())
        return h.hexdigest()

    def to(self, device: torch.device | str) -> HeadModel:
        """The same model on another device."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def expression_index(self, name: str) -> int:
        """Position of a named expression.

        Raises:
            KeyError: with the names there are.
        """
        try:
            return self.expression_names.index(name)
        except ValueError:
            raise KeyError(
                f"{self.name} has no expression {name!r}: {self.expression_names}"
            ) from None

    def rest_vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Shaped but unposed vertices.

        Args:
            identity: [B, Ki]. expression: [B, Ke].

        Returns:
            [B, V, 3] metres.
        """
        shaped = torch.einsum("bk,kvc->bvc", identity, self.identity_basis)
        return (
            self.template + shaped + torch.einsum("bk,kvc->bvc", expression, self.expression_basis)
        )

    def joint_transforms(self, identity: Tensor, pose: HeadPose) -> tuple[Tensor, Tensor]:
        """World transforms of the five joints as x_world = R x_rest + t.

        Args:
            identity: [B, Ki]. pose: batch of B.

        Returns:
            R [B, 5, 3, 3], t [B, 5, 3].
        """
        rest = self.joints + torch.einsum("bk,kjc->bjc", identity, self.joint_identity)
        root = axis_angle_to_matrix(pose.rotation)
        neck = axis_angle_to_matrix(pose.neck)
        own = [axis_angle_to_matrix(pose.jaw), *axis_angle_to_matrix(pose.eyes).unbind(1)]

        def apply(r: Tensor, x: Tensor) -> Tensor:
            return torch.einsum("bij,bj->bi", r, x)

        neck_t = rest[:, 1] - apply(neck, rest[:, 1]) + pose.neck_translation
        rotations, offsets = (
            [root, root @ neck],
            [pose.translation, apply(root, neck_t) + pose.translation],
        )
        for i, r in enumerate(own):
            pivot = rest[:, 2 + i]
            rotations.append(root @ neck @ r)
            offsets.append(apply(root @ neck, pivot - apply(r, pivot)) + offsets[1])
        return torch.stack(rotations, 1), torch.stack(offsets, 1)

    def vertices(
        self, identity: Tensor, expression: Tensor, pose: HeadPose | None = None
    ) -> Tensor:
        """Posed vertices, differentiable in every argument.

        Args:
            identity: [B, Ki]. expression: [B, Ke]. pose: batch of B; None means canonical.

        Returns:
            [B, V, 3] metres in the world.
        """
        rest = self.rest_vertices(identity, expression)
        if pose is None:
            return rest
        rotations, offsets = self.joint_transforms(identity, pose)
        r = torch.einsum("vj,bjxy->bvxy", self.skin_weights, rotations)
        t = torch.einsum("vj,bjx->bvx", self.skin_weights, offsets)
        return torch.einsum("bvxy,bvy->bvx", r, rest) + t

    def landmarks(self, vertices: Tensor) -> Tensor:
        """The 68 landmarks [B, 68, 3] of posed vertices [B, V, 3]."""
        corners = vertices[:, self.faces[self.landmark_faces]]
        return (corners * self.landmark_bary[:, :, None]).sum(2)

    def restricted(self, vertex_ids: Sequence[int] | Tensor) -> HeadModel:
        """The model on a few vertices only (for fast landmark fitting); it has no faces.

        Args:
            vertex_ids: [M] vertices to keep, in the order they shall have.
        """
        ids = torch.as_tensor(vertex_ids, dtype=torch.long)
        empty = torch.zeros(0, 3, dtype=torch.long)
        return replace(
            self,
            template=self.template[ids],
            identity_basis=self.identity_basis[:, ids],
            expression_basis=self.expression_basis[:, ids],
            skin_weights=self.skin_weights[ids],
            faces=empty,
            faces_uv=empty,
            face_regions=torch.zeros(0, dtype=torch.long),
        )

    def region_faces(self, *names: str) -> Tensor:
        """Bool [F]: faces that belong to any of the named regions."""
        ids = torch.tensor([REGIONS.index(n) for n in names], device=self.face_regions.device)
        return torch.isin(self.face_regions, ids)
