"""Prior training: rendered people in, a GASP prior out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from stages.contract import Context, Inputs
from stages.prior_ranks import run_in_ranks
from stages.training_params import TrainingParams, config_fields, perceptual_assets, perceptual_of

if TYPE_CHECKING:
    from headworks.avatars.gasp.config import PriorConfig
    from headworks.avatars.views import Views
    from headworks.heads.base import HeadModel
    from headworks.tracks import Tracking


class PriorParams(TrainingParams):
    """Section `prior` of params.yaml."""

    uv_size: int = Field(80, ge=16, le=1024, description="texels per side of the Gaussians' UV map")
    min_per_face: bool = Field(
        True, description="faces of lips, lids, eyes and mouth that no texel hits get a Gaussian"
    )
    code_dim: int = Field(32, ge=2, le=1024, description="size of the identity code (paper: 512)")
    width: int = Field(64, ge=8, le=1024, description="width of the decoder (paper: 256)")
    depth: int = Field(4, ge=1, le=16, description="layers of the decoder's trunk (paper: 6)")
    steps: int = Field(1000, ge=1, description="training steps (paper: 1.56 million)")
    flat_fall: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="once the mean loss of a fifth of the steps lies less than this share below "
        "that of the fifth before, rates fall and training ends; 0: it takes all steps",
    )
    people_per_step: int = Field(1, ge=1, le=256, description="identities per step")
    views_per_step: int = Field(2, ge=1, le=64, description="pictures of each identity per step")
    processes: int = Field(
        1,
        ge=0,
        le=1024,
        description="that train together, sharing the identities of a step; 0: one per CUDA card",
    )
    rate: float = Field(4e-3, gt=0, lt=1, description="Adam rate of decoder and features")
    code_rate: float = Field(5e-2, gt=0, lt=1, description="Adam rate of the identity codes")
    lambda_code: float = Field(1e-4, ge=0, description="weight of the identity code's norm")
    code_std: float = Field(0.1, ge=0, description="standard deviation of the initial codes")
    feature_std: float = Field(0.1, ge=0, description="the same of the Gaussians' features")
    template: bool = Field(
        True, description="train the mean avatar, too; false: it stays grey (an ablation)"
    )
    sample_steps: int = Field(
        500, ge=0, description="steps between grids of sample pictures; 0: none but the last"
    )


def assets(params: PriorParams) -> dict[str, Path | None]:
    """The weight files that the perceptual distance depends on."""
    return perceptual_assets(params)


def prior_config(params: PriorParams) -> PriorConfig:
    """What `train_prior` takes."""
    from headworks.avatars.gasp.config import PriorConfig

    fields = config_fields(params)
    del fields["processes"]
    return PriorConfig(**fields)


def run(inputs: Inputs, params: PriorParams, out: Path, context: Context) -> None:
    """Train the prior on all members of the population.

    Args:
        inputs: "synthesis": {member name: capture with `truth/`}.
        params: see `PriorParams`. out: folder to write. context: seed, threads, progress.

    Raises:
        ArtifactError: no members, a damaged one, or members of different head models.
    """
    import polars as pl
    import torch

    from headworks.artifacts import write_meta, write_table
    from headworks.avatars.gasp.file import save_prior
    from headworks.avatars.gasp.prior import train_prior
    from headworks.avatars.gasp.ranks import place
    from headworks.avatars.gasp.samples import keep_samples
    from headworks.avatars.gasp.training import flatness, make_surface
    from headworks.errors import ArtifactError, ParamsError
    from headworks.heads import load_exact
    from headworks.synthetic.film import scratch_folder
    from headworks.tracks import load_truth

    processes = params.processes or max(torch.cuda.device_count(), 1)
    rank, world = place()
    if world == 1 and processes > 1:
        return run_in_ranks(processes, inputs, params, out, context)
    if world != processes:
        raise ParamsError(
            f"prior: WORLD_SIZE={world} stands in the environment, and `prior.processes` asks for "
            f"{processes} processes; unset WORLD_SIZE and RANK (the stage starts its processes "
            f"itself), or set prior.processes={world} if this is one of {world} by torchrun"
        )
    torch.set_num_threads(context.threads)
    members: dict[str, Path] = inputs["synthesis"]
    if not members:
        raise ArtifactError(
            "prior: there is nobody to learn from; add people with "
            "`headworks add people-000 --synthetic population --seed 1`, two or more"
        )
    tracks = {name: load_truth(folder) for name, folder in members.items()}
    heads = {(track.head, track.head_digest) for track in tracks.values()}
    if len(heads) > 1:
        told = ", ".join(f"{name} ({digest[:12]})" for name, digest in sorted(heads))
        raise ArtifactError(
            f"prior: the people have different head models: {told}; run synthesis again, so that "
            "all have the one of `synthesis.head`"
        )
    head = load_exact(*heads.pop(), str(next(iter(members.values()))))
    people = [load_person(head, tracks[name], folder) for name, folder in members.items()]
    config, perceptual = prior_config(params), perceptual_of(params)
    with scratch_folder(context.scratch) as scratch:
        prior, binding, curves = train_prior(
            head, people, config, context.seed, context.progress, scratch, perceptual
        )
        if rank:
            return  # the first process writes
        out.mkdir(parents=True, exist_ok=True)
        for sample in sorted((scratch / "samples").glob("step_*.png")):
            (out / "samples").mkdir(exist_ok=True)
            shutil.copy(sample, out / "samples" / sample.name)
    save_prior(out / "prior.safetensors", prior, binding)
    write_table(out / "curves.parquet", pl.DataFrame([vars(c) for c in curves]))
    surface = make_surface(head, binding, config, torch.device("cpu"))
    keep_samples(out / "samples.png", surface, prior, people)
    write_meta(
        out,
        "prior",
        {
            "method": "gasp",
            "head": head.name,
            "head_digest": head.digest,
            "members": sorted(members),
            "gaussians": len(binding.faces),
            "perceptual": perceptual.name if perceptual else "none",
            "psnr": curves[-1].psnr,
            "steps": curves[-1].step,
            **flatness(curves, config.decay_from),
        },
    )


def load_person(head: HeadModel, tracking: Tracking, folder: Path) -> Views:
    """One person's pictures with exact tracking.

    Args:
        head: of the tracking. tracking: from `load_truth`. folder: artifact of the synthesis.
    """
    from headworks.artifacts import open_arrays
    from headworks.avatars.views import make_views

    rgb = open_arrays(folder / "frames.zarr")["rgb"][...]
    alpha = open_arrays(folder / "truth" / "truth.zarr")["alpha"][...]
    t, c = rgb.shape[:2]
    pairs = [(i, j) for i in range(t) for j in range(c)]
    return make_views(
        head,
        tracking,
        rgb.reshape(t * c, *rgb.shape[2:]),
        alpha.reshape(t * c, *alpha.shape[2:]),
        pairs,
    )
