"""Add a head model: fill a `HeadModel`, check it, keep it under a name, drive it.

The model is a small one, learnt from examples as 3D morphable models are: principal components of
40 heads, and few expressions. Yours has arrays of its own; the rest is the same.

python examples/07_new_head.py OUT
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from headworks.driving.performance import bare_head
from headworks.heads import HeadPose, load_head
from headworks.heads.base import HeadModel
from headworks.heads.checks import random_expressions, soundness
from headworks.heads.dense import complete
from headworks.heads.retarget import retargeting
from headworks.heads.store import save_head
from headworks.pictures import portrait_camera, shade_mesh

SIDE, MODES, PEOPLE = 224, 8, 40
EXPRESSIONS = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight",
               "browInnerUp", "mouthPucker")  # fmt: skip


def small_head(source: HeadModel) -> HeadModel:
    """Principal components of people, as a head model with the source's triangles."""
    rng = torch.Generator().manual_seed(1)
    people = torch.randn(PEOPLE, len(source.identity_basis), generator=rng)
    with torch.no_grad():
        none = torch.zeros(PEOPLE, len(source.expression_names))
        shapes = source.rest_vertices(people, none)
    mean = shapes.mean(0)
    _, spread, axes = torch.linalg.svd((shapes - mean).flatten(1), full_matrices=False)
    # In standard deviations, as coefficients of identity are.
    basis = (spread[:MODES, None] / (PEOPLE - 1) ** 0.5 * axes[:MODES]).reshape(MODES, -1, 3)
    # Joints move with the people as vertices do: the same combinations of the samples.
    joints = torch.einsum("pk,kjc->pjc", people, source.joint_identity) + source.joints
    centred = (shapes - mean).flatten(1)
    weights = centred @ basis.flatten(1).T / basis.flatten(1).square().sum(1)
    joint_basis = torch.linalg.lstsq(weights, (joints - joints.mean(0)).flatten(1)).solution
    chosen = [source.expression_index(name) for name in EXPRESSIONS]
    return HeadModel(
        name="small",
        template=mean,
        identity_basis=basis,
        expression_basis=source.expression_basis[chosen],
        expression_names=EXPRESSIONS,
        faces=source.faces,
        face_regions=source.face_regions,
        uvs=source.uvs,
        faces_uv=source.faces_uv,
        landmark_faces=source.landmark_faces,
        landmark_bary=source.landmark_bary,
        joints=joints.mean(0),
        joint_identity=joint_basis.reshape(MODES, 5, 3),
        skin_weights=source.skin_weights,
        pose_basis=source.pose_basis,
    )


out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
source = load_head("procedural")
made = small_head(source)
rng = np.random.default_rng(0)
identities = 0.7 * rng.standard_normal((2, MODES)).astype(np.float32)
faces = np.stack([random_expressions(made, 2, rng) for _ in identities]).astype(np.float32)
found = soundness(complete(made), identities, faces, largest_self_tests=1)
print(f"lids: slit of {found.lid_gap_mm:.2f} mm where they close, lips {found.lip_depth_mm:.2f} mm")

# Kept under its name, it can stand in params.yaml: `synthesis.head: small`, `tracking.head: small`.
folder = out / "heads"
os.environ["HEADWORKS_HEADS"] = str(folder)
about = {
    "kind": "own", "sources": [], "licence": "as headworks", "origin": [0.0, 0.0, 0.0], "unit": 1.0,
    "notes": [f"principal components of {PEOPLE} procedural heads"],
}  # fmt: skip
record = save_head(made, folder, about)
head = load_head("small")
print(f"kept as {record.name!r}, the same model: {head.digest == made.digest}")

# Performances of another head model come over by name, by landmarks where a name is missing.
mapping = retargeting(source, head)
wanted = torch.zeros(1, len(source.expression_names))
for name, value in (("mouthSmileLeft", 0.9), ("mouthSmileRight", 0.9), ("jawOpen", 0.3)):
    wanted[0, source.expression_index(name)] = value
expression, pose = mapping(wanted, HeadPose.zeros(1), head.signed())
pose = replace(pose, neck=torch.tensor([[0.0, 0.3, 0.0]]))
tiles, meshes = [], []
for identity in torch.from_numpy(identities):
    for face, turn in ((torch.zeros_like(expression), HeadPose.zeros(1)), (expression, pose)):
        with torch.no_grad():
            vertices = head.vertices(identity[None], face, turn)[0].numpy()
        meshes.append(vertices)
        camera = portrait_camera(bare_head(head, identity), SIDE)
        white = np.full((SIDE, SIDE, 3), 255, np.uint8)
        tiles.append(shade_mesh(white, vertices, head.faces.numpy(), camera))
moved = 1000 * np.linalg.norm(meshes[1] - meshes[0], axis=1).max()
print(f"a smile and a turn move the small head by up to {moved:.0f} mm")
Image.fromarray(np.concatenate(tiles, 1)).save(out / "small.png")
