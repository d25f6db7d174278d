"""`Panel`: the sliders and buttons of the viewer, in viser's words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headworks.viewer.cast import Key
from headworks.viewer.loop import Loop
from headworks.viewer.state import NO_MOTION, State

GROUPS = (("gaze", "Gaze"), ("head", "Head"), ("jaw", "Jaw joint"), ("all", "Every expression"))
HEIGHTS = (256, 384, 512, 640, 768, 1024)
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "grey": (0.6, 0.62, 0.64), "dark": (0.09, 0.1, 0.12)}
LATENT_REACH = 1.5
"""Standard deviations; farther out a prior of few people has seen nobody."""
Record = Callable[[Any, Any], None]
"""Called with the clicking browser (or None) and the progress bar."""


class Panel:
    """Builds the panel; every control changes the loop's state.

    Args:
        gui: viser's. loop: what it steers. record: makes a film.

    Attributes:
        sliders: by group and label. handles: the other controls, by name.
    """

    def __init__(self, gui: Any, loop: Loop, record: Record) -> None:
        self._gui, self._loop, self._record = gui, loop, record
        self._studio = loop.studio
        self.sliders: dict[Key, Any] = {}
        self.handles: dict[str, Any] = {}
        first = self._studio.actors[0]
        method = f"{first.avatar.method.replace('_', ' ')}, {first.avatar.setting}"
        self.handles["about"] = gui.add_markdown(
            f"**{_plain(first.name)}** ({_plain(method)}). "
            "Synthetic media: generated pictures, no recording."
        )
        tabs = gui.add_tab_group()
        with tabs.add_tab("Face"):
            self._face()
        with tabs.add_tab("Motion"):
            self._motion()
        if len(self._studio.actors) > 1 or len(first.poses) > 1:
            with tabs.add_tab("Mix"):
                self._mix()
        if self._studio.latents is not None:
            with tabs.add_tab("Latent"):
                self._latent()
        with tabs.add_tab("Picture"):
            self._picture()

    def _change(self, **values: Any) -> None:
        self._loop.change(**values)

    def _bound(
        self, name: str, handle: Any, change: Callable[[Any], Callable[[State], State]]
    ) -> None:
        """A control whose value changes the state."""
        self.handles[name] = handle
        handle.on_update(lambda event: self._loop.update(change(event.target.value)))

    def _face(self) -> None:
        controls = self._studio.actors[0].controls
        poses = list(self._studio.actors[0].poses)
        buttons = self._gui.add_button_group("Take", tuple(poses))
        buttons.on_click(lambda event: self.take(event.target.value))
        self.handles["take"] = buttons
        self._group("face", controls)
        for group, title in GROUPS:
            with self._gui.add_folder(title, expand_by_default=group == "gaze"):
                self._group(group, controls)

    def _group(self, group: str, controls: dict[Key, dict[str, Any]]) -> None:
        for key, control in controls.items():
            if key[0] != group:
                continue
            unit = 180 / math.pi if control["unit"] == "angle" else 1.0
            label = f"{control['label']} (°)" if control["unit"] == "angle" else control["label"]
            low, high = round(unit * control["low"]), round(unit * control["high"])
            step = 1.0 if control["unit"] == "angle" else 0.01
            slider = self._gui.add_slider(label, float(low), float(high), step, 0.0)
            slider.on_update(self._slid(key, unit))
            self.sliders[key] = slider

    def _slid(self, key: Key, unit: float) -> Callable[[Any], None]:
        def moved(event: Any) -> None:
            if event.client is not None:  # not when the program moves the slider
                self._set({key: event.target.value / unit})

        return moved

    def _set(self, changes: Mapping[Key, float]) -> None:
        def change(state: State) -> State:
            values = {**state.values, **changes}
            return replace(state, values={k: v for k, v in values.items() if v})

        self._loop.update(change)

    def take(self, pose: str) -> None:
        """Set the sliders to a named expression, the head as it is; Neutral brings all to rest."""
        actor = self._studio.actors[0]
        wanted, changes = actor.poses[pose], {}
        for key in self.sliders:
            if key[0] in ("face", "jaw", "all") or pose == "Neutral":
                place, factor = actor.controls[key]["parts"][0][:2]
                changes[key] = 0.0 if key[0] == "face" else float(wanted[place]) / factor
        for key, value in changes.items():
            angle = actor.controls[key]["unit"] == "angle"
            self.sliders[key].value = value * (180 / math.pi if angle else 1.0)
        self._set(changes)

    def _motion(self) -> None:
        gui, motions = self._gui, self._studio.motions()
        chosen = gui.add_dropdown("Motion", (NO_MOTION, *motions), initial_value=NO_MOTION)
        play = gui.add_checkbox("Play", False)
        time = gui.add_slider("Time (s)", 0.0, 1.0, 0.01, 0.0)
        self.handles |= {"motion": chosen, "play": play, "time": time}

        def pick(event: Any) -> None:
            name = event.target.value
            time.max = max(self._studio.duration(name), 0.01)
            self._change(motion=name, time=0.0)

        def seek(event: Any) -> None:
            if event.client is not None:  # not when the motion itself moves the slider
                self._change(time=float(event.target.value))

        chosen.on_update(pick)
        time.on_update(seek)
        play.on_update(lambda event: self._change(playing=bool(event.target.value)))
        speed = gui.add_slider("Speed", 0.1, 2.0, 0.1, 1.0)
        self._bound("speed", speed, _field("speed", float))
        if motions:
            chosen.value = motions[0]

    def clock(self, seconds: float) -> None:
        """Show how far the motion is."""
        self.handles["time"].value = min(seconds, self.handles["time"].max)

    def _mix(self) -> None:
        gui, actors = self._gui, self._studio.actors
        names = tuple(f"{i + 1}. {a.name}" for i, a in enumerate(actors))
        number = {name: i for i, name in enumerate(names)}
        corner_names = ("lower left", "lower right", "upper left", "upper right")
        with gui.add_folder("Between four corners"):
            for axis, label in (("x", "left to right"), ("y", "bottom to top")):
                slider = gui.add_slider(label, 0.0, 1.0, 0.01, 0.5)
                self._bound(axis, slider, _field(axis, float))
            box = gui.add_checkbox("Mix expressions", False)
            self._bound("mix_expressions", box, _field("mix_expressions", bool))
            if self._studio.mixable:
                box = gui.add_checkbox("Mix people", False)
                self._bound("mix_people", box, _field("mix_people", bool))
            elif len(actors) > 1:
                gui.add_markdown("People mix only where one prior bound their Gaussians.")
        poses = tuple(actors[0].poses)
        start = [poses[k % len(poses)] for k in range(4)]
        people = [k % len(actors) for k in range(4)]
        self._change(corners=tuple(start), people=tuple(people))
        with gui.add_folder("Corners", expand_by_default=False):
            for k, where in enumerate(corner_names):
                choice = gui.add_dropdown(f"Face {where}", poses, initial_value=start[k])
                self._bound(f"corner{k}", choice, self._entry("corners", k, lambda v: v))
                if self._studio.mixable:
                    choice = gui.add_dropdown(
                        f"Person {where}", names, initial_value=names[people[k]]
                    )
                    self._bound(f"person{k}", choice, self._entry("people", k, number.__getitem__))

    def _entry(
        self, field: str, k: int, read: Callable[[str], Any]
    ) -> Callable[[str], Callable[[State], State]]:
        def change(value: str) -> Callable[[State], State]:
            def apply(state: State) -> State:
                entries: list[Any] = list(getattr(state, field))
                entries[k] = read(value)
                changed: dict[str, Any] = {field: tuple(entries)}
                return replace(state, **changed)

            return apply

        return change

    def _latent(self) -> None:
        latents = self._studio.latents
        assert latents is not None
        if not any(latents.fits(a.avatar) for a in self._studio.actors):
            self._gui.add_markdown("The prior's Gaussians are not those of any avatar shown.")
        for label in latents.directions:
            slider = self._gui.add_slider(label, -LATENT_REACH, LATENT_REACH, 0.1, 0.0)
            self._bound(f"latent:{label}", slider, _step(label))

    def _picture(self) -> None:
        gui, actors = self._gui, self._studio.actors
        if len(actors) > 1:
            names = tuple(f"{i + 1}. {a.name}" for i, a in enumerate(actors))
            number = {name: i for i, name in enumerate(names)}
            self._bound(
                "first", gui.add_dropdown("Avatar", names, initial_value=names[0]),
                _field("first", number.__getitem__),
            )  # fmt: skip
            self._bound(
                "second", gui.add_dropdown("Beside it", names, initial_value=names[1]),
                _field("second", number.__getitem__),
            )  # fmt: skip
            pair = gui.add_checkbox("Side by side", False)
            self._bound("pair", pair, _field("pair", bool))
            self._change(second=1)
        now = self._loop.state.height
        heights = tuple(str(h) for h in sorted({*HEIGHTS, now}))
        height = gui.add_dropdown("Height (pixels)", heights, initial_value=str(now))
        self._bound("height", height, _field("height", int))
        colour = gui.add_dropdown("Background", tuple(BACKGROUNDS), initial_value="white")
        self._bound("background", colour, _field("background", BACKGROUNDS.__getitem__))
        names_on = gui.add_checkbox("Names", True)
        self._bound("names", names_on, _field("names", bool))
        record = gui.add_button("Record MP4")
        bar = gui.add_progress_bar(0.0, visible=False)
        record.on_click(lambda event: self._record(event.client, bar))
        self.handles |= {"record": record, "bar": bar}


def _plain(text: str) -> str:
    """Text for Markdown that shows as it is: viser renders HTML in it, scripts included."""
    return re.sub(r"[^\w .,-]", lambda found: f"&#{ord(found[0])};", text)


def _field(name: str, read: Callable[[Any], Any]) -> Callable[[Any], Callable[[State], State]]:
    """A control's value as one field of the state."""

    def change(value: Any) -> Callable[[State], State]:
        return lambda state: replace(state, **{name: read(value)})

    return change


def _step(label: str) -> Callable[[Any], Callable[[State], State]]:
    """A control's value as one latent step."""

    def change(value: Any) -> Callable[[State], State]:
        return lambda state: replace(state, latents={**state.latents, label: float(value)})

    return change
