"""The prior on disk: one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from headworks.avatars.binding import Binding, LocalGaussians
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.errors import ArtifactError

FILE = "prior.safetensors"


def save_prior(path: Path, prior: GaussianPrior, binding: Binding) -> None:
    """Write template, features, codes, decoder and binding."""
    tensors = {k: v.detach().contiguous() for k, v in prior.state_dict().items()}
    tensors |= {"binding.faces": binding.faces, "binding.bary": binding.bary.contiguous()}
    shape = {
        "code_dim": prior.decoder.code_dim,
        "width": prior.decoder.width,
        "depth": prior.decoder.depth,
    }
    save_file(tensors, path, metadata={"headworks": json.dumps(shape, sort_keys=True)})


def load_prior(path: Path) -> tuple[GaussianPrior, Binding]:
    """Read what `save_prior` wrote.

    Raises:
        ArtifactError: when the file is not a prior.
    """
    try:
        with safe_open(path, "pt") as file:
            shape = json.loads((file.metadata() or {}).get("headworks", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        binding = Binding(tensors.pop("binding.faces"), tensors.pop("binding.bary"))
        template = LocalGaussians(*(tensors[f"template.{k}"] for k in LocalGaussians._fields))
        prior = GaussianPrior(template, len(tensors["codes"]), **shape, rng_seed=0)
        prior.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ArtifactError(f"{path}: not a readable GASP prior ({error})") from None
    torch.nn.Module.eval(prior)
    return prior, binding
