"""Points on a head's surface, linear in identity and expression: what landmark fitting sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.heads.base import JOINTS, HeadModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PointModel:
    """A head model on M surface points, in the frame of the turned head (after the neck).

    Points are taken to move wholly with the head, the jaw only opens (about the x axis).

    Attributes:
        template: [M, 3]. identity: [M, 3, Ki]. expression: [M, 3, Ke].
        jaw_weight: [M]. jaw_pivot: [3].
        corrective: [M, 3, Kc] and terms: int [Kc, 2], see `HeadModel.corrective_basis`.
    """

    template: Array
    identity: Array
    expression: Array
    jaw_weight: Array
    jaw_pivot: Array
    corrective: Array
    terms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.template)

    def shapes(self, identity: Array) -> Array:
        """Expression shapes [M, 3, Ke] of one person: with the correctives of that identity."""
        by_person, first, second = self._by_person(len(identity))
        if len(by_person) == 0:
            return self.expression
        out = self.expression.copy()
        for c, i, e in zip(by_person, first, second):
            if identity[i]:
                out[..., e] += identity[i] * self.corrective[..., c]
        return out

    def _by_person(self, ki: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Correctives of an identity and an expression: their numbers, and the two of each."""
        first, second = self.terms.T
        own = np.flatnonzero((first < ki) & (second >= ki))
        return own, first[own], second[own] - ki

    def _together(self, expression: Array) -> tuple[NDArray[np.int64], Array]:
        """Correctives of two expressions [K] and their coefficients [..., K]."""
        ki = self.identity.shape[-1]
        chosen = np.flatnonzero((self.terms >= ki).all(1))
        first, second = (self.terms[chosen] - ki).T
        return chosen, expression[..., first] * expression[..., second]

    def rest(self, index: NDArray[np.int64], identity: Array, expression: Array) -> Array:
        """Shaped points before the jaw opens.

        Args:
            index: [T, N] or [N] points. identity: [Ki]. expression: [T, Ke].

        Returns:
            [T, N, 3] metres.
        """
        shaped = self.template + self.identity @ identity
        letters = "nck,tk->tnc" if index.ndim == 1 else "tnck,tk->tnc"
        out = shaped[index] + np.einsum(letters, self.shapes(identity)[index], expression)
        chosen, product = self._together(expression)
        if product.any():
            out = out + np.einsum(letters, self.corrective[..., chosen][index], product)
        return out

    def opened(self, index: NDArray[np.int64], rest: Array, jaw: Array) -> tuple[Array, Array]:
        """Open the jaw.

        Args:
            index: as for `rest`. rest: [T, N, 3]. jaw: [T] radians about x.

        Returns:
            points [T, N, 3] and their derivative by the angle [T, N, 3].
        """
        local = rest - self.jaw_pivot
        cos, sin = np.cos(jaw)[:, None], np.sin(jaw)[:, None]
        y, z = local[..., 1], local[..., 2]
        weight = self.jaw_weight[index][..., None]
        moved = np.stack([local[..., 0], cos * y - sin * z, sin * y + cos * z], -1)
        slope = np.stack([np.zeros_like(y), -sin * y - cos * z, cos * y - sin * z], -1)
        return rest + weight * (moved - local), weight * slope

    def with_modes(self, modes: Array) -> PointModel:
        """The same points with further identity modes [M, 3, K], after its own."""
        ki, more = self.identity.shape[-1], modes.shape[-1]
        terms = np.where(self.terms >= ki, self.terms + more, self.terms)
        return replace(self, identity=np.concatenate([self.identity, modes], -1), terms=terms)

    def points(
        self, index: NDArray[np.int64], identity: Array, expression: Array, jaw: Array
    ) -> Array:
        """[T, N, 3] points in the head's frame, metres."""
        return self.opened(index, self.rest(index, identity, expression), jaw)[0]

    def whole(self, identity: Array, expression: Array, jaw: float) -> Array:
        """All points [M, 3] of one frame: identity [Ki], expression [Ke]."""
        used = np.flatnonzero(expression)
        rest = self.template + self.identity @ identity
        rest = rest + self.expression[..., used] @ expression[used]
        own, first, second = self._by_person(len(identity))
        if len(own):
            rest = rest + self.corrective[..., own] @ (identity[first] * expression[second])
        chosen, product = self._together(expression)
        rest = rest + self.corrective[..., chosen] @ product
        return self.opened(np.arange(len(self)), rest[None], np.array([jaw]))[0][0]


def surface_points(
    head: HeadModel, faces: NDArray[np.int64], barycentric: NDArray[np.floating]
) -> PointModel:
    """Points given by triangles and barycentric coordinates.

    Args:
        head: the model. faces: [M] triangles. barycentric: [M, 3].
    """
    corners = head.faces.numpy()[faces]  # [M, 3]
    used, local = np.unique(corners, return_inverse=True)
    local = local.reshape(corners.shape)
    few = head.restricted(torch.from_numpy(used))
    weights = np.asarray(barycentric, np.float64)
    corrective, terms = _correctives(few)

    def blend(values: NDArray[np.floating]) -> Array:
        picked = values[local].astype(np.float64)  # [M, 3, ...]
        return np.einsum("mi,mi...->m...", weights, picked)

    return PointModel(
        template=blend(few.template.numpy()),
        identity=blend(few.identity_basis.permute(1, 2, 0).numpy()),
        expression=blend(few.expression_basis.permute(1, 2, 0).numpy()),
        jaw_weight=blend(few.skin_weights[:, JOINTS.index("jaw")].numpy()),
        jaw_pivot=head.joints[JOINTS.index("jaw")].numpy().astype(np.float64),
        corrective=blend(corrective),
        terms=terms,
    )


def _correctives(head: HeadModel) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Correctives [V, 3, Kc] and their terms [Kc, 2]; empty for a head without."""
    if head.corrective_basis is None or head.corrective_terms is None:
        return np.zeros((len(head.template), 3, 0), np.float32), np.zeros((0, 2), np.int64)
    return head.corrective_basis.permute(1, 2, 0).numpy(), head.corrective_terms.numpy()


def vertex_points(head: HeadModel, vertices: NDArray[np.int64]) -> PointModel:
    """Points that are vertices.

    Args:
        head: the model. vertices: [M] vertex ids.
    """
    few = head.restricted(torch.from_numpy(np.asarray(vertices, np.int64)))
    corrective, terms = _correctives(few)
    return PointModel(
        template=few.template.numpy().astype(np.float64),
        identity=few.identity_basis.permute(1, 2, 0).numpy().astype(np.float64),
        expression=few.expression_basis.permute(1, 2, 0).numpy().astype(np.float64),
        jaw_weight=few.skin_weights[:, JOINTS.index("jaw")].numpy().astype(np.float64),
        jaw_pivot=head.joints[JOINTS.index("jaw")].numpy().astype(np.float64),
        corrective=corrective.astype(np.float64),
        terms=terms,
    )


def concatenate(models: list[PointModel]) -> PointModel:
    """One model over the points of several (of one head)."""

    def joined(name: str) -> Array:
        return np.concatenate([getattr(m, name) for m in models])

    return PointModel(
        joined("template"),
        joined("identity"),
        joined("expression"),
        joined("jaw_weight"),
        models[0].jaw_pivot,
        joined("corrective"),
        models[0].terms,
    )
