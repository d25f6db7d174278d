"""GASP's auto-decoder: identity code and per-Gaussian feature to Gaussian attributes."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from headworks.avatars.binding import LocalGaussians

BRANCHES = {"means": 3, "log_scales": 3, "quats": 4, "colors": 3, "opacities": 1}
FEATURE_DIM = 8
OUTPUT_GAIN = 0.05
"""Factor on the final projections' initial gain, so that training starts at the template."""


def _linear(inputs: int, outputs: int) -> Any:
    return weight_norm(nn.Linear(inputs, outputs))


class GaussianDecoder(nn.Module):
    """MLP with a shared trunk and one branch per attribute; weight norm on every layer.

    The first layer is split, W [f; z] = W_f f + W_z z, so that the code's part is computed once
    per identity and not once per Gaussian.

    Args:
        code_dim: size of the identity code (512 in the paper). width: 256 in the paper.
        depth: trunk layers, 6 in the paper.

    Source: GASP section 3.3, appendix C.
    """

    def __init__(self, code_dim: int, width: int, depth: int) -> None:
        super().__init__()
        self.code_dim, self.width, self.depth = code_dim, width, depth
        self.first = _linear(FEATURE_DIM + code_dim, width)
        self.trunk = nn.ModuleList(_linear(width, width) for _ in range(depth - 1))
        self.branch = nn.ModuleDict({name: _linear(width, width) for name in BRANCHES})
        self.head = nn.ModuleDict({name: _linear(width, n) for name, n in BRANCHES.items()})
        with torch.no_grad():
            layer: Any  # the parametrisation adds attributes that torch's types do not know
            for layer in self.head.values():
                layer.parametrizations.weight.original0.mul_(OUTPUT_GAIN)
                layer.bias.zero_()

    def forward(self, features: Tensor, codes: Tensor) -> LocalGaussians:
        """Offsets to the template, for one person or several at once.

        Args:
            features: [N, 8]. codes: [code_dim], or [B, code_dim].

        Returns:
            Raw offsets, each [N, .], or [B, N, .].
        """
        weight, bias = self.first.weight, self.first.bias
        once = codes @ weight[:, FEATURE_DIM:].T + bias
        x = torch.relu(features @ weight[:, :FEATURE_DIM].T + once[..., None, :])
        for layer in self.trunk:
            x = torch.relu(layer(x))
        out = {name: self.head[name](torch.relu(self.branch[name](x))) for name in BRANCHES}
        return LocalGaussians(
            out["means"],
            out["log_scales"],
            out["quats"],
            out["colors"],
            out["opacities"][..., 0],
        )


class GaussianPrior(nn.Module):
    """Template + decoder + features + one code per training person (GASP equation (4)).

    Args:
        template: raw Gaussians of the mean avatar. people: number of training identities.
        code_dim, width, depth: see `GaussianDecoder`.
        rng_seed: seeds decoder, codes and features. code_std, feature_std: standard deviation of
            the initial codes and features.
    """

    def __init__(
        self,
        template: LocalGaussians,
        people: int,
        code_dim: int,
        width: int,
        depth: int,
        rng_seed: int,
        code_std: float = 0.1,
        feature_std: float = 0.1,
    ) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(rng_seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng_seed)
            self.decoder = GaussianDecoder(code_dim, width, depth)
        self.template = nn.ParameterDict({k: v.clone() for k, v in template._asdict().items()})
        self.features = nn.Parameter(
            feature_std * torch.randn(len(template.means), FEATURE_DIM, generator=rng)
        )
        self.codes = nn.Parameter(code_std * torch.randn(people, code_dim, generator=rng))

    def decode(self, codes: Tensor) -> LocalGaussians:
        """Raw Gaussians of identity codes: template + decoder.

        Args:
            codes: [code_dim], or [B, code_dim].

        Returns:
            Raw Gaussians [N, .], or [B, N, .].
        """
        offsets = self.decoder(self.features, codes)
        return LocalGaussians(*(self.template[k] + v for k, v in offsets._asdict().items()))

    def digest(self) -> str:
        """SHA-256 over all parameters."""
        h = hashlib.sha256()
        for name, value in self.state_dict().items():
            h.update(name.encode())
            h.update(value.detach().cpu().contiguous().numpy().tobytes())
        return h.hexdigest()
