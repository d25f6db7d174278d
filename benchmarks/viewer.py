"""How many pictures per second the live viewer shows.

    python benchmarks/viewer.py AVATAR_FOLDER [--tracking FOLDER] [--gaussians 12000] [--height 512]

Starts the real server and a scripted client that speaks the browser's protocol and decodes every
picture: a motion plays for some seconds at full height and the camera stands; then the camera
turns without pause; then a slider moves. Exit code 1 below 20 pictures per second while the motion
plays.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headworks.avatars import BoundAvatar, load_avatar
from headworks.avatars.binding import Binding, LocalGaussians
from headworks.tracks import load_tracking
from headworks.viewer import Actor, Viewer
from headworks.viewer.film import swung
from headworks.viewer.probe import Probe
from headworks.viewer.state import View
from headworks.web import resting_row, tracked_sequence
from headworks.web.controls import pose_rows
from headworks.web.motion import sweep

BAR = 20.0


def thinned(avatar: BoundAvatar, count: int) -> BoundAvatar:
    """About `count` Gaussians, evenly chosen and enlarged to leave no holes."""
    total = len(avatar.binding.faces)
    if count >= total:
        return avatar
    keep = torch.from_numpy(np.linspace(0, total - 1, count).round().astype(np.int64))
    local = LocalGaussians(*(x[keep] for x in avatar.local.detach()))
    local = local._replace(log_scales=local.log_scales + 0.5 * float(np.log(total / count)))
    binding = Binding(avatar.binding.faces[keep], avatar.binding.bary[keep])
    return replace(avatar, local=local, binding=binding)


def front(viewer: Viewer) -> View:
    """Where a new browser starts."""
    start = viewer.server.initial_camera
    x, y, z = (float(v) for v in start.position)
    return View((0.0, 1.0, 0.0, 0.0), (x, y, z), float(start.fov), 1.0)


def report(name: str, probe: Probe, seen: int, seconds: float) -> float:
    """One line; pictures per second."""
    sizes = probe.sizes[seen:]
    rate = len(sizes) / seconds
    heights = f"{min(sizes)} to {max(sizes)} px" if sizes else "none"
    print(f"{name:28} {rate:5.1f} pictures/s, {heights}, median {np.median(sizes or [0]):.0f} px")
    return rate


def cost(viewer: Viewer, view: View, count: int = 20) -> None:
    """Processor time of a picture: says what an idle machine can do even on a busy one."""
    state = replace(viewer.loop.state, motion="motion")
    viewer.studio.picture(state, view)
    wall, spent = time.perf_counter(), time.process_time()
    for number in range(count):
        viewer.studio.picture(replace(state, time=number / 25), view)
    wall, spent = time.perf_counter() - wall, time.process_time() - spent
    load = os.getloadavg()[0]
    print(
        f"one picture: {1e3 * spent / count:.1f} ms of processor time over all cores, "
        f"{1e3 * wall / count:.1f} ms passed; load of the machine {load:.1f}"
    )


def main() -> int:
    """Print one line per situation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--tracking", type=Path)
    parser.add_argument("--gaussians", type=int, default=12000)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    avatar = load_avatar(given.avatar)
    assert isinstance(avatar, BoundAvatar), "choose an avatar of bound Gaussians"
    avatar = thinned(avatar, given.gaussians)
    tracking = load_tracking(given.tracking) if given.tracking else None
    rest = resting_row(avatar.head, tracking)
    motion = sweep(rest, pose_rows(avatar.head, rest))
    if tracking is not None and len(tracking) > 1:
        times = np.flatnonzero(tracking.valid)
        motion = tracked_sequence(avatar.head, tracking, times, 25.0, "tracked")
    print(f"{len(avatar.binding.faces)} Gaussians, {given.height} px, {os.cpu_count()} cores")
    actor = Actor("avatar", avatar, rest, {"motion": motion})
    with Viewer([actor], port=8765, height=given.height) as viewer:
        view = front(viewer)
        cost(viewer, view)
        with Probe(viewer.url, view, given.height) as probe:
            probe.listen(60, pictures=1)
            viewer.loop.change(playing=True)
            probe.listen(3.0)
            seen = probe.received
            probe.listen(given.seconds)
            rate = report("motion plays", probe, seen, given.seconds)
            viewer.loop.change(playing=False)
            for name in ("camera turns", "slider moves"):
                probe.listen(0.5)
                seen, start = probe.received, time.monotonic()
                while (passed := time.monotonic() - start) < given.seconds:
                    if name == "camera turns":
                        probe.look(swung(view, (0.0, 0.0, 0.0), 0.5 * math.sin(2 * passed)))
                    else:
                        probe.set("Open jaw", 0.5 + 0.5 * math.sin(3 * passed))
                    probe.listen(1 / 60)
                report(name, probe, seen, given.seconds)
    print(f"the bar is {BAR:.0f} pictures/s while the motion plays")
    return 0 if rate >= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
