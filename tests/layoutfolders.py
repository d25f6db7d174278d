"""Folders of foreign layouts, written from their descriptions and not by our own writers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from headworks.cameras import Camera
from headworks.synthetic.rigs import nersemble_rig, squared

SIDE = 64
SERIALS = ("222200042", "222200037", "221501007")


def cameras(side: int = SIDE) -> dict[str, Camera]:
    """Three of NeRSemble's, with principal points off the middle."""
    found = {}
    for i, serial in enumerate(SERIALS):
        camera = squared(nersemble_rig(side)[serial])[0]
        K = camera.K + np.array([[0, 0, 3.0 + i], [0, 0, -5.0 - i], [0, 0, 0]])
        found[serial] = Camera(camera.viewmat, K, side, side)
    return found


def picture(step: int, camera: int, side: int = SIDE) -> np.ndarray:
    """Smooth colours that tell steps and cameras apart."""
    low = np.random.default_rng(100 * step + camera).integers(40, 200, (4, 4, 3), np.uint8)
    return cv2.resize(low, (side, side), interpolation=cv2.INTER_CUBIC)


def mask(step: int, side: int = SIDE) -> np.ndarray:
    """A disc that moves."""
    y, x = np.mgrid[:side, :side]
    return (((x - side / 2 - step) ** 2 + (y - side / 2) ** 2 < (side / 3) ** 2) * 255).astype(
        np.uint8
    )


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def flame(step: int) -> dict[str, np.ndarray]:
    """FLAME parameters of one frame as VHAP names and shapes them."""
    rng = np.random.default_rng(step)
    sizes = {"expr": 100, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6,
             "translation": 3}  # fmt: skip
    made = {n: rng.normal(size=(1, k)).astype(np.float32) for n, k in sizes.items()}
    made["shape"] = np.arange(300, dtype=np.float32) / 300
    made["static_offset"] = np.full((1, 5143, 3), 0.001, np.float32)
    return made


def vhap_frame(step: int, index: int, serial: str, camera: Camera, base: str = "") -> dict:
    """One entry of `frames`, word by word from the description of the format."""
    W, K = camera.viewmat, camera.K
    flip = np.diag([1.0, -1, -1, 1])
    name = f"{step:05d}_{index:02d}.png"
    return {
        "timestep_index": step, "timestep_index_original": 3 * step, "timestep_id": f"{step:06d}",
        "camera_index": index, "camera_id": serial, "h": camera.height, "w": camera.width,
        "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": camera.height - K[1, 2],
        "camera_angle_x": 2 * np.arctan(camera.width / (2 * K[0, 0])),
        "camera_angle_y": 2 * np.arctan(camera.height / (2 * K[1, 1])),
        "transform_matrix": (np.linalg.inv(W) @ flip).tolist(),
        "file_path": f"{base}images/{name}", "fg_mask_path": f"{base}fg_masks/{name}",
        "flame_param_path": f"{base}flame_param/{step:05d}.npz",
    }  # fmt: skip


def write_vhap(
    folder: Path, steps: int = 5, rig: Mapping[str, Camera] | None = None, held: int = 1
) -> Path:
    """An export: the last steps are for tests, camera `held` on the others for validation."""
    rig = rig or cameras()
    frames: dict[str, list[dict]] = {"train": [], "val": [], "test": []}
    for step in range(steps):
        (folder / "flame_param").mkdir(parents=True, exist_ok=True)
        np.savez(folder / "flame_param" / f"{step:05d}.npz", **flame(step))
        for i, (serial, camera) in enumerate(rig.items()):
            entry = vhap_frame(step, i, serial, camera)
            save(folder / entry["file_path"], picture(step, i, camera.width))
            save(folder / entry["fg_mask_path"], mask(step, camera.width))
            late = step >= min(np.ceil(0.7 * steps), steps - 1)
            split = "test" if late else "val" if i == held else "train"
            frames[split].append(entry)
    for split, rows in frames.items():
        body = {"frames": rows, **{k: v for k, v in rows[-1].items() if k in "cx cy fl_x h w"}}
        (folder / f"transforms_{split}.json").write_text(json.dumps(body))
    return folder


def write_tsinghua(folder: Path, steps: int = 3, rig: Mapping[str, Camera] | None = None) -> Path:
    """Gaussian Head Avatar's folders."""
    for t in range(steps):
        for i, (serial, camera) in enumerate((rig or cameras()).items()):
            inner = folder / "images" / f"{t:04d}"
            save(inner / f"image_{serial}.jpg", picture(t, i, camera.width))
            save(inner / f"image_lowres_{serial}.jpg", picture(t, i, camera.width // 2))
            save(inner / f"mask_{serial}.jpg", mask(t, camera.width))
            save(inner / f"visible_{serial}.jpg", mask(t, camera.width))
            (folder / "cameras" / f"{t:04d}").mkdir(parents=True, exist_ok=True)
            np.savez(
                folder / "cameras" / f"{t:04d}" / f"camera_{serial}.npz",
                extrinsic=camera.viewmat[:3], intrinsic=camera.K,
            )  # fmt: skip
            save(folder / "background" / f"image_{serial}.jpg", picture(99, i, camera.width))
    return folder


def write_frames(folder: Path, count: int = 12, first: int = 7, side: int = SIDE) -> Path:
    """A clip as numbered pictures."""
    for n in range(first, first + count):
        save(folder / f"{n:08d}.png", picture(n, 0, side))
    return folder


def tree_md5(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file()}  # fmt: skip
