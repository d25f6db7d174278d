"""How close the page of an avatar comes to our renderer, in a headless Chromium.

    python benchmarks/webpage.py AVATAR_FOLDER [--tracking FOLDER] [--side 512] [--pictures FOLDER]

Prints PSNR per expression and camera, the page's size, and how long posing, sorting and drawing
take. Exit code 1 when a picture is below 35 dB or the console is not clean.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headworks.avatars import load_avatar
from headworks.metrics.pixel import psnr
from headworks.pictures import beside, portrait_camera, save_png
from headworks.tracks import load_tracking
from headworks.web import resting_row, write_page
from headworks.web.browser import Browser
from headworks.web.check import check_rows, our_picture, page_picture
from headworks.web.page import head_vertices

BAR_DB = 35.0
CAMERAS = {"front": (0.0, 0.0), "side": (0.7, 0.2)}
TIMING = """(() => {
  const { stage, avatar } = window.headworks, row = window.headworks.row();
  const camera = stage.view(SIDE, SIDE);
  const time = (work) => { const start = performance.now(); for (let i = 0; i < 20; i++) work();
    return (performance.now() - start) / 20; };
  const vertices = avatar.pose(row);
  const think = avatar.network ? time(() => avatar.network.infer()) : 0;
  return [think, time(() => avatar.pose(row)), time(() => stage.splats.project(vertices, camera)),
    time(() => { window.headworks.draw(row, camera); })];
})()"""


def main() -> int:
    """Print one line per picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("avatar", type=Path, help="avatar artifact (a folder)")
    parser.add_argument("--tracking", type=Path, help="its tracking artifact: where the torso is")
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--pictures", type=Path, help="write both pictures and their difference")
    arguments = parser.parse_args()
    avatar = load_avatar(arguments.avatar)
    tracking = load_tracking(arguments.tracking) if arguments.tracking else None
    resting = resting_row(avatar.head, tracking)
    worst = np.inf
    with tempfile.TemporaryDirectory() as folder, Browser(900, 700) as browser:
        page = Path(folder) / "page.html"
        start = time.perf_counter()
        made = write_page(avatar, page, resting=resting)
        print(
            f"{made['gaussians']} Gaussians, {made['vertices']} vertices: "
            f"{made['bytes'] / 1e6:.2f} MB, written in {time.perf_counter() - start:.1f} s"
        )
        browser.open(page, "#still")
        for label, row in check_rows(avatar, resting).items():
            for view, angles in CAMERAS.items():
                camera = portrait_camera(head_vertices(avatar), arguments.side, *angles)
                ours, theirs = our_picture(avatar, row, camera), page_picture(browser, row, camera)
                first, second = theirs / 255.0, ours / 255.0
                value = psnr(first, second)
                drawn = (ours < 250).any(-1)
                inside, top = psnr(first, second, drawn), np.abs(first - second).max() * 255
                worst = min(worst, value)
                print(
                    f"{label:12} {view:6} PSNR {value:6.2f} dB, inside {inside:6.2f} dB, "
                    f"largest difference {top:.0f}/255"
                )
                if arguments.pictures:
                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    gap = np.clip(128 + 8.0 * (theirs.astype(float) - ours), 0, 255)
                    name = f"{label.replace(' ', '_')}_{view}.png"
                    save_png(
                        str(arguments.pictures / name),
                        beside([ours, theirs, gap.astype(np.uint8)]),
                    )
        think, pose, project, draw = browser.run(TIMING.replace("SIDE", str(arguments.side)))
        print(
            f"ms per picture of {arguments.side} px (software WebGL): posing {pose:.1f}, "
            f"network {think:.1f}, "
            f"projecting and sorting {project:.1f}, all with drawing and reading back {draw:.1f}"
        )
        outside = [r for r in browser.requests if not r.startswith("file:")]
        for line in [*browser.problems, *outside]:
            print(f"console: {line}")
        clean = not browser.problems and not outside
    state = "clean" if clean else "NOT clean"
    print(f"worst {worst:.2f} dB, the bar is {BAR_DB:.0f}; console {state}")
    return 0 if worst >= BAR_DB and clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
