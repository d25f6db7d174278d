"""The baseline FlashAvatar, fitted to the same pictures, tracking and split as the avatar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.baseline import load_subject, write_baseline
from stages.contract import Context, Inputs, Params
from stages.training_params import TrainingParams, perceptual_assets, perceptual_of

if TYPE_CHECKING:
    from headworks.avatars.flash_avatar import FlashAvatarConfig


class FlashAvatarParams(Params):
    """Section `flash_avatar` of params.yaml; the official code's numbers in brackets."""

    steps: int = Field(600, ge=0, description="steps, clips [150000]; 0: no such baseline")
    photo_steps: int = Field(200, ge=0, description="steps, photos [150000]; 0: likewise")
    uv_size: int = Field(
        80, ge=16, le=1024, description="texels per side of the Gaussians' UV map [128]"
    )
    width: int = Field(64, ge=8, le=1024, description="width of the network [256]")
    rate: float = Field(
        8.0, gt=0, le=100, description="factor on the Gaussians' Adam rates [1]; short runs need it"
    )
    network_rate: float = Field(2e-3, gt=0, lt=1, description="Adam rate of the network [1e-4]")
    final_gain: float = Field(
        0.02, gt=0, le=1, description="factor on its last layer's start [1]; low: from the mesh"
    )
    fall: float = Field(
        0.1, gt=0, le=1, description="share of all rates left at the end [1], falling from 70 % on"
    )
    sh_degree: int = Field(0, ge=0, le=3, description="degree of colours, photos and clips [3]")
    multiview_sh_degree: int = Field(3, ge=0, le=3, description="the same for rigs [3]")
    sh_every: float = Field(
        0.1, gt=0, le=1, description="share of the steps after which a degree is added [1/300]"
    )
    scale_mode: Literal["additive", "log_mult"] = Field(
        "additive", description="how the network changes log scales [log_mult]"
    )
    lambda_lpips: float = Field(
        0.0, ge=0, description="weight of the perceptual distance [0.05]; 0: none is computed"
    )
    perceptual: Literal["auto", "lpips_vgg", "lpips_alex", "substitute"] = Field(
        "auto",
        description="perceptual distance [lpips_vgg]; auto: that where its weights are at hand, "
        "else substitute (gradients and MS-SSIM, no weights)",
    )
    lpips_from: float = Field(
        0.1, ge=0, le=1, description="share of the steps after which it joins in [1/10]"
    )
    weights: str = Field("weights", description="folder of LPIPS's weights, from the workspace")
    background: Literal["white", "random"] = Field(
        "random", description="what pictures are composited over [green or white]"
    )
    checkpoint_every: int = Field(
        500, ge=1, description="steps between checkpoints, from which a killed fit goes on"
    )


def flash_avatar_config(params: FlashAvatarParams, setting: str) -> FlashAvatarConfig:
    """What the fit takes for a capture's setting ("photo", "monocular", "multiview")."""
    from headworks.avatars.flash_avatar import FlashAvatarConfig

    skipped = {"photo_steps", "multiview_sh_degree", "perceptual", "weights"}
    fields = params.model_dump(exclude=skipped)
    if setting == "photo":
        fields["steps"] = params.photo_steps
    if setting == "multiview":
        fields["sh_degree"] = params.multiview_sh_degree
    return FlashAvatarConfig(**fields)


def assets(params: FlashAvatarParams) -> dict[str, Path | None]:
    """The weight files that the perceptual distance depends on."""
    return perceptual_assets(_perceptual_params(params))


def run(inputs: Inputs, params: FlashAvatarParams, out: Path, context: Context) -> None:
    """Fit one subject's baseline.

    Args:
        inputs: "ingest", "matting", "tracking" of the subject.
        params: see `FlashAvatarParams`. out: folder to write. context: seed, scratch, ...

    Raises:
        ArtifactError: an input is damaged, or no training frame was tracked.
        WeightsError: LPIPS was asked for by name, and its weights are absent or damaged.
    """
    from headworks.avatars.flash_avatar import fit_flash_avatar

    head, views, setting = load_subject(inputs, context)
    config = flash_avatar_config(params, setting)
    if not config.steps:
        write_baseline(out, "flash_avatar", None, [], views, "none")
        return
    perceptual = perceptual_of(_perceptual_params(params))
    avatar, curves = fit_flash_avatar(
        head, views, setting, config, context.seed, context.progress, context.scratch, perceptual
    )
    name = perceptual.name if perceptual else "none"
    write_baseline(out, "flash_avatar", avatar, curves, views, name)


def _perceptual_params(params: FlashAvatarParams) -> TrainingParams:
    shared = {"lambda_lpips", "perceptual", "weights"}
    return TrainingParams.model_validate(params.model_dump(include=shared))
