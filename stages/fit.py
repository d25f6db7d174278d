"""Per-subject fitting: tracked pictures and a prior in, an animatable avatar out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from stages.contract import Context, Inputs
from stages.training_params import TrainingParams, config_fields, perceptual_assets, perceptual_of

if TYPE_CHECKING:
    from headworks.avatars.gasp.config import FitConfig
    from headworks.avatars.views import Views
    from headworks.heads.base import HeadModel
    from headworks.tracks import Tracking


class FitParams(TrainingParams):
    """Section `fit` of params.yaml."""

    uv_size: int | None = Field(
        128,
        ge=16,
        le=1024,
        description="texels per side of the avatar's UV map; null: the prior's own (the paper)",
    )
    wide_regions: bool = Field(
        True, description="on that map, scalp, neck and torso get twice the texels per side"
    )
    min_per_face: bool = Field(
        True, description="faces of lips, lids, eyes and mouth that no texel hits get a Gaussian"
    )
    paint_unseen: bool = Field(
        True, description="paint what no picture shows like its surroundings (not in the paper)"
    )
    from_scratch: bool = Field(
        False, description="fit without what the prior has learnt (an ablation)"
    )
    inversion_steps: int = Field(150, ge=0, description="stage 1: steps on the identity code")
    code_rate: float = Field(2e-2, gt=0, lt=1, description="stage 1: Adam rate of the code")
    decoder_steps: int = Field(200, ge=0, description="stage 2: steps on the decoder")
    decoder_rate: float = Field(2e-3, gt=0, lt=1, description="stage 2: Adam rate of the decoder")
    refine_steps: int = Field(2000, ge=0, description="stage 3: steps on the Gaussians, clips")
    photo_refine_steps: int = Field(400, ge=0, description="stage 3 for photos")
    multiview_uv_size: int | None = Field(
        None, ge=16, le=1024, description="uv_size for rigs; null: the same as for clips"
    )
    multiview_refine_steps: int | None = Field(
        None, ge=0, description="refine_steps for rigs; null: as many as for clips"
    )
    multiview_lambda_prior: float | None = Field(
        None, ge=0, description="clip_lambda_prior for rigs; null: the same as for clips"
    )
    refine_rate: float = Field(1.0, gt=0, le=10, description="factor on stage 3's Adam rates")
    multiview_refine_rate: float | None = Field(
        None, gt=0, le=10, description="refine_rate for rigs; null: the same as for clips"
    )
    views_per_step: int = Field(1, ge=1, le=64, description="pictures per step")
    lambda_prior: float = Field(0.1, ge=0, description="pull to stage 1's outcome, photos")
    clip_lambda_prior: float = Field(0.002, ge=0, description="the same for clips and rigs")
    pull_means: float = Field(5.0, ge=0, description="factor on the pull of places")
    pull_log_scales: float = Field(5.0, ge=0, description="factor on the pull of sizes")
    pull_quats: float = Field(1.0, ge=0, description="factor on the pull of turns")
    pull_colors: float = Field(1.0, ge=0, description="factor on the pull of colours")
    pull_opacities: float = Field(1.0, ge=0, description="factor on the pull of opacities")


def assets(params: FitParams) -> dict[str, Path | None]:
    """The weight files that the perceptual distance depends on."""
    return perceptual_assets(params)


def fit_config(params: FitParams, setting: str) -> FitConfig:
    """What `fit_avatar` takes for a capture's setting ("photo", "monocular", "multiview")."""
    from headworks.avatars.gasp.config import FitConfig

    fields = config_fields(params)
    rig = {
        name: fields.pop(f"multiview_{name}")
        for name in ("uv_size", "refine_steps", "lambda_prior", "refine_rate")
    }
    photo_steps, clip_pull = fields.pop("photo_refine_steps"), fields.pop("clip_lambda_prior")
    if setting == "photo":
        fields["refine_steps"] = photo_steps
    else:
        fields["lambda_prior"] = clip_pull
    if setting == "multiview":
        fields |= {name: value for name, value in rig.items() if value is not None}
    return FitConfig(**fields)


def run(inputs: Inputs, params: FitParams, out: Path, context: Context) -> None:
    """Fit one subject's avatar.

    Args:
        inputs: "ingest", "matting", "tracking" of the subject and the dataset's "prior".
        params: see `FitParams`. out: folder to write. context: seed, threads, progress.

    Raises:
        ArtifactError: an input is damaged, the prior is for another head model, or no training
            frame was tracked.
    """
    import polars as pl
    import torch

    from headworks.artifacts import read_meta, write_meta, write_table
    from headworks.avatars import FILE
    from headworks.avatars.gasp.file import load_prior
    from headworks.avatars.gasp.fit import fit_avatar
    from headworks.errors import ArtifactError
    from headworks.heads import load_exact
    from headworks.tracks import load_tracking

    torch.set_num_threads(context.threads)
    tracking = load_tracking(inputs["tracking"])
    prior_meta = read_meta(inputs["prior"], "prior")
    if prior_meta["head_digest"] != tracking.head_digest:
        raise ArtifactError(
            f"fit: the prior was trained on head model {prior_meta['head']!r} "
            f"({prior_meta['head_digest'][:12]}), the tracking used {tracking.head!r} "
            f"({tracking.head_digest[:12]}); in params.yaml, set `synthesis.head` (whose people "
            "teach the prior) and `tracking.head` to the same head model, and run again"
        )
    head = load_exact(tracking.head, tracking.head_digest, str(inputs["tracking"]))
    setting = read_meta(inputs["ingest"], "capture")["setting"]
    views = training_views(head, tracking, inputs["ingest"], inputs["matting"])
    prior, binding = load_prior(inputs["prior"] / "prior.safetensors")
    config, perceptual = fit_config(params, setting), perceptual_of(params)
    avatar, curves = fit_avatar(
        head, prior, binding, views, setting, config, context.seed, context.progress,
        context.scratch, perceptual,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    facts = avatar.save(out / FILE)
    write_table(out / "curves.parquet", pl.DataFrame([vars(c) for c in curves]))
    write_meta(
        out,
        "avatar",
        {
            **facts,
            "uv_size": config.uv_size,
            "train_views": len(views),
            "perceptual": perceptual.name if perceptual else "none",
            "train_psnr": curves[-1].psnr if curves else None,
        },
    )


def training_views(head: HeadModel, tracking: Tracking, ingest: Path, matting: Path) -> Views:
    """The pictures of split "train" whose tracking is valid.

    Pictures that tracking does not trust at all (`Tracking.view_weights` is 0: something covers the
    face) are left out, unless there are no others.

    Raises:
        ArtifactError: when there is none.
    """
    import numpy as np

    from headworks.artifacts import open_arrays, read_table
    from headworks.avatars.views import make_views
    from headworks.errors import ArtifactError

    table = read_table(ingest / "frames.parquet").sort("t", "c")
    rows = table.filter(table["split"] == "train").select("t", "c").rows()
    pairs = [(int(t), int(c)) for t, c in rows if tracking.valid[int(t)]]
    if not pairs:
        raise ArtifactError(
            f"{ingest}: no training frame was tracked; look at the flags in tracking.parquet"
        )
    trust = tracking.view_weights
    if trust is not None:
        pairs = [(t, c) for t, c in pairs if trust[t, c] > 0] or pairs
    rgb = open_arrays(ingest / "frames.zarr")["rgb"]
    alpha = open_arrays(matting / "mattes.zarr")["alpha"]
    return make_views(
        head,
        tracking,
        np.stack([rgb[t, c] for t, c in pairs]),
        np.stack([alpha[t, c] for t, c in pairs]),
        pairs,
    )
