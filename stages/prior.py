"""Prior training: rendered people in, a GASP prior out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    from headworks.avatars.binding import Binding
    from headworks.avatars.gasp.decoder import GaussianPrior
    from headworks.avatars.views import Views
    from headworks.heads.base import HeadModel
    from headworks.tracks import Tracking


class PriorParams(Params):
    """Section `prior` of params.yaml."""

    uv_size: int = Field(80, ge=16, le=1024, description="texels per side of the Gaussians' UV map")
    code_dim: int = Field(32, ge=2, le=1024, description="size of the identity code (paper: 512)")
    width: int = Field(64, ge=8, le=1024, description="width of the decoder (paper: 256)")
    depth: int = Field(4, ge=1, le=16, description="layers of the decoder's trunk (paper: 6)")
    steps: int = Field(1000, ge=1, description="training steps (paper: 1.56 million)")
    views_per_step: int = Field(2, ge=1, le=64, description="pictures of one identity per step")
    rate: float = Field(4e-3, gt=0, lt=1, description="Adam rate of decoder and features")
    code_rate: float = Field(2e-2, gt=0, lt=1, description="Adam rate of the identity codes")
    lambda_alpha: float = Field(0.1, ge=0, description="weight of the silhouette loss")
    lambda_mean: float = Field(1e-2, ge=0, description="weight of the displacement regulariser")
    lambda_scale: float = Field(1e-2, ge=0, description="weight of the scale regulariser")
    lambda_code: float = Field(1e-4, ge=0, description="weight of the identity code's norm")


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
    from headworks.avatars.gasp.prior import PriorConfig, train_prior
    from headworks.errors import ArtifactError
    from headworks.heads import load_exact
    from headworks.tracks import load_truth

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
    people = [_load(head, tracks[name], folder) for name, folder in members.items()]
    config = PriorConfig(**params.model_dump())
    prior, binding, curves = train_prior(head, people, config, context.seed, context.progress)
    out.mkdir(parents=True, exist_ok=True)
    save_prior(out / "prior.safetensors", prior, binding)
    write_table(out / "curves.parquet", pl.DataFrame([vars(c) for c in curves]))
    _samples(out / "samples.png", head, prior, binding, people)
    write_meta(
        out,
        "prior",
        {
            "method": "gasp",
            "head": head.name,
            "head_digest": head.digest,
            "members": sorted(members),
            "gaussians": len(binding.faces),
            "perceptual": "none",
            "psnr": curves[-1].psnr,
        },
    )


def _load(head: HeadModel, tracking: Tracking, folder: Path) -> Views:
    """One person's pictures with exact tracking."""
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


def _samples(
    path: Path, head: HeadModel, prior: GaussianPrior, binding: Binding, people: list[Views]
) -> None:
    """A grid: upper row the rendered person, lower row what the prior makes of its code."""
    import numpy as np
    import torch
    from PIL import Image

    from headworks.avatars.binding import gaussian_frames, place
    from headworks.avatars.views import splat_view
    from headworks.images import to_uint8

    white = torch.ones(3)
    columns = []
    with torch.no_grad():
        for j, views in enumerate(people[:8]):
            index = len(views) // 2
            frames = gaussian_frames(views.vertices[views.times[index]], head.faces, binding)
            local = prior.decode(prior.codes[j])
            pred, _ = splat_view(
                place(local, frames), views.viewmats[index], views.Ks[index], views.size, white
            )
            columns.append(np.concatenate([views.target(index, white)[0].numpy(), pred.numpy()]))
    Image.fromarray(to_uint8(np.concatenate(columns, 1))).save(path)
