"""`headworks view`: avatars and what moves them, gathered for the live viewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headworks.errors import HeadworksError
from pipelines.avatars import (
    Source,
    find_avatar,
    find_driver,
    published_stamp,
    rest_of,
    unit_of,
)
from pipelines.marking import Marking, keys_of
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.avatars.gasp.decoder import GaussianPrior
    from headworks.viewer import Actor, Latents, Viewer

SCRIPT = {"seconds": 8.0, "fps": 25.0, "seed": 1}
"""How a motion of a script is made."""


@dataclass(frozen=True)
class Asked:
    """What is to be shown.

    Attributes:
        avatars: names; see `pipelines.avatars`. by: what moves them besides their own captures.
        prior: folder or file of a prior whose latent directions are offered, or None.
        port, height: of the viewer. films: folder for recordings.
    """

    avatars: Sequence[str]
    by: Sequence[str] = ()
    prior: Path | None = None
    port: int = 8080
    height: int = 512
    films: Path = Path()


def open_viewer(workspace: Workspace, asked: Asked, told: Callable[[str], None]) -> Viewer:
    """A running viewer.

    Raises:
        HeadworksError: a name is wrong, or viser is not installed.
    """
    from headworks.viewer import Viewer

    if not asked.avatars:
        raise HeadworksError("view: name at least one avatar (headworks status lists subjects)")
    if not 64 <= asked.height <= 2048:
        raise HeadworksError(f"--height {asked.height}: expected 64 to 2048 pixels")
    sources = [find_avatar(workspace, name) for name in asked.avatars]
    actors = [_actor(workspace, source, asked.by, told) for source in sources]
    latents = None if asked.prior is None else _latents(workspace, asked.prior)
    stamp = dict(sources[0].stamp)
    for number, source in enumerate(sources[1:], 2):  # a film may show any of them
        if "digest" in source.stamp:
            stamp[f"digest_{number}"] = source.stamp["digest"]
    finish, said = Marking(keys=keys_of(workspace.layout)).finisher(stamp)

    def recorded(path: Path) -> None:
        finish(path, path.name)
        for line in (f"recorded {path}", *said):
            told(line)

    return Viewer(actors, latents, asked.port, asked.films, asked.height, recorded)


def _actor(
    workspace: Workspace, source: Source, by: Sequence[str], told: Callable[[str], None]
) -> Actor:
    """An avatar with its own capture's motion, and those asked for, upright at the origin."""
    from headworks.driving.performance import home_rest, still
    from headworks.driving.transfer import Transfer, transfer
    from headworks.viewer import Actor
    from headworks.web.motion import Sequence as Motion
    from headworks.web.motion import pack

    avatar = source.avatar
    head, identity = avatar.head, avatar.identity
    rest, own = rest_of(source, workspace)
    home = home_rest(head, identity, rest)
    calm = still(head, identity, 0 * home.expression, home)
    names = [] if own is None or source.subject is None else [source.subject]
    motions = {}
    for name in [*names, *by]:
        driver = find_driver(workspace, name, source, SCRIPT, told)
        if len(driver.performance) < 2 or name in motions:
            continue
        moved = transfer(driver.performance, driver.rest, head, identity, home, Transfer())
        label = "its own capture" if name == source.subject else name
        motions[label] = Motion(label, moved.fps, pack(moved.expression, moved.pose))
        for note in driver.notes:
            told(f"{source.name}: {note}")
    return Actor(source.name, avatar, pack(calm.expression, calm.pose)[0], motions)


def _latents(workspace: Workspace, path: Path) -> Latents:
    from headworks.artifacts import read_meta
    from headworks.avatars.gasp.file import FILE, load_prior
    from headworks.viewer import Latents

    file = path / FILE if path.is_dir() else path
    unit = unit_of(workspace, file)
    if unit is not None:
        published_stamp(workspace, *unit)  # refuses what was withdrawn or touched
    prior, binding = load_prior(file)
    folder = file.resolve().parent
    head_digest = str(read_meta(folder).get("head_digest", ""))
    return Latents(prior, binding, head_digest, _named(folder, prior))


def _named(folder: Path, prior: GaussianPrior) -> dict[str, NDArray[np.float32]]:
    """What the stage `directions` found among the prior's codes: label -> a step of beta 1."""
    import json

    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    found = folder.parent.parent / "directions" / folder.name
    try:
        steps = load_file(found / "directions.safetensors")
        listed = json.loads((found / "directions.json").read_text(encoding="utf-8"))["directions"]
        named = {str(d["label"]): steps[Path(d["file"]).stem] for d in listed}
        start = steps["start"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return {}  # none were made, or not of this version: the principal axes remain
    centre = prior.codes.detach().mean(0).numpy()
    same = start.shape == centre.shape and bool(abs(start - centre).max() < 1e-5)
    return named if same else {}  # found in another prior
