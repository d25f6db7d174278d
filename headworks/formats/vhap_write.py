"""Writing what VHAP exports, so that GaussianAvatars' and VHAP's own readers read it.

One sequence is one folder; several are a folder each and, beside them, a union that names them all.

Source: VHAP, export_as_nerf_dataset.py and combine_nerf_datasets.py; GaussianAvatars' reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.formats.rig import SPLITS
from headworks.formats.vhap import FLIP, PARAMETERS, UNION_MARK

_REST_JAW = 0.3
"""Of the canonical parameters: radians, the mouth a little open."""


@dataclass
class VhapWriter:
    """An export in the making; holds no picture.

    GaussianAvatars' reader takes the principal point to be the middle of the picture. `centred`
    pads pictures with white, or their edge where there are no mattes, until that is so within a
    quarter of a pixel; focal lengths and poses stay.

    Attributes:
        folder: the sequence's folder where there is one sequence, else the parent of all.
        name: of the capture, for the union. cameras: serial -> camera.
        sequences: names, in the order of time. centred: see above.
    """

    folder: Path
    name: str
    cameras: Mapping[str, Camera]
    sequences: tuple[str, ...]
    centred: bool = True
    _entries: list[dict[str, Any]] = field(default_factory=list)
    _shape: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cameras = dict(self.cameras)
        self._pads = {n: _pads(c) if self.centred else (0, 0, 0, 0)
                      for n, c in self.cameras.items()}  # fmt: skip
        self._final = {n: _padded(c, self._pads[n]) for n, c in self.cameras.items()}

    @property
    def pads(self) -> dict[str, tuple[int, int, int, int]]:
        """Pixels that were added left, right, above and below, per camera."""
        return self._pads

    def _home(self, sequence: str) -> Path:
        return self.folder if len(self.sequences) == 1 else self.folder / sequence

    def add(
        self, sequence: str, step: int, frame: int, camera: str, rgb: NDArray[np.uint8],
        alpha: NDArray[np.uint8] | None, split: str, parameters: bool,
    ) -> None:  # fmt: skip
        """Write one picture, over white where its matte is known, and the matte.

        Args:
            sequence: its name. step: time step in the sequence. frame: its number in the capture's
                source. camera: serial. rgb: [H, W, 3]. alpha: [H, W], or None.
            split: "train", "val" or "test". parameters: whether FLAME's are written for the step.
        """
        from PIL import Image

        index = list(self.cameras).index(camera)
        name = f"{step:05d}_{index:02d}.png"
        home = self._home(sequence)
        left, right, above, below = self._pads[camera]
        widths = ((above, below), (left, right))
        if alpha is not None:
            share = alpha[..., None].astype(np.float32) / 255
            rgb = np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)
            matte = np.pad(alpha, widths)
            (home / "fg_masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(matte).save(home / "fg_masks" / name)
            image = np.pad(rgb, (*widths, (0, 0)), constant_values=255)
        else:
            image = np.pad(rgb, (*widths, (0, 0)), mode="edge")
        (home / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / "images" / name)
        view = self._final[camera]
        row: dict[str, Any] = {
            "sequence": sequence, "step": step, "split": split,
            "timestep_index_original": frame, "timestep_id": f"{frame:06d}",
            "camera_index": index, "camera_id": camera, **camera_fields(view),
            "file_path": f"images/{name}",
        }  # fmt: skip
        if alpha is not None:
            row["fg_mask_path"] = f"fg_masks/{name}"
        if parameters:
            row["flame_param_path"] = f"flame_param/{step:05d}.npz"
        self._entries.append(row)

    def parameters(self, sequence: str, step: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write one time step's FLAME parameters.

        Args:
            sequence, step: which. arrays: `vhap.PARAMETERS` and `static_offset` [1, V, 3].
        """
        made = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        for name, wanted in PARAMETERS.items():
            shape = made[name].shape
            if len(shape) != len(wanted) or any(w not in (None, n) for w, n in zip(wanted, shape)):
                raise ValueError(f"{name}: {shape}, expected {wanted}")
        folder = self._home(sequence) / "flame_param"
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{step:05d}.npz", **made)  # type: ignore[arg-type]
        if not self._shape:
            self._shape = {n: made[n] for n in ("shape", "static_offset")}
            self._shape["expr"] = np.zeros_like(made["expr"])

    def close(self) -> None:
        """Write the descriptions."""
        for sequence in self.sequences:
            rows = [e for e in self._entries if e["sequence"] == sequence]
            home = self._home(sequence)
            _write(home, [{"timestep_index": e["step"], **_told(e)} for e in rows], rows)
            if self._shape:
                self._canonical(home)
        if len(self.sequences) == 1:
            return
        union = self.folder / f"UNION{len(self.sequences)}_{self.name}"
        union.mkdir()
        steps = sorted({(self.sequences.index(e["sequence"]), e["step"]) for e in self._entries})
        place = {key: n for n, key in enumerate(steps)}
        frames = []
        for e in self._entries:
            told = _told(e)
            # As in VHAP's unions: no word of the index before.
            for key in ("timestep_index_original", "timestep_id"):
                told.pop(key)
            for key in ("file_path", "fg_mask_path", "flame_param_path"):
                if key in told:
                    told[key] = f"../{e['sequence']}/{told[key]}"
            index = place[self.sequences.index(e["sequence"]), e["step"]]
            frames.append({"timestep_index": index, **told})
        _write(union, frames, self._entries)
        trained = {e["sequence"] for e in self._entries if e["split"] == "train"}
        learnt = [s for s in self.sequences if s in trained]
        rest = [s for s in self.sequences if s not in learnt]
        (union / UNION_MARK).write_text("".join(f"{s}\n" for s in learnt))
        (union / "sequences_test.txt").write_text("".join(f"{s}\n" for s in rest))
        if self._shape:
            self._canonical(union)

    def _canonical(self, folder: Path) -> None:
        sizes = {"rotation": 3, "neck_pose": 3, "eyes_pose": 6, "translation": 3}
        made = {name: np.zeros((1, k), np.float32) for name, k in sizes.items()}
        made |= {**self._shape, "jaw_pose": np.array([[_REST_JAW, 0, 0]], np.float32)}
        np.savez(folder / "canonical_flame_param.npz", **made)  # type: ignore[arg-type]


def camera_fields(camera: Camera) -> dict[str, Any]:
    """A frame's keys for its camera: OpenGL axes, cy from the lower edge."""
    K, width, height = camera.K, camera.width, camera.height
    return {
        "cx": float(K[0, 2]), "cy": float(height - K[1, 2]),
        "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "h": height, "w": width,
        "camera_angle_x": float(2 * np.arctan(width / (2 * K[0, 0]))),
        "camera_angle_y": float(2 * np.arctan(height / (2 * K[1, 1]))),
        "transform_matrix": (np.linalg.inv(camera.viewmat) @ FLIP).tolist(),
    }  # fmt: skip


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k not in ("sequence", "step", "split")}


def _write(folder: Path, frames: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """`transforms.json` and one file per split; the last camera also at the top, for others."""
    last = ("cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y")
    chosen = {"": frames}
    for split in SPLITS:
        chosen[f"_{split}"] = [f for f, row in zip(frames, rows) if row["split"] == split]
    for suffix, some in chosen.items():
        body: dict[str, Any] = {
            "frames": some,
            "timestep_indices": sorted({f["timestep_index"] for f in some}),
            "camera_indices": sorted({f["camera_index"] for f in some}),
        }
        if some:
            body |= {key: some[-1][key] for key in last}
        (folder / f"transforms{suffix}.json").write_text(json.dumps(body, indent=1) + "\n")


def _pads(camera: Camera) -> tuple[int, int, int, int]:
    """Pixels to add left, right, above, below, to bring the principal point to the middle."""
    x = round(camera.width - 2 * camera.K[0, 2])
    y = round(camera.height - 2 * camera.K[1, 2])
    return max(x, 0), max(-x, 0), max(y, 0), max(-y, 0)


def _padded(camera: Camera, pads: tuple[int, int, int, int]) -> Camera:
    left, right, above, below = pads
    K = camera.K + np.array([[0, 0, left], [0, 0, above], [0, 0, 0]])
    return Camera(camera.viewmat, K, camera.width + left + right, camera.height + above + below)
