"""Fields that the sections `prior` and `fit` of params.yaml have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages.contract import Params

if TYPE_CHECKING:
    from headworks.metrics.perceptual import PerceptualDistance


class TrainingParams(Params):
    """Rates, weights and surroundings of a training; defaults as in `TrainingConfig`."""

    rate_means: float = Field(
        4e-3, gt=0, lt=1, description="Adam rate of Gaussians' places, triangle sizes"
    )
    rate_log_scales: float = Field(5e-3, gt=0, lt=1, description="Adam rate of their log sizes")
    rate_quats: float = Field(2e-3, gt=0, lt=1, description="Adam rate of their quaternions")
    rate_colors: float = Field(2e-2, gt=0, lt=1, description="Adam rate of their colour logits")
    rate_opacities: float = Field(2e-2, gt=0, lt=1, description="Adam rate of opacity logits")
    decay_from: float = Field(
        0.7, ge=0, le=1, description="share of the steps from which all rates fall exponentially"
    )
    decay_to: float = Field(0.1, gt=0, le=1, description="factor on all rates at the end")
    lambda_l1: float = Field(0.8, ge=0, description="weight of the absolute difference")
    lambda_ssim: float = Field(0.2, ge=0, description="weight of 1 - SSIM")
    lambda_alpha: float = Field(0.1, ge=0, description="weight of the silhouette loss")
    lambda_lpips: float = Field(
        0.0, ge=0, description="weight of the perceptual distance; 0: none is computed"
    )
    lpips_from: float = Field(
        0.2, ge=0, le=1, description="share of the steps after which it joins in"
    )
    perceptual: Literal["auto", "lpips_vgg", "lpips_alex", "substitute"] = Field(
        "auto",
        description="perceptual distance; auto: lpips_vgg where its weights are at hand, else "
        "substitute (gradients and MS-SSIM, no weights)",
    )
    weights: str = Field(
        "weights", description="folder of LPIPS's weights (docs/gasp.md), from the workspace"
    )
    lambda_mean: float = Field(1e-2, ge=0, description="weight of the displacement regulariser")
    lambda_scale: float = Field(1e-2, ge=0, description="weight of the scale regulariser")
    scalp_weight: float = Field(
        0.01, ge=0, description="factor on the displacement regulariser where hair grows"
    )
    inner_weight: float = Field(30.0, ge=0, description="the same for eyes and the mouth's inside")
    scale_room: float = Field(
        2.5, gt=0, description="a Gaussian's size costs from this many texels on"
    )
    checkpoint_steps: int = Field(
        500, ge=0, description="steps between checkpoints, from which a killed training goes on"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where to compute; auto: CUDA where there is one"
    )


def config_fields(params: TrainingParams) -> dict[str, Any]:
    """What a `TrainingConfig` takes over from the params."""
    return params.model_dump(exclude={"perceptual", "weights"})


def perceptual_assets(params: TrainingParams) -> dict[str, Path | None]:
    """The weight files that the perceptual distance, or the choice of it, depends on."""
    from headworks.metrics.lpips_files import Net, lpips_files
    from headworks.networks.files import weights_folder

    if not params.lambda_lpips or params.perceptual == "substitute":
        return {}
    net: Net = "alex" if params.perceptual == "lpips_alex" else "vgg"
    return lpips_files(net, weights_folder(params.weights))


def perceptual_of(params: TrainingParams) -> PerceptualDistance | None:
    """The perceptual distance that the params ask for; None where it has no weight.

    Raises:
        WeightsError: LPIPS was asked for by name, and its weights are absent or damaged.
    """
    from headworks.metrics.lpips import load_lpips
    from headworks.metrics.lpips_files import Net
    from headworks.metrics.perceptual import substitute
    from headworks.networks.files import weights_folder

    if not params.lambda_lpips:
        return None
    absent = None in perceptual_assets(params).values()
    if params.perceptual == "substitute" or (params.perceptual == "auto" and absent):
        return substitute()
    net: Net = "alex" if params.perceptual == "lpips_alex" else "vgg"
    return load_lpips(net, weights_folder(params.weights))
