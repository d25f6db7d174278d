"""Held-out people as a tracker sees them: `benchmarks/gasp.py --tracking tracked`.

The tracker of the pipeline looks at every time step through five calibrated cameras of the rig,
none of them a test camera, at twice the study's resolution (a detector finds no faces of 60
pixels), with dlib's landmarks and exact mattes. The paper tracks with several cameras, too, for all
settings. What it finds takes the place of the exact head; the pictures that methods see, and the
cameras, stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gasp_people import FRONT, RATE, HeldOut, Sizes, as_filmed, held_out_person, stage
from numpy.typing import NDArray

from headworks.formats.sequences import sequence_runs
from headworks.heads import HeadPose
from headworks.landmarks import detect
from headworks.seeds import generator
from headworks.synthetic.capture import capture, preview
from headworks.tracking.rig_tracker import track_rig
from headworks.tracking.rig_view import RigView
from headworks.tracking.tracker import Options

CAMERAS = (FRONT, 3, 6, 10, 13)
"""Indices of the cameras that the tracker looks through."""
SIDE = 256
"""Pixels of the pictures that are tracked, at least; else twice those of the study."""


def tracked_person(seed: int, sizes: Sizes, folder: Path) -> HeldOut:
    """A held-out person with the tracker's head in place of the exact one, kept in `folder`.

    Raises:
        CaptureError: the tracker finds no face.
    """
    held = held_out_person(seed, sizes, folder)
    side = max(SIDE, 2 * sizes.side)
    path = folder / (
        f"tracked-{seed}-{side}-{sizes.clip_frames}-{sizes.rig_frames}-{sizes.test_frames}.npz"
    )
    if not path.exists():
        _track(seed, sizes, side, path)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if str(arrays["digest"]) != held.head.digest:
        raise SystemExit(f"{path}: tracked with another version of the head; remove it")
    pose = {k.removeprefix("pose_"): torch.from_numpy(v) for k, v in arrays.items() if "pose_" in k}
    tracking = replace(
        held.tracking,
        identity=torch.from_numpy(arrays["identity"]),
        expression=torch.from_numpy(arrays["expression"]),
        pose=HeadPose(**pose),
        valid=arrays["valid"],
    )
    seen = tracking.valid

    def kept(groups: dict[Any, list[int]]) -> dict[Any, list[int]]:
        return {k: [i for i in index if seen[held.pairs[i][0]]] for k, index in groups.items()}

    return replace(held, tracking=tracking, train=kept(held.train), test=kept(held.test))


def _track(seed: int, sizes: Sizes, side: int, path: Path) -> None:
    scene = stage(seed, sizes, side)
    cameras = [scene.cameras[c] for c in CAMERAS]
    shown = capture(scene.person, scene.motion, cameras, (1.0, 1.0, 1.0), preview(2), seed)
    rgb = as_filmed(shown.rgb, scene.cast, generator(seed, "study", "tracked pictures"))
    names = np.array(scene.motion.names)
    runs = sequence_runs(list(scene.motion.names))
    landmarks = np.stack(
        [np.concatenate([detect("dlib", rgb[r, c])[0] for r in runs]) for c in range(len(cameras))],
        1,
    ).astype(np.float64)
    view = RigView(
        viewmats=np.stack([camera.viewmat for camera in cameras]),
        Ks=np.broadcast_to(np.stack([c.K for c in cameras]), (len(rgb), len(cameras), 3, 3)).copy(),
        rgb=lambda c: _of(rgb, c),
        alpha=lambda c: _of(shown.alpha, c),
        size=(side, side),
        landmarks=landmarks,
        linked=names[1:] == names[:-1],
        rate=RATE,
    )
    found = track_rig(scene.head, view, Options(seed=seed))
    pose = {f"pose_{k}": v.numpy() for k, v in vars(found.pose).items()}
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial, digest=np.array(scene.head.digest), identity=found.identity,
        expression=found.expression, valid=found.valid,
        landmark_error_iod=np.nanmean(found.error_iod), **pose,
    )  # fmt: skip
    partial.replace(path)


def _of(pictures: NDArray[np.uint8], camera: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pictures[:, camera])
