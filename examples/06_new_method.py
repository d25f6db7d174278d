"""Add a method: an avatar with the common protocol, fitted to pictures, measured and moved.

The method is "painted faces": one flat Gaussian per triangle in the mean colour that the pictures
show there. Nothing is trained, and it is a baseline that others should beat.

python examples/06_new_method.py OUT
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from headworks.avatars.avatar import WHITE, Avatar, Picture, picture_of, tracked_state, write_avatar
from headworks.cameras import Camera
from headworks.gaussians import Gaussians
from headworks.geometry import matrix_to_quat, triangle_frames
from headworks.heads.base import HeadModel, HeadPose
from headworks.images import to_uint8
from headworks.mesh import rasterize_mesh
from headworks.metrics.pixel import psnr
from headworks.synthetic import make_person, render_person
from headworks.synthetic.rigs import ring
from headworks.tracks import Tracking

SIDE = 128


@dataclass(frozen=True)
class PaintedFaces:
    """Everything that `headworks.avatars.Avatar` asks for, and two tensors of its own.

    Attributes:
        colors: [F, 3] sRGB of each face. seen: bool [F], others stay invisible.
    """

    head: HeadModel
    identity: Tensor
    colors: Tensor
    seen: Tensor
    setting: str
    method: str = "painted_faces"

    def vertices(self, expression: Tensor, pose: HeadPose) -> Tensor:
        return self.head.vertices(self.identity[None], expression[None], pose)[0]

    def gaussians(self, expression: Tensor, pose: HeadPose) -> Gaussians:
        vertices = self.vertices(expression, pose)
        turns, sizes = triangle_frames(vertices, self.head.faces)
        flat = torch.tensor([0.4, 0.05, 0.4])  # the frame's second axis is the normal
        return Gaussians(
            means=vertices[self.head.faces].mean(1),
            quats=matrix_to_quat(turns),
            scales=(sizes[:, None] * flat).clamp_min(1e-5),
            opacities=torch.where(self.seen, 0.95, 0.0),
            colors=self.colors,
        )

    def render(
        self, expression: Tensor, pose: HeadPose, camera: Camera,
        background: tuple[float, float, float] = WHITE,
    ) -> Picture:  # fmt: skip
        return picture_of(self.gaussians(expression, pose), camera, background)

    def state(self, tracking: Tracking, time: int) -> tuple[Tensor, HeadPose]:
        return tracked_state(tracking, time)

    def save(self, path: Path) -> dict[str, Any]:
        facts = {
            "method": self.method, "setting": self.setting,
            "head": self.head.name, "head_digest": self.head.digest,
        }  # fmt: skip
        write_avatar(
            path, facts, {"identity": self.identity, "colors": self.colors, "seen": self.seen}
        )
        return facts


def fit(
    head: HeadModel, identity: Tensor, pictures: list[np.ndarray], cameras: list[Camera]
) -> PaintedFaces:
    """The method: pixels of all pictures, averaged face by face.

    Args:
        pictures: float32 [H, W, 3] over white, of a neutral face. cameras: that took them.
    """
    neutral = torch.zeros(len(head.expression_names))
    vertices = head.vertices(identity[None], neutral[None], HeadPose.zeros(1))[0].numpy()
    total, count = np.zeros((len(head.faces), 3)), np.zeros(len(head.faces))
    for picture, camera in zip(pictures, cameras, strict=True):
        owner = rasterize_mesh(vertices, head.faces.numpy(), camera).face_ids
        shown = owner >= 0
        np.add.at(total, owner[shown], picture[shown])
        np.add.at(count, owner[shown], 1)
    colors = torch.from_numpy(total / np.maximum(count, 1)[:, None]).float()
    return PaintedFaces(head, identity, colors, torch.from_numpy(count > 0), "multiview")


out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
person = make_person(2, texture=256)
head = person.space.head
cameras = ring(7, SIDE)
pictures = [render_person(person, camera).over(WHITE) for camera in cameras]
kept = [0, 1, 2, 4, 5, 6]  # the middle camera is held out
avatar = fit(head, person.identity, [pictures[k] for k in kept], [cameras[k] for k in kept])
print(f"follows the protocol: {isinstance(avatar, Avatar)}")
neutral, still = torch.zeros(len(head.expression_names)), HeadPose.zeros(1)
shown, _ = avatar.render(neutral, still, cameras[3])
blank = np.ones_like(shown)
print(f"held out, empty page: {psnr(blank, pictures[3]):.1f} dB")
print(f"held out, painted faces: {psnr(shown, pictures[3]):.1f} dB")
speaking = replace(still, jaw=torch.tensor([[0.25, 0.0, 0.0]]))
moved, _ = avatar.render(neutral, speaking, cameras[3])
avatar.save(out / "avatar.safetensors")
row = np.concatenate([to_uint8(p) for p in (pictures[3], shown, moved)], 1)
Image.fromarray(row).save(out / "painted.png")
