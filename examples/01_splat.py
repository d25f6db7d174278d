"""Fit 400 Gaussians to a picture, through the differentiable rasteriser on the CPU.

python examples/01_splat.py OUT
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut
from skimage.transform import resize

from headworks.splat import rasterization

SIDE, COUNT, STEPS = 96, 400, 150

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
torch.set_num_threads(1)
target = torch.tensor(resize(astronaut()[:256, 96:352], (SIDE, SIDE)), dtype=torch.float32)

# A camera at the origin that looks along +z; one unit at distance 1 fills the picture.
viewmats = torch.eye(4)[None]
Ks = torch.tensor([[[SIDE, 0, SIDE / 2], [0, SIDE, SIDE / 2], [0, 0, 1]]], dtype=torch.float32)

means = torch.cat([torch.rand(COUNT, 2) - 0.5, 1 + 0.1 * torch.rand(COUNT, 1)], 1)
raw = {
    "means": means,
    "quats": torch.nn.functional.normalize(torch.randn(COUNT, 4), dim=1),
    "scales": torch.full((COUNT, 3), -3.5),
    "opacities": torch.zeros(COUNT),
    "colors": torch.zeros(COUNT, 3),
}
for value in raw.values():
    value.requires_grad_(True)
rates = {"means": 2e-3, "quats": 2e-2, "scales": 3e-2, "opacities": 3e-2, "colors": 5e-2}
adam = torch.optim.Adam([{"params": [raw[k]], "lr": rate} for k, rate in rates.items()])


def render() -> torch.Tensor:
    pictures, _, _ = rasterization(
        means=raw["means"],
        quats=raw["quats"],
        scales=raw["scales"].exp(),
        opacities=raw["opacities"].sigmoid(),
        colors=raw["colors"].sigmoid(),
        viewmats=viewmats,
        Ks=Ks,
        width=SIDE,
        height=SIDE,
        backgrounds=torch.ones(1, 3),
    )
    return pictures[0]


def psnr(picture: torch.Tensor) -> float:
    return float(-10 * torch.log10((picture - target).square().mean()))


with torch.no_grad():
    print(f"before: {psnr(render()):.1f} dB")
for _ in range(STEPS):
    loss = (render() - target).abs().mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
with torch.no_grad():
    picture = render().clamp(0, 1)
print(f"after {STEPS} steps: {psnr(picture):.1f} dB")
both = torch.cat([target, picture], 1).numpy()
Image.fromarray(np.rint(both * 255).astype(np.uint8)).save(out / "splat.png")
