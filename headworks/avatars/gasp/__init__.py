"""GASP: Gaussian Avatars with Synthetic Priors (CVPR 2025)."""

from headworks.avatars.gasp.decoder import GaussianDecoder, GaussianPrior
from headworks.avatars.gasp.file import load_prior, save_prior
from headworks.avatars.gasp.fit import FitConfig, fit_avatar
from headworks.avatars.gasp.prior import Curve, PriorConfig, train_prior

__all__ = [
    "Curve",
    "FitConfig",
    "GaussianDecoder",
    "GaussianPrior",
    "PriorConfig",
    "fit_avatar",
    "load_prior",
    "save_prior",
    "train_prior",
]
