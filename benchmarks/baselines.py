"""GASP's avatar beside GaussianAvatars and FlashAvatar on a workspace's subjects.

    python benchmarks/baselines.py [WORKSPACE] [--subjects NAME ...] [--out FOLDER]
    python benchmarks/baselines.py --set gaussian_avatars.background=white --scale 2

Fits both baselines with the workspace's params.yaml and `--set` over it, to what its stages left;
prints mean PSNR over training and held-out pictures, as `evaluate` composes them, and seconds of
processor time. With `--out`, pictures: truth, GASP, GaussianAvatars, FlashAvatar side by side.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars import Avatar
from headworks.avatars.flash_avatar import fit_flash_avatar
from headworks.avatars.gaussian_avatars import fit_gaussian_avatars
from headworks.avatars.views import Views
from headworks.metrics.pixel import psnr
from headworks.metrics.protocol import displayed
from headworks.pictures import save_png
from pipelines.params import load_params
from stages.baseline import load_subject as load_training
from stages.contract import Context
from stages.evaluate.subject import Pair, Subject, evenly, load_subject
from stages.flash_avatar import flash_avatar_config
from stages.gaussian_avatars import gaussian_avatars_config
from stages.registry import STAGES

ROLES = ("ingest", "matting", "landmarks", "tracking", "fit")
FRAMES = 12


def smaller(image: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """An image [H, W, ...] at a whole fraction of its size, by areas."""
    height, width = image.shape[:2]
    size = (width // scale, height // scale)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def smaller_views(views: Views, scale: int) -> Views:
    """Training pictures and cameras at a whole fraction of their size."""
    if scale == 1:
        return views
    alpha = [smaller(a.astype(np.float32) / 255, scale) for a in views.alpha]
    inked = [
        smaller(c.astype(np.float32) * (a / np.float32(255))[..., None], scale)
        for c, a in zip(views.rgb, views.alpha)
    ]
    rgb = [c / np.maximum(a, 1e-3)[..., None] for c, a in zip(inked, alpha)]
    Ks, tracked = views.Ks.clone(), views.tracking.Ks.copy()
    Ks[:, :2] /= scale
    tracked[:, :, :2] /= scale
    return replace(
        views,
        rgb=np.stack([np.clip(np.rint(c), 0, 255).astype(np.uint8) for c in rgb]),
        alpha=np.stack([np.rint(255 * a).astype(np.uint8) for a in alpha]),
        Ks=Ks,
        tracking=replace(views.tracking, Ks=tracked),
    )


def shown(avatar: Avatar, subject: Subject, pair: Pair, scale: int) -> NDArray[np.float32]:
    """The avatar as `evaluate` shows it in a picture's place."""
    camera = subject.camera(pair)
    camera = camera.resized(camera.width // scale, camera.height // scale)
    return displayed(avatar.render(*avatar.state(subject.tracking, pair[0]), camera)[0])


def main() -> int:
    """Print one line per subject and method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("workspace", nargs="?", type=Path, default=Path("."))
    parser.add_argument("--subjects", nargs="*", default=["demo_clip", "demo_multiview"])
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE")
    parser.add_argument("--scale", type=int, default=1, help="fraction of the pictures' side")
    parser.add_argument("--out", type=Path, help="folder for pictures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(args.workspace / "params.yaml", STAGES, args.set)
    fits = {
        "gaussian_avatars": (gaussian_avatars_config, fit_gaussian_avatars),
        "flash_avatar": (flash_avatar_config, fit_flash_avatar),
    }
    print(f"{'subject':20} {'method':18} {'train':>7} {'held out':>9} {'seconds':>8}")
    for name in args.subjects:
        folders = {role: args.workspace / "data" / role / name for role in ROLES}
        subject = load_subject(folders, FRAMES)
        head, views, setting = load_training(folders, Context())
        views = smaller_views(views, args.scale)
        avatars: dict[str, tuple[Avatar, float | None]] = {"gasp": (subject.avatar, None)}
        for method, (config_of, fit) in fits.items():
            section = next(s for s in STAGES if s.name == method).params_class()
            config = config_of(section(**params.section(method)), setting)
            start = time.process_time()
            avatar, _ = fit(head, views, setting, config, params.seed, lambda done, message: None)
            avatars[method] = avatar, time.process_time() - start
        rows = []
        for method, (avatar, seconds) in avatars.items():
            means = []
            for pairs in (evenly(subject.train, FRAMES), subject.chosen):
                values = [
                    psnr(
                        shown(avatar, subject, pair, args.scale),
                        smaller(subject.target(pair)[0], args.scale),
                    )
                    for pair in pairs
                ]
                means.append(float(np.mean(values)))
            cost = "" if seconds is None else f"{seconds:8.0f}"
            print(f"{name:20} {method:18} {means[0]:7.2f} {means[1]:9.2f} {cost}", flush=True)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            for pair in (subject.train[0], subject.chosen[-1]):
                row = [smaller(subject.target(pair)[0], args.scale)]
                row += [shown(a, subject, pair, args.scale) for a, _ in avatars.values()]
                rows.append(np.concatenate(row, 1))
            picture = np.rint(255 * np.concatenate(rows)).astype(np.uint8)
            save_png(str(args.out / f"{name}.png"), picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
