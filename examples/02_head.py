"""The procedural head: an identity, three expressions, an open jaw, eyes that look aside.

python examples/02_head.py OUT
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from headworks.heads import HeadPose, load_head
from headworks.pictures import portrait_camera, shade_mesh

SIDE = 256

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
head = load_head("procedural")
print(f"{len(head.template)} vertices, {len(head.faces)} faces")
print(f"{len(head.identity_basis)} identity modes, {len(head.expression_names)} expressions:")
print("  " + ", ".join(head.expression_names[:8]) + ", ...")

torch.manual_seed(3)
identity = 0.8 * torch.randn(1, len(head.identity_basis))
still = HeadPose.zeros(1)
aside = torch.tensor([[[0.0, 0.4, 0.0]] * 2])
looks = {
    "neutral": ({}, still),
    "smile": ({"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9}, still),
    "jaw open": ({}, replace(still, jaw=torch.tensor([[0.25, 0.0, 0.0]]))),
    "looks aside": (
        {"browInnerUp": 0.6},
        replace(still, eyes=aside),
    ),
}
tiles, meshes = [], []
for name, (weights, pose) in looks.items():
    expression = torch.zeros(1, len(head.expression_names))
    for unit, weight in weights.items():
        expression[0, head.expression_index(unit)] = weight
    with torch.no_grad():
        vertices = head.vertices(identity, expression, pose)[0].numpy()
    camera = portrait_camera(vertices, SIDE, 0.0)
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    tiles.append(shade_mesh(white, vertices, head.faces.numpy(), camera))
    meshes.append(vertices)
    moved = np.linalg.norm(vertices - meshes[0], axis=1).max()
    print(f"{name}: moves vertices by up to {1000 * moved:.1f} mm")
Image.fromarray(np.concatenate(tiles, 1)).save(out / "head.png")
