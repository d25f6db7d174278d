"""The viewer in a real browser: controls of the panel, moved by the mouse, do what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headworks.avatars.binding import bind_uv, initial_gaussians
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.viewer.latents import Latents
from headworks.web.browser import Browser, find_chromium
from tests.viewer.test_viewer import free_port, soon, toy_actor

pytestmark = pytest.mark.slow

ROW = """(label, inside) => {
  const shown = (e) => e.getClientRects().length > 0;
  const own = (e) => Array.from(e.childNodes).map((n) => n.nodeType === 3 ? n.data : '').join('');
  const named = Array.from(document.querySelectorAll('body *')).find(
    (e) => shown(e) && own(e).trim() === label);
  for (let e = named; e; e = e.parentElement) {
    const found = Array.from(e.querySelectorAll(inside)).find(
      (f) => shown(f) || f.type === 'checkbox');
    if (found || e.matches(inside)) return found || e;
  }
  return null;
}"""


@dataclass
class Session:
    """A viewer and a browser that shows it."""

    viewer: Any
    browser: Browser

    def box(self, label: str, inside: str) -> list[float]:
        """Left, top, width, height of the control beside a label."""
        script = (
            f"(() => {{ const e = ({ROW})({label!r}, {inside!r}); if (!e) return null;"
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            "return [r.x, r.y, r.width, r.height]; })()"
        )
        assert soon(lambda: self.browser.run(script) is not None), label
        time.sleep(0.1)  # it scrolls
        box: list[float] = self.browser.run(script)
        return box

    def mouse(self, kind: str, x: float, y: float) -> None:
        down = 0 if kind == "mouseReleased" else 1
        self.browser.call(
            "Input.dispatchMouseEvent",
            type=kind, x=x, y=y, button="left", buttons=down, clickCount=1,
        )  # fmt: skip

    def click(self, label: str, inside: str = "button, [role=tab]") -> None:
        x, y, width, height = self.box(label, inside)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x + width / 2, y + height / 2)

    def slide(self, label: str, share: float, reached: Callable[[Any], bool]) -> None:
        """A slider's thumb to a share of its track, until the state says so."""
        for _ in range(4):  # a panel that still unfolds moves the slider away from the mouse
            self._drag(label, share)
            if soon(lambda: reached(self.state), 5.0):
                return
        raise AssertionError(f"{label} does not answer: {self.state}")

    def _drag(self, label: str, share: float) -> None:
        x, y, width, height = self.box(label, "[role=slider]")
        track = self.browser.run(
            f"(() => {{ const r = ({ROW})({label!r}, '[role=slider]')"
            ".parentElement.getBoundingClientRect(); return [r.x, r.width]; })()"
        )
        start, end = x + width / 2, track[0] + share * track[1]
        self.mouse("mousePressed", start, y + height / 2)
        for step in range(1, 6):
            self.mouse("mouseMoved", start + step / 5 * (end - start), y + height / 2)
        self.mouse("mouseReleased", end, y + height / 2)

    @property
    def state(self) -> Any:
        return self.viewer.loop.state

    def picture(self) -> np.ndarray:
        """The left part of the window, once it shows something and is at rest."""
        import cv2

        before = np.zeros(())
        for _ in range(40):
            time.sleep(0.5)
            data = np.frombuffer(self.browser.screenshot(), np.uint8)
            shown = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[150:, :600].astype(float)
            if shown.std() > 10 and np.abs(shown - before).mean() < 0.01:
                return shown
            before = shown
        raise AssertionError("the picture does not come to rest")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    pytest.importorskip("viser", reason="the viewer needs viser: pip install 'headworks[viewer]'")
    if find_chromium() is None:
        pytest.skip("no Chromium on the path; set HEADWORKS_CHROMIUM to its program")
    from headworks.viewer import Viewer

    actors = [toy_actor("one"), toy_actor("two", 0.8)]
    head = actors[0].avatar.head
    coarse = bind_uv(head, 16)
    prior = GaussianPrior(initial_gaussians(head, coarse), 6, 4, 8, 2, rng_seed=1, code_std=1.0)
    latents = Latents(prior, coarse, head.digest, {"hair": np.array([1.0, 0.0, 0.0, 0.0])})
    films = tmp_path_factory.mktemp("films")
    with (
        Viewer(actors, latents, free_port(), films, 128) as viewer,
        Browser(1100, 900) as browser,
    ):
        browser.open(viewer.url)
        assert soon(lambda: viewer.loop.shown > 0, 40)
        yield Session(viewer, browser)


def test_a_slider_opens_the_jaw_that_is_shown(session: Session) -> None:
    before = session.picture()
    session.slide("Open jaw", 0.8, lambda s: s.values.get(("face", "Open jaw"), 0) > 0.6)
    moved = np.abs(session.picture() - before).mean()
    session.click("Neutral")
    assert soon(lambda: session.state.values == {})
    assert np.abs(session.picture() - before).mean() < 0.5 * moved


def test_gaze_head_and_jaw_have_their_sliders(session: Session) -> None:
    for group, folder, label, key in (
        ("gaze", "", "Left and right (°)", "Left and right"),
        ("head", "Head", "Turn (°)", "Turn"),
        ("jaw", "Jaw joint", "Jaw down (°)", "Jaw down"),
    ):
        if folder:
            session.click(folder, "*")
        session.slide(label, 0.9, lambda s, at=(group, key): s.values.get(at, 0) > 0.1)
    session.click("Neutral")
    assert soon(lambda: session.state.values == {})


def test_dragging_turns_the_camera(session: Session) -> None:
    (client,) = session.viewer.loop._seats
    before = session.viewer.loop.view_of(client).position
    session.mouse("mousePressed", 300, 500)
    for step in range(6):
        session.mouse("mouseMoved", 300 + 20 * step, 500)
    session.mouse("mouseReleased", 400, 500)

    def turned() -> bool:
        after = session.viewer.loop.view_of(client).position
        return float(np.abs(np.subtract(after, before)).max()) > 0.05

    assert soon(turned)


def test_a_motion_plays(session: Session) -> None:
    session.click("Motion")
    session.click("Play", "input[type=checkbox]")
    assert soon(lambda: session.state.playing)
    shown, at = session.viewer.loop.shown, session.state.time
    assert soon(lambda: session.viewer.loop.shown > shown + 3 and session.state.time != at)
    session.click("Play", "input[type=checkbox]")
    assert soon(lambda: not session.state.playing)


def test_faces_and_people_mix_between_corners(session: Session) -> None:
    session.click("Mix")
    session.click("Mix people", "input[type=checkbox]")
    session.click("Mix expressions", "input[type=checkbox]")
    assert soon(lambda: session.state.mix_people and session.state.mix_expressions)
    session.slide("left to right", 0.02, lambda s: s.x < 0.1)
    left = session.picture()
    session.slide("left to right", 0.98, lambda s: s.x > 0.9)
    assert np.abs(session.picture() - left).mean() > 1.0
    session.click("Mix people", "input[type=checkbox]")
    session.click("Mix expressions", "input[type=checkbox]")
    assert soon(lambda: not session.state.mix_people and not session.state.mix_expressions)


def test_a_latent_direction_is_a_slider(session: Session) -> None:
    session.click("Latent")
    session.slide("hair", 0.9, lambda s: s.latents.get("hair", 0) > 0.8)
    session.slide("hair", 0.5, lambda s: abs(s.latents["hair"]) < 0.2)


def test_two_avatars_stand_side_by_side_and_are_filmed(session: Session) -> None:
    session.click("Picture")
    alone = session.picture()
    session.click("Side by side", "input[type=checkbox]")
    assert soon(lambda: session.state.pair)
    assert np.abs(session.picture() - alone).mean() > 1.0
    session.click("Record MP4")
    assert soon(lambda: len(session.viewer.films) == 1, 40)
    assert Path(session.viewer.films[0]).stat().st_size > 1000


def test_the_browser_had_nothing_to_complain_of(session: Session) -> None:
    # three.js announces which of its modules will go; that is viser's to heed.
    told = [p for p in session.browser.problems if "deprecated" not in p]
    assert told == []
