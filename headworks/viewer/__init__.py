"""The live viewer: avatars moved by sliders in a browser, rendered here on the CPU (needs viser).

cast     `Actor`: an avatar with what it can do; mixing four of them
latents  directions in a prior's code space, applied to an avatar
state    `State`: everything that the panel can change
studio   a state and a view -> a picture
loop     renders for every browser, the newest request first
panel    sliders and buttons
film     a state's motion as MP4
server   `Viewer`: all of it behind one address on this machine
door     keeps the pages of other sites out
probe    a browser's side of the connection, for checks
"""

from __future__ import annotations

from headworks.viewer.cast import Actor
from headworks.viewer.latents import Latents
from headworks.viewer.server import Viewer

__all__ = ["Actor", "Latents", "Viewer"]
