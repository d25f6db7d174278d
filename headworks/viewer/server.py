"""`Viewer`: avatars behind an address of this machine."""

from __future__ import annotations

import contextlib
import io
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from headworks.errors import HeadworksError
from headworks.pictures import portrait_camera
from headworks.viewer.cast import Actor
from headworks.viewer.door import guarded
from headworks.viewer.film import film
from headworks.viewer.latents import Latents
from headworks.viewer.loop import Loop
from headworks.viewer.panel import Panel
from headworks.viewer.state import State, View
from headworks.viewer.studio import Picture, Studio
from headworks.web.page import head_vertices

HOST = "127.0.0.1"
JPEG_QUALITY = 88


class Viewer:
    """A running viewer; a context manager.

    Args:
        actors: the avatars; the first one names the sliders. latents: of a prior, or None.
        port: where to listen; another free one is taken where it is in use. films: folder for
            recordings. height: pixels of the picture. recorded: called with every film's file.

    Attributes:
        url: its address, of this machine alone. loop, panel, studio: its parts. films: what was
            recorded.

    Raises:
        HeadworksError: viser is not installed, or there is no avatar.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        latents: Latents | None = None,
        port: int = 8080,
        films: Path = Path(),
        height: int = 512,
        recorded: Callable[[Path], None] = lambda path: None,
    ) -> None:
        try:
            import viser
        except ImportError:
            raise HeadworksError(
                "the viewer needs viser: pip install 'headworks[viewer]'"
            ) from None
        self.studio = Studio(actors, latents)
        self.films: list[Path] = []
        self._folder, self._recorded = films, recorded
        # It would print a box of its own, and listen to the pages of any site.
        with contextlib.redirect_stdout(io.StringIO()), guarded():
            self.server: Any = viser.ViserServer(HOST, port, "headworks", verbose=False)
        self.url = f"http://{HOST}:{self.server.get_port()}"
        self.loop = Loop(self.studio, State(height=height), self._clock, _told)
        self._centre = self._place_camera()
        self.server.gui.configure_theme(
            control_width="medium", show_logo=False, show_share_button=False,
            brand_color=(11, 92, 148),
        )  # fmt: skip
        self.server.gui.main_panel.dock_right()
        self.panel = Panel(self.server.gui, self.loop, self._record)
        self.server.on_client_connect(self._came)
        self.server.on_client_disconnect(lambda client: self.loop.leave(client.client_id))
        self.loop.start()

    def _place_camera(self) -> tuple[float, float, float]:
        """New browsers look at the first avatar's face; what they turn about."""
        vertices = head_vertices(self.studio.actors[0].avatar)
        camera = portrait_camera(vertices, 512)
        middle = (vertices.min(0) + vertices.max(0)) / 2
        self.server.scene.set_up_direction("+y")
        start = self.server.initial_camera
        start.position = tuple(float(v) for v in camera.centre)
        start.look_at = tuple(float(v) for v in middle)
        start.fov = float(2 * np.arctan(camera.height / 2 / camera.K[1, 1]))
        a, b, c = (float(v) for v in middle)
        return a, b, c

    def _came(self, client: Any) -> None:
        """A browser opened the page."""

        def send(picture: Picture) -> None:
            client.scene.set_background_image(picture, format="jpeg", jpeg_quality=JPEG_QUALITY)

        async def moved(camera: Any) -> None:
            self.loop.look(client.client_id, _view(camera), send)

        client.camera.on_update(moved)
        self.loop.look(client.client_id, _view(client.camera), send)

    def _clock(self, seconds: float) -> None:
        self.panel.clock(seconds)

    def _record(self, client: Any, bar: Any) -> None:
        """Film what a browser sees into a new file, and offer it there."""
        view = None if client is None else self.loop.view_of(client.client_id)
        if view is None:
            return
        state = self.loop.state
        bar.visible = True
        try:
            # The panel stays alive; pictures, and other films, wait until the film is done.
            with self.loop.drawing:
                path = _next_name(self._folder)
                fresh = path.with_name(f".{path.name}")
                try:
                    film(self.studio, state, view, fresh, self._centre, _percent(bar))
                    fresh.rename(path)
                finally:
                    fresh.unlink(missing_ok=True)
        finally:
            bar.visible = False
        self._recorded(path)
        self.films.append(path)
        client.add_notification("Recorded", str(path), auto_close_seconds=8.0)
        client.send_file_download(path.name, path.read_bytes())

    def wait(self) -> None:
        """Serve until interrupted (Ctrl-C)."""
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)

    def stop(self) -> None:
        """End server and thread."""
        self.loop.stop()
        self.server.stop()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()


def _view(camera: Any) -> View:
    width, height = max(camera.image_width, 1), max(camera.image_height, 1)
    w, x, y, z = (float(v) for v in camera.wxyz)
    a, b, c = (float(v) for v in camera.position)
    return View((w, x, y, z), (a, b, c), float(camera.fov), min(4.0, max(0.25, width / height)))


def _percent(bar: Any) -> Callable[[float], None]:
    def show(share: float) -> None:
        value = round(100 * share)
        if value != bar.value:
            bar.value = value

    return show


def _next_name(folder: Path) -> Path:
    """A film's name that is not taken."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (path := folder / f"headworks-view-{number:03d}.mp4").exists():
        number += 1
    return path


def _told(error: Exception) -> None:
    """A picture that could not be made: said where the program runs."""
    print(f"headworks view: {error!r}", file=sys.stderr)
    traceback.print_exception(error, file=sys.stderr)
