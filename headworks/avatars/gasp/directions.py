"""Latent directions: which way age, hair or a beard lie among a prior's identity codes.

A linear SVM separates the codes of the labelled people; the normal of its plane is the direction,
and a code moved along it is decoded as any other.

Source: GASP appendix B (linear SVM on the codes of the training people, z' = z + beta n).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.avatars.avatar import picture_of
from headworks.avatars.binding import Binding, gaussian_frames, place
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.heads.base import HeadModel
from headworks.images import to_uint8
from headworks.pictures import portrait_camera
from headworks.seeds import generator

Array = NDArray[np.float64]
C = 1.0
FOLDS = 5
MIN_PEOPLE = 20
"""With fewer people a share of correct answers says nothing: it moves in steps of 5 % or more."""
BETAS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
_LUMA = torch.tensor([0.2126, 0.7152, 0.0722])
_HAIR = 0.5
"""Share of `grey` above which hair counts as grey."""


@dataclass(frozen=True)
class Label:
    """A question that the people's attributes answer with yes or no.

    Attributes:
        name: what "yes" means, in words. attribute: the recorded attribute.
        above: numbers above it are yes; None: text, where `no` alone is no.
        no: the text that means no.
    """

    name: str
    attribute: str
    above: float | None = None
    no: str = "none"

    def of(self, attributes: Mapping[str, Any]) -> bool | None:
        """The answer for one person; None where the attribute was not recorded."""
        value = attributes.get(self.attribute)
        if value is None:
            return None
        return bool(value > self.above) if self.above is not None else value != self.no


LABELS = (
    Label("older than 45", "age", 45.0),
    Label("hair longer than 15 cm", "hair_length_mm", 150.0),
    Label("beard", "beard"),
    Label("grey hair", "grey", _HAIR),
    Label("glasses", "glasses"),
    Label("dark skin", "melanin", 0.08),
)
"""The first three are the paper's; its age thresholds are not published."""


@dataclass(frozen=True)
class Svm:
    """A plane: decision(z) = w . z + b."""

    w: Array
    b: float

    def decision(self, codes: Array) -> Array:
        """Signed distance times |w| of codes [P, D]."""
        return codes @ self.w + self.b


def fit_svm(codes: Array, yes: NDArray[np.bool_], c: float = C) -> Svm:
    """Minimise |w|^2 / 2 + C sum max(0, 1 - y (w . z + b))^2.

    C counts in units of the codes' own spread: they are divided by one number, the root mean
    square of their deviations, so that every direction keeps its length against the others.

    Args:
        codes: [P, D]. yes: [P], both answers among them.

    Raises:
        ValueError: only one answer.
    """
    from scipy.optimize import minimize

    if yes.all() or not yes.any():
        raise ValueError("only one of two answers among the people")
    centre = codes.mean(0)
    scale = float(np.sqrt(np.mean((codes - centre) ** 2))) or 1.0
    z, y = (codes - centre) / scale, np.where(yes, 1.0, -1.0)

    def objective(wb: Array) -> tuple[float, Array]:
        w, b = wb[:-1], wb[-1]
        slack = np.maximum(0, 1 - y * (z @ w + b))
        pull = -2 * c * slack * y
        return float(w @ w / 2 + c * (slack**2).sum()), np.append(w + pull @ z, pull.sum())

    found = minimize(
        objective, np.zeros(z.shape[1] + 1), jac=True, method="L-BFGS-B",
        options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8},
    )  # fmt: skip
    w = found.x[:-1] / scale
    return Svm(w, float(found.x[-1] - w @ centre))


def held_out_accuracy(codes: Array, yes: NDArray[np.bool_], seed: int) -> float:
    """Mean of sensitivity and specificity on people whom the plane was not fitted to.

    Balanced, so that a plane that always says the more frequent answer scores a half.

    Args:
        codes: [P, D]. yes: [P]. seed: of the folds, in which both answers are spread evenly.
    """
    rng = generator(seed, "svm folds")
    fold = np.zeros(len(yes), int)
    for answer in (True, False):
        members = rng.permutation(np.flatnonzero(yes == answer))
        fold[members] = np.arange(len(members)) % FOLDS
    said = np.zeros(len(yes), bool)
    for k in np.unique(fold):
        train = fold != k
        said[~train] = fit_svm(codes[train], yes[train]).decision(codes[~train]) > 0
    return float((np.mean(said[yes]) + np.mean(~said[~yes])) / 2)


@dataclass(frozen=True)
class Direction:
    """A direction in code space.

    Attributes:
        label: what grows along it. normal: [D], of length 1. spread: standard deviation of the
            people's codes along it, the unit of beta. yes, no: how many people.
        accuracy: balanced, of people held out; None where there are too few. why: in words.
    """

    label: Label
    normal: Array
    spread: float
    yes: int
    no: int
    accuracy: float | None
    why: str

    def edit(self, code: Tensor, beta: float) -> Tensor:
        """z + beta n, beta in standard deviations of the training codes."""
        return code + torch.from_numpy(beta * self.spread * self.normal).to(code.dtype)


def find_directions(
    codes: Tensor, attributes: Sequence[Mapping[str, Any]], seed: int
) -> tuple[list[Direction], dict[str, str]]:
    """The direction of every label that the people answer differently.

    Args:
        codes: [P, D] of the prior. attributes: of the P people, in the same order.
        seed: of the cross validation.

    Returns:
        Directions, and label -> why there is none.
    """
    z = codes.detach().double().numpy()
    found, without = [], {}
    for label in LABELS:
        answers = [label.of(a) for a in attributes]
        known = np.array([a is not None for a in answers])
        yes = np.array([bool(a) for a in answers])[known]
        least = int(min(yes.sum(), (~yes).sum())) if len(yes) else 0
        if least == 0:
            without[label.name] = f"all {len(yes)} people answer it alike"
            continue
        svm = fit_svm(z[known], yes)
        length = float(np.linalg.norm(svm.w))
        if length < 1e-12:
            without[label.name] = "the codes say nothing about it"
            continue
        normal = svm.w / length
        accuracy, why = None, ""
        if len(yes) < MIN_PEOPLE or least < FOLDS:
            why = (
                f"{len(yes)} people ({least} with the rarer answer) are too few for cross "
                f"validation, which asks for {MIN_PEOPLE} ({FOLDS}); "
                f"any labels of so few can be separated in {z.shape[1]} dimensions"
            )
        else:
            accuracy = held_out_accuracy(z[known], yes, seed)
        spread = float((z @ normal).std())
        found.append(
            Direction(label, normal, spread, int(yes.sum()), int((~yes).sum()), accuracy, why)
        )
    return found, without


@dataclass(frozen=True)
class Sight:
    """What an edited code looks like.

    Attributes:
        beta: how far it was moved. front, back: uint8 [S, S, 3]. area: silhouette of both views,
            share of the picture. scalp, skin, chin: mean luminance of the Gaussians there, [0, 1].
    """

    beta: float
    front: NDArray[np.uint8]
    back: NDArray[np.uint8]
    area: float
    scalp: float
    skin: float
    chin: float


class Mirror:
    """Shows what a prior makes of a code, on the head model's mean shape.

    Args:
        head, prior, binding: as trained. side: pixels of the square pictures.
    """

    def __init__(self, head: HeadModel, prior: GaussianPrior, binding: Binding, side: int) -> None:
        self._prior = prior
        body = head.region_faces("torso", "neck")
        bare = head.template[head.faces[~body].unique()].numpy()
        self._cameras = [portrait_camera(bare, side, azimuth) for azimuth in (0.0, np.pi)]
        self._frames = gaussian_frames(head.template, head.faces, binding)
        origins = self._frames.origins
        mouth = head.landmarks(head.template[None])[0, 57]
        skin = head.region_faces("skin")[binding.faces]
        self._masks = {
            "scalp": head.region_faces("scalp")[binding.faces],
            "skin": skin & (origins[:, 1] > mouth[1]),
            "chin": skin & (origins[:, 1] < mouth[1]) & (origins[:, 2] > 0),
        }

    @torch.no_grad()
    def sight(self, code: Tensor, beta: float = 0.0) -> Sight:
        """Front and back of a code [D], and what can be measured there."""
        gaussians = place(self._prior.decode(code), self._frames)
        views = [picture_of(gaussians, camera, (1.0, 1.0, 1.0)) for camera in self._cameras]
        luma = gaussians.colors @ _LUMA
        weight = gaussians.opacities
        means = {
            name: float((luma * weight)[mask].sum() / weight[mask].sum().clamp_min(1e-6))
            for name, mask in self._masks.items()
        }
        area = float(np.mean([alpha.mean() for _, alpha in views]))
        front, back = (to_uint8(rgb) for rgb, _ in views)
        return Sight(beta, front, back, area, **means)

    def along(self, direction: Direction, start: Tensor) -> Iterator[Sight]:
        """A code moved along a direction by all of `BETAS`."""
        for beta in BETAS:
            yield self.sight(direction.edit(start, beta), beta)


def strip(sights: Sequence[Sight]) -> NDArray[np.uint8]:
    """Pictures side by side, fronts above backs: uint8 [2 S, N S, 3]."""
    rows = [np.concatenate([getattr(s, v) for s in sights], 1) for v in ("front", "back")]
    return np.concatenate(rows)
