"""Numbers of GASP's training and fitting; every field is described in `stages.prior` and `.fit`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What the training of a prior and the fit of a subject have in common."""

    rate_means: float = 4e-3
    rate_log_scales: float = 5e-3
    rate_quats: float = 2e-3
    rate_colors: float = 2e-2
    rate_opacities: float = 2e-2
    decay_from: float = 0.7
    decay_to: float = 0.1
    lambda_l1: float = 0.8
    lambda_ssim: float = 0.2
    lambda_alpha: float = 0.1
    lambda_lpips: float = 0.0
    lpips_from: float = 0.2
    lambda_mean: float = 1e-2
    lambda_scale: float = 1e-2
    scalp_weight: float = 0.01
    inner_weight: float = 30.0
    scale_room: float = 2.5
    checkpoint_steps: int = 500
    device: str = "auto"

    def template_rates(self) -> dict[str, float]:
        """Adam rates of raw Gaussians by attribute, in triangle units and logits."""
        return {
            "means": self.rate_means,
            "log_scales": self.rate_log_scales,
            "quats": self.rate_quats,
            "colors": self.rate_colors,
            "opacities": self.rate_opacities,
        }


@dataclass(frozen=True, kw_only=True)
class PriorConfig(TrainingConfig):
    """Numbers of `train_prior`."""

    uv_size: int = 80
    min_per_face: bool = True
    code_dim: int = 32
    width: int = 64
    depth: int = 4
    steps: int = 1000
    people_per_step: int = 1
    views_per_step: int = 2
    rate: float = 4e-3
    code_rate: float = 5e-2
    lambda_code: float = 1e-4
    code_std: float = 0.1
    feature_std: float = 0.1
    template: bool = True
    flat_fall: float = 0.0
    sample_steps: int = 500


@dataclass(frozen=True, kw_only=True)
class FitConfig(TrainingConfig):
    """Numbers of `fit_avatar`. A stage with no steps is left out."""

    uv_size: int | None = 128
    wide_regions: bool = True
    min_per_face: bool = True
    paint_unseen: bool = True
    from_scratch: bool = False
    inversion_steps: int = 150
    code_rate: float = 2e-2
    decoder_steps: int = 200
    refine_steps: int = 2000
    views_per_step: int = 1
    decoder_rate: float = 2e-3
    refine_rate: float = 1.0
    lambda_prior: float = 0.1
    pull_means: float = 5.0
    pull_log_scales: float = 5.0
    pull_quats: float = 1.0
    pull_colors: float = 1.0
    pull_opacities: float = 1.0

    def pulls(self) -> tuple[float, ...]:
        """Weights of the attributes in the pull to stage 1's outcome."""
        return (
            self.pull_means,
            self.pull_log_scales,
            self.pull_quats,
            self.pull_colors,
            self.pull_opacities,
        )
