"""`Loop`: renders for every browser in one thread; the newest request wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from headworks.viewer.state import State, View
from headworks.viewer.studio import Picture, Studio

MOVING_S = 0.2
"""Until this long after the last change, pictures may be drafts."""
BUDGET_S = 0.040
"""What a draft may take."""
LEAST_SCALE = 0.35
TICK_S = 1 / 60
_CLOCK_S = 0.25
"""How often the panel hears how far a motion is."""


@dataclass
class _Seat:
    """One browser. Attributes: view: its camera. send: takes its pictures. stale: it wants one.
    changed: when it last moved. draft: whether it saw a draft last."""

    view: View
    send: Callable[[Picture], None]
    stale: bool = True
    changed: float = 0.0
    draft: bool = False


class Loop:
    """Renders what is stale.

    Args:
        studio: makes the pictures. state: at first. clock: hears the time of a motion that plays.
        failed: hears of a picture that could not be made.

    Attributes:
        shown: pictures sent so far. scale: of drafts.
    """

    def __init__(
        self,
        studio: Studio,
        state: State,
        clock: Callable[[float], None] = lambda seconds: None,
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.studio = studio
        self.shown = 0
        self.scale = 1.0
        self._state, self._clock, self._failed = state, clock, failed
        self._seats: dict[int, _Seat] = {}
        self._lock = threading.Lock()
        self.drawing = threading.Lock()
        """Held while a picture is made; a film holds it, too."""
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headworks viewer", daemon=True)

    @property
    def state(self) -> State:
        """What is shown now."""
        return self._state

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when the thread has."""
        self._ended.set()
        self._wake.set()
        self._thread.join()

    def change(self, **values: Any) -> None:
        """Another state: fields of `State`."""
        self.update(lambda state: replace(state, **values))

    def update(self, change: Callable[[State], State]) -> None:
        """Another state, made of the one before; callers do not overtake each other."""
        with self._lock:
            self._state = change(self._state)
            now = time.monotonic()
            for seat in self._seats.values():
                seat.stale, seat.changed = True, now
        self._wake.set()

    def look(self, client: int, view: View, send: Callable[[Picture], None]) -> None:
        """A browser's camera moved, or it came."""
        with self._lock:
            seat = self._seats.setdefault(client, _Seat(view, send))
            seat.view, seat.stale, seat.changed = view, True, time.monotonic()
        self._wake.set()

    def leave(self, client: int) -> None:
        """A browser went away."""
        with self._lock:
            self._seats.pop(client, None)

    def view_of(self, client: int) -> View | None:
        """A browser's camera."""
        with self._lock:
            seat = self._seats.get(client)
            return None if seat is None else seat.view

    def _run(self) -> None:
        last, told = time.monotonic(), 0.0
        while not self._ended.is_set():
            if not self._state.playing:
                self._wake.wait(self._patience())
            self._wake.clear()
            now = time.monotonic()
            if self._state.playing and self._seats:
                self._advance(now - last)
                if now - told > _CLOCK_S:
                    self._clock(self._state.time)
                    told = now
            last = now
            drawn = False
            for client in list(self._seats):
                drawn |= self._serve(client)
            if self._state.playing:
                rest = TICK_S - (time.monotonic() - now) if drawn else TICK_S
                self._ended.wait(max(rest, 0.0))

    def _patience(self) -> float | None:
        """How long nothing needs to be done: until a draft is to be drawn in full."""
        with self._lock:
            drafts = [s.changed for s in self._seats.values() if s.draft or s.stale]
        if not drafts:
            return None
        return max(0.001, min(drafts) + MOVING_S - time.monotonic())

    def _advance(self, seconds: float) -> None:
        with self._lock:
            length = self.studio.duration(self._state.motion)
            if not length:
                return
            moved = self._state.time + self._state.speed * min(seconds, 0.25)
            self._state = replace(self._state, time=moved % length)
            for seat in self._seats.values():
                seat.stale = True

    def _serve(self, client: int) -> bool:
        """Draw for one browser, if it waits."""
        with self._lock:
            seat, state = self._seats.get(client), self._state
            if seat is None:
                return False
            moving = state.playing or time.monotonic() - seat.changed < MOVING_S
            if not seat.stale and (moving or not seat.draft):
                return False
            seat.stale = False
            view = seat.view
        scale = self.scale if moving else 1.0
        start = time.perf_counter()
        try:
            with self.drawing:
                picture = self.studio.picture(state, view, round(state.height * scale))
            if client not in self._seats:  # it left meanwhile
                return False
            seat.send(picture)
        except Exception as error:  # one bad picture must not end the viewer
            self._failed(error)
            return False
        seat.draft = scale < 1.0
        self.shown += 1
        if moving:
            spent = max(time.perf_counter() - start, 1e-4)
            wanted = self.scale * min(1.2, max(0.6, (BUDGET_S / spent) ** 0.5))
            self.scale = min(1.0, max(LEAST_SCALE, wanted))
        return True
