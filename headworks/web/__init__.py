"""An avatar in a page: one HTML file without server or network (`write_page`).

motion    driving rows, tracked sequences
bake      the avatar as plain arrays, identity folded in
controls  sliders and named expressions
page      the file; assets/ holds its script, shaders and style
browser   a headless Chromium for checks
"""

from __future__ import annotations

from headworks.web.motion import Sequence, pack, resting_row, tracked_sequence, unpack
from headworks.web.page import write_page

__all__ = ["Sequence", "pack", "resting_row", "tracked_sequence", "unpack", "write_page"]
