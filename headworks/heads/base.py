"""`HeadModel`: the one interface under which every 3D morphable head model stands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

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

_DERIVED = ("mirror_vertices", "dense_names", "dense_faces", "dense_bary")
"""Fields that follow from the others (`headworks.heads.complete`): no part of the digest."""


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
    def zeros(
        batch: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> HeadPose:
        """The canonical pose, `batch` times."""
        r, t, n, nt, j = (torch.zeros(batch, 3, dtype=dtype, device=device) for _ in range(5))
        return HeadPose(r, t, n, nt, j, torch.zeros(batch, 2, 3, dtype=dtype, device=device))

    def __getitem__(self, index: object) -> HeadPose:
        """Rows of the batch (an index that keeps the batch dimension)."""
        return HeadPose(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> HeadPose:
        """The same pose on another device."""
        return HeadPose(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A head model with linear shapes, five joints and, where it has them, pose correctives.

    vertices = skin(template + identity . identity_basis + expression . expression_basis
                    + corrective products . corrective_basis + pose_feature . pose_basis).
    Frame: +x to the subject's left, +y up, +z out of the face, metres, origin between the ear
    canals. Coefficients are in standard deviations (identity) and, for expressions, activations
    in [0, 1] or, where `expression_signed` says so, standard deviations of either sign. All
    tensors live on one device; float32.

    Attributes:
        name: how params.yaml names the model.
        template: [V, 3]. identity_basis: [Ki, V, 3]. expression_basis: [Ke, V, 3].
        expression_names: Ke names, ARKit's where they coincide.
        faces: int64 [F, 3], counter-clockwise from outside. face_regions: int64 [F] into REGIONS.
        uvs: [U, 2] in [0, 1], v up, one atlas without overlaps. faces_uv: int64 [F, 3] into uvs.
        landmark_faces: int64 [68]. landmark_bary: [68, 3] (iBUG-68 order).
        joints: [5, 3] rest positions in JOINTS order. joint_identity: [Ki, 5, 3].
        skin_weights: [V, 5], rows sum to 1.
        expression_signed: bool per expression, or empty where all are activations in [0, 1].
        pose_basis: [36, V, 3] pose correctives, added before skinning: rows are the entries, row
            by row, of R - I for neck, jaw, left eye, right eye (in that order); None without.
        corrective_basis: [Kc, V, 3] shapes that products of two coefficients add, such as the blink
            of a person with tall lids; None without. corrective_terms: int64 [Kc, 2], which two:
            indices into identity and expression coefficients, one after the other.
        joint_expression: [Ke, 5, 3], how expressions shift the joints; None where they do not.
        mirror_vertices: int64 [V], each vertex's partner on the other side of x = 0, itself on
            the midline, -1 where it has none.
        dense_names: names of the dense landmarks, in the order of `dense.DENSE_NAMES`.
        dense_faces: int64 [D]. dense_bary: [D, 3].
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
    expression_signed: tuple[bool, ...] = ()
    pose_basis: Tensor | None = None
    corrective_basis: Tensor | None = None
    corrective_terms: Tensor | None = None
    joint_expression: Tensor | None = None
    mirror_vertices: Tensor | None = None
    dense_names: tuple[str, ...] = ()
    dense_faces: Tensor | None = None
    dense_bary: Tensor | None = None

    def __post_init__(self) -> None:
        v, ki, ke = len(self.template), len(self.identity_basis), len(self.expression_basis)
        kc = 0 if self.corrective_terms is None else len(self.corrective_terms)
        expected = {
            "template": (v, 3), "identity_basis": (ki, v, 3), "expression_basis": (ke, v, 3),
            "landmark_bary": (68, 3), "landmark_faces": (68,), "joints": (5, 3),
            "joint_identity": (ki, 5, 3), "skin_weights": (v, 5), "pose_basis": (36, v, 3),
            "joint_expression": (ke, 5, 3), "mirror_vertices": (v,),
            "dense_faces": (len(self.dense_names),), "dense_bary": (len(self.dense_names), 3),
            "corrective_terms": (kc, 2), "corrective_basis": (kc, v, 3),
        }  # fmt: skip
        for field, shape in expected.items():
            value = getattr(self, field)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{self.name}.{field}: expected {shape}, got {tuple(value.shape)}")
        if self.expression_signed and len(self.expression_signed) != ke:
            raise ValueError(f"{self.name}: {ke} expressions, {len(self.expression_signed)} signs")
        if len(self.expression_names) != ke:
            raise ValueError(
                f"{self.name}: {ke} expressions but {len(self.expression_names)} names"
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over what defines the model: with one digest, two are the same model.

        Neither the name nor what follows from the rest (symmetry, dense landmarks) is part of it.
        """
        h = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _DERIVED or value is None or value == ():
                continue
            h.update(field.name.encode())
            if isinstance(value, Tensor):
                h.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
            elif field.name != "name":
                h.update("\n".join(map(str, value)).encode())
        return h.hexdigest()

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> HeadModel:
        """The same model on another device, or with real numbers of another precision."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                moved[field.name] = value.to(device, dtype if value.is_floating_point() else None)
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

    def signed(self) -> tuple[bool, ...]:
        """For each expression, whether it may be negative (standard deviations of a basis)."""
        return self.expression_signed or (False,) * len(self.expression_names)

    def expression_pairs(self) -> Tensor:
        """Int64 [P, 2]: expressions whose names say that they are each other's mirror image."""
        names = self.expression_names
        pairs = [
            (i, names.index(n[:-4] + "Right"))
            for i, n in enumerate(names)
            if n.endswith("Left") and n[:-4] + "Right" in names
        ]
        return torch.tensor(pairs, dtype=torch.long, device=self.template.device).reshape(-1, 2)

    def rest_vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Shaped but unposed vertices.

        Args:
            identity: [B, Ki]. expression: [B, Ke].

        Returns:
            [B, V, 3] metres.
        """
        shaped = torch.einsum("bk,kvc->bvc", identity, self.identity_basis)
        shaped = (
            self.template + shaped + torch.einsum("bk,kvc->bvc", expression, self.expression_basis)
        )
        if self.corrective_basis is None or self.corrective_terms is None:
            return shaped
        both = torch.cat([identity, expression], 1)[:, self.corrective_terms]
        return shaped + torch.einsum("bk,kvc->bvc", both.prod(2), self.corrective_basis)

    def pose_offsets(self, pose: HeadPose) -> Tensor | float:
        """What pose correctives add to the rest vertices: [B, V, 3], or 0 without them."""
        if self.pose_basis is None:
            return 0.0
        angles = torch.stack([pose.neck, pose.jaw, *pose.eyes.unbind(1)], 1)
        eye = torch.eye(3, dtype=angles.dtype, device=angles.device)
        feature = (axis_angle_to_matrix(angles) - eye).flatten(1)
        return torch.einsum("bp,pvc->bvc", feature, self.pose_basis)

    def joint_transforms(
        self, identity: Tensor, pose: HeadPose, expression: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """World transforms of the five joints as x_world = R x_rest + t.

        Args:
            identity: [B, Ki]. pose: batch of B. expression: [B, Ke], for models whose joints
                follow it; None means neutral.

        Returns:
            R [B, 5, 3, 3], t [B, 5, 3].
        """
        rest = self.joints + torch.einsum("bk,kjc->bjc", identity, self.joint_identity)
        if self.joint_expression is not None and expression is not None:
            rest = rest + torch.einsum("bk,kjc->bjc", expression, self.joint_expression)
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
        return rest if pose is None else self.posed(rest, identity, expression, pose)

    def posed(self, rest: Tensor, identity: Tensor, expression: Tensor, pose: HeadPose) -> Tensor:
        """Vertices [B, V, 3] in a pose, from `rest_vertices` of the same coefficients."""
        rest = rest + self.pose_offsets(pose)
        rotations, offsets = self.joint_transforms(identity, pose, expression)
        r = torch.einsum("vj,bjxy->bvxy", self.skin_weights, rotations)
        t = torch.einsum("vj,bjx->bvx", self.skin_weights, offsets)
        return torch.einsum("bvxy,bvy->bvx", r, rest) + t

    def landmarks(self, vertices: Tensor) -> Tensor:
        """The 68 landmarks [B, 68, 3] of posed vertices [B, V, 3]."""
        corners = vertices[:, self.faces[self.landmark_faces]]
        return (corners * self.landmark_bary[:, :, None]).sum(2)

    def dense_landmarks(self, vertices: Tensor) -> Tensor:
        """The dense landmarks [B, D, 3] (`dense_names`) of posed vertices [B, V, 3].

        Raises:
            ValueError: when the model was made without them (`headworks.heads.complete`).
        """
        if self.dense_faces is None or self.dense_bary is None:
            raise ValueError(f"{self.name}: no dense landmarks; see headworks.heads.complete")
        corners = vertices[:, self.faces[self.dense_faces]]
        return (corners * self.dense_bary[:, :, None]).sum(2)

    def restricted(self, vertex_ids: Sequence[int] | Tensor) -> HeadModel:
        """The model on a few vertices only (for fast landmark fitting); it has no faces.

        Args:
            vertex_ids: [M] vertices to keep, in the order they shall have.
        """
        ids = torch.as_tensor(vertex_ids, dtype=torch.long, device=self.faces.device)
        empty = torch.zeros(0, 3, dtype=torch.long, device=self.faces.device)
        return replace(
            self,
            template=self.template[ids],
            identity_basis=self.identity_basis[:, ids],
            expression_basis=self.expression_basis[:, ids],
            skin_weights=self.skin_weights[ids],
            pose_basis=None if self.pose_basis is None else self.pose_basis[:, ids],
            corrective_basis=(
                None if self.corrective_basis is None else self.corrective_basis[:, ids]
            ),
            mirror_vertices=None,
            dense_names=(),
            dense_faces=None,
            dense_bary=None,
            faces=empty,
            faces_uv=empty,
            face_regions=empty[:, 0],
        )

    def region_faces(self, *names: str) -> Tensor:
        """Bool [F]: faces that belong to any of the named regions."""
        ids = torch.tensor([REGIONS.index(n) for n in names], device=self.face_regions.device)
        return torch.isin(self.face_regions, ids)
