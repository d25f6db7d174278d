"""The page of an avatar: python -m headworks.web AVATAR_FOLDER -o page.html"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

from headworks.avatars import FILE, Avatar, load_avatar
from headworks.errors import HeadworksError
from headworks.tracks import load_tracking
from headworks.web import resting_row, tracked_sequence, write_page

DEFAULT_FPS = 25.0
MOST_FRAMES = 1500


def main(arguments: list[str] | None = None) -> int:
    """Write one page; exit code 0, or 1 with what to do."""
    parser = argparse.ArgumentParser(prog="python -m headworks.web", description=__doc__)
    parser.add_argument("avatar", type=Path, help="avatar artifact (a folder)")
    parser.add_argument("-o", "--out", type=Path, default=Path("avatar.html"))
    parser.add_argument("--tracking", type=Path, help="tracking artifact to play (same head model)")
    parser.add_argument("--fps", type=float, default=DEFAULT_FPS, help="of the tracking")
    given = parser.parse_args(arguments)
    try:
        avatar = load_avatar(given.avatar)
        sequence = resting = None
        if given.tracking:
            tracking = load_tracking(given.tracking)
            if tracking.head_digest != avatar.head.digest:
                raise HeadworksError(
                    f"{given.tracking}: tracked with another head model ({tracking.head}) than the "
                    f"avatar's ({avatar.head.name}); take the avatar's own tracking"
                )
            resting = resting_row(avatar.head, tracking)
            times = np.flatnonzero(tracking.valid)[:MOST_FRAMES]
            if len(times) > 1:
                name = f"tracked: {given.tracking.resolve().name}"
                sequence = tracked_sequence(avatar.head, tracking, times, given.fps, name)
        facts = avatar_facts(avatar, given.avatar.resolve())
        made = write_page(avatar, given.out, sequence, facts, resting)
    except HeadworksError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.out}: {made['gaussians']} Gaussians, {made['bytes'] / 1e6:.2f} MB")
    return 0


def avatar_facts(avatar: Avatar, folder: Path) -> dict[str, str]:
    """What a page says of an avatar artifact; its lineage is found by the file's SHA-256."""
    return {
        "subject": folder.name,
        "method": avatar.method,
        "setting": avatar.setting,
        "head model": f"{avatar.head.name} ({avatar.head.digest[:16]})",
        "avatar file, SHA-256": hashlib.sha256((folder / FILE).read_bytes()).hexdigest(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
