"""A whole subject in miniature: a textured toy head that turns and speaks, as exact artifacts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import polars as pl
import torch

from headworks.artifacts import write_arrays, write_meta, write_table
from headworks.avatars.avatar import FILE, BoundAvatar
from headworks.avatars.baselines import Texture, TexturedMesh
from headworks.avatars.binding import bind_uv, initial_gaussians
from headworks.cameras import Camera, intrinsics, orbit
from headworks.heads.base import HeadPose
from headworks.images import to_uint8
from tests.toyhead import toy_head

SIDE = 64
BACKGROUND = np.array([0.1, 0.5, 0.2])


def texture(size: int = 64) -> np.ndarray:
    """Smooth colours that differ everywhere: float32 [size, size, 3]."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(2 * np.pi * (f * x + g * y)) for f, g in ((2, 1), (1, 3), (3, 2))]
    return (0.5 + 0.35 * np.stack(waves, -1)).astype(np.float32)


def textured_toy() -> TexturedMesh:
    head = toy_head()
    rgb = texture()
    seen = np.ones(rgb.shape[:2], bool)
    return TexturedMesh(
        head.faces.numpy(), head.uvs.numpy(), head.faces_uv.numpy(), Texture(rgb, seen)
    )


def toy_avatar(setting: str) -> BoundAvatar:
    """Gaussians with the texture's colours, as a fit would leave them."""
    from headworks.avatars.baselines.textured_mesh import bilinear

    head = toy_head()
    binding = bind_uv(head, 48)
    uv = (head.uvs[head.faces_uv[binding.faces]] * binding.bary[..., None]).sum(1).numpy()
    map_ = texture()
    rgb = bilinear(map_, np.stack([uv[:, 0], 1 - uv[:, 1]], -1) * len(map_))
    colours = torch.from_numpy(rgb).clamp(0.01, 0.99).logit()
    local = initial_gaussians(head, binding)._replace(colors=colours)
    return BoundAvatar(head, torch.zeros(2), local, binding, "gasp", setting)


def write_subject(
    root: Path, times: int = 10, cameras: int = 1, setting: str = "monocular"
) -> dict[str, Path]:
    """Write ingest, matting, landmarks, tracking and fit of one subject.

    The last 30 % of the times are held out; with several cameras the last camera is.

    Returns:
        role -> folder, as a stage gets them.
    """
    head, mesh = toy_head(), textured_toy()
    phase = torch.arange(times) / max(times, 2) * 4
    expression = torch.stack([0.5 + 0.5 * torch.sin(2 * phase), 0.5 - 0.5 * torch.cos(phase)], 1)
    pose = HeadPose.zeros(times)
    pose.rotation[:, 1] = 0.25 * torch.sin(phase)
    pose.translation[:, 0] = 0.01 * torch.cos(phase)
    viewmats = np.stack([orbit(0.35 * c, 0.0, 0.6) for c in range(cameras)])
    K = intrinsics(150.0, SIDE, SIDE)
    rgb = np.zeros((times, cameras, SIDE, SIDE, 3), np.uint8)
    alpha = np.zeros(rgb.shape[:4], np.uint8)
    points = np.ones((times, cameras, 68, 3), np.float32)
    rows = []
    for t in range(times):
        vertices = head.vertices(torch.zeros(1, 2), expression[t : t + 1], pose[t : t + 1])
        for c in range(cameras):
            camera = Camera(viewmats[c], K, SIDE, SIDE)
            image, a = mesh.render(vertices[0].numpy(), camera, tuple(BACKGROUND))
            rgb[t, c], alpha[t, c] = to_uint8(image), to_uint8(a)
            points[t, c, :, :2] = camera.project(head.landmarks(vertices)[0].numpy())[:, :2]
            held_out = c == cameras - 1 if cameras > 1 else t >= round(0.7 * times)
            split = "test" if held_out and setting != "photo" else "train"
            rows.append(_row(t, c, split))
    folders = {r: root / r for r in ("ingest", "matting", "landmarks", "tracking", "fit")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    write_arrays(folders["ingest"] / "frames.zarr", {"rgb": rgb})
    schema = {"t": pl.Int32, "c": pl.Int32, "frame": pl.Int32}
    write_table(folders["ingest"] / "frames.parquet", pl.DataFrame(rows, schema_overrides=schema))
    write_meta(
        folders["ingest"],
        "capture",
        {"setting": setting, "subject_kind": "clip", "fps": 10.0, "source": [
            {"file": "toy.mp4", "sha256": hashlib.sha256(b"toy").hexdigest(), "size": 3}
        ]},
    )  # fmt: skip
    write_arrays(folders["matting"] / "mattes.zarr", {"alpha": alpha})
    write_meta(folders["matting"], "mattes", {"backend": "exact", "reason": "made by the test"})
    write_arrays(folders["landmarks"] / "landmarks.zarr", {"points": points})
    write_meta(folders["landmarks"], "landmarks", {"backend": "exact", "found": 1.0})
    _write_tracking(
        folders["tracking"], expression, pose, viewmats, np.tile(K, (times, cameras, 1, 1))
    )
    avatar = toy_avatar(setting)
    facts = avatar.save(folders["fit"] / FILE)
    write_meta(folders["fit"], "avatar", facts)
    write_table(
        folders["fit"] / "curves.parquet",
        pl.DataFrame({"stage": ["refine"] * 5, "step": range(5), "loss": [5.0, 3, 2, 1.5, 1.2],
                      "psnr": [10.0, 15, 18, 20, 21]}),
    )  # fmt: skip
    return folders


def _row(t: int, c: int, split: str) -> dict[str, object]:
    return {
        "sequence": "toy", "t": t, "c": c, "frame": t, "camera": str(c), "time_s": t / 10,
        "split": split, "crop_x": 0.0, "crop_y": 0.0, "crop_side": float(SIDE),
    }  # fmt: skip


def _write_tracking(
    folder: Path, expression: torch.Tensor, pose: HeadPose, viewmats: np.ndarray, Ks: np.ndarray
) -> None:
    head = toy_head()
    arrays = {name: getattr(pose, name).numpy() for name in (
        "rotation", "translation", "neck", "neck_translation", "jaw", "eyes"
    )}  # fmt: skip
    arrays |= {
        "identity": np.zeros(2, np.float32), "expression": expression.numpy(),
        "viewmats": viewmats, "Ks": Ks, "valid": np.ones(len(expression), bool),
    }  # fmt: skip
    write_arrays(folder / "tracking.zarr", arrays)
    times, cameras = Ks.shape[:2]
    write_table(
        folder / "tracking.parquet",
        pl.DataFrame(
            {
                "t": np.repeat(np.arange(times), cameras),
                "c": np.tile(np.arange(cameras), times),
                "landmark_error_px": np.zeros(times * cameras, np.float32),
                "landmark_error_iod": np.zeros(times * cameras, np.float32),
                "iou": np.ones(times * cameras, np.float32),
                "flag": [""] * (times * cameras),
            }
        ),
    )
    facts = {"head": "toy", "head_digest": head.digest, "expression_names": head.expression_names}
    write_meta(folder, "tracking", {**facts, "backend": "exact"})


@contextmanager
def toy_head_known() -> Iterator[None]:
    """Inside, the stages find the head model "toy"."""
    load = lambda name, *_: toy_head()  # noqa: E731
    with (
        patch("stages.evaluate.subject.load_exact", load),
        patch("headworks.avatars.avatar.load_exact", load),
    ):
        yield
