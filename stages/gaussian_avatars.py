"""The baseline GaussianAvatars, fitted to the same pictures, tracking and split as the avatar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.baseline import load_subject, write_baseline
from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    from headworks.avatars.gaussian_avatars import GaussianAvatarsConfig


class GaussianAvatarsParams(Params):
    """Section `gaussian_avatars` of params.yaml; the official code's numbers in brackets."""

    steps: int = Field(800, ge=0, description="steps, clips [600000]; 0: no such baseline")
    photo_steps: int = Field(300, ge=0, description="steps, photos [600000]; 0: likewise")
    rate: float = Field(
        8.0, gt=0, le=100, description="factor on the Gaussians' Adam rates [1]; short runs need it"
    )
    means_rate: float = Field(
        1.0, gt=0, le=100, description="factor on the means' rate besides [1]"
    )
    sh_degree: int = Field(0, ge=0, le=3, description="degree of colours, photos and clips [3]")
    multiview_sh_degree: int = Field(3, ge=0, le=3, description="the same for rigs [3]")
    sh_every: float = Field(
        0.1, gt=0, le=1, description="share of the steps after which a degree is added [1/600]"
    )
    densify_from: float = Field(
        0.2, ge=0, le=1, description="share from which on Gaussians are added [1/60]"
    )
    densify_until: float = Field(
        0.7, ge=0, le=1, description="share after which none are added [1]"
    )
    densify_every: float = Field(
        0.08, gt=0, le=1, description="share between two densifications [1/300]"
    )
    gradient_threshold: float = Field(
        2e-4, gt=0, description="gradient of a 2D mean from which on a Gaussian multiplies [2e-4]"
    )
    max_gaussians: int = Field(60_000, ge=0, description="no more than so many [no limit]")
    least_opacity: float = Field(
        0.005, ge=0, lt=1, description="fainter Gaussians are pruned [0.005]"
    )
    reset_every: float = Field(
        0.0, ge=0, le=1, description="share between two resets of opacities [1/10]; 0: none"
    )
    lambda_position: float = Field(0.01, ge=0, description="weight of the position loss [0.01]")
    lambda_scale: float = Field(1.0, ge=0, description="weight of the scale loss [1]")
    extent: float = Field(
        1.0, gt=0, description="metres that scale thresholds refer to [the cameras' spread]"
    )
    tune: bool = Field(
        True, description="refine expression, pose, translation of the training frames [yes]"
    )
    background: Literal["white", "random"] = Field(
        "random", description="what pictures are composited over [white or black]"
    )
    checkpoint_every: int = Field(
        500, ge=1, description="steps between checkpoints, from which a killed fit goes on"
    )


def gaussian_avatars_config(params: GaussianAvatarsParams, setting: str) -> GaussianAvatarsConfig:
    """What the fit takes for a capture's setting ("photo", "monocular", "multiview")."""
    from headworks.avatars.gaussian_avatars import GaussianAvatarsConfig

    fields = params.model_dump(exclude={"photo_steps", "multiview_sh_degree"})
    if setting == "photo":
        fields["steps"] = params.photo_steps
    if setting == "multiview":
        fields["sh_degree"] = params.multiview_sh_degree
    return GaussianAvatarsConfig(**fields)


def run(inputs: Inputs, params: GaussianAvatarsParams, out: Path, context: Context) -> None:
    """Fit one subject's baseline.

    Args:
        inputs: "ingest", "matting", "tracking" of the subject.
        params: see `GaussianAvatarsParams`. out: folder to write. context: seed, scratch, ...

    Raises:
        ArtifactError: an input is damaged, or no training frame was tracked.
    """
    from headworks.avatars.gaussian_avatars import fit_gaussian_avatars

    head, views, setting = load_subject(inputs, context)
    config = gaussian_avatars_config(params, setting)
    if not config.steps:
        write_baseline(out, "gaussian_avatars", None, [], views, "none")
        return
    avatar, curves = fit_gaussian_avatars(
        head, views, setting, config, context.seed, context.progress, context.scratch
    )
    write_baseline(out, "gaussian_avatars", avatar, curves, views, "none")
