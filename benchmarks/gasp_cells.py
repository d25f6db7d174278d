"""What `benchmarks/gasp.py` computes: one prior, or one subject fitted and measured, at a time.

Every cell leaves a file under the study's folder and is not computed again while its recipe (all
numbers that it depends on) stays the same. A killed cell leaves nothing but scratch, from which a
prior goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gasp_people import GROUPS, HeldOut, Setting, Sizes, held_out_person, training_person
from gasp_tracked import tracked_person
from gasp_workspace import Protocol, digests, own_prior, person_in, subject_in
from numpy.typing import NDArray

from headworks.avatars.baselines import TexturedMesh, gather_texture
from headworks.avatars.baselines.textured_mesh import TrainingView
from headworks.avatars.views import Views
from headworks.heads.base import HeadModel
from headworks.images import to_float, to_uint8
from headworks.matting.foreground import own_colours
from headworks.metrics.protocol import displayed, foreground_mask, image_scores
from headworks.seeds import derive_seed
from stages.fit import FitParams
from stages.prior import PriorParams

METRICS = ("psnr", "ssim", "flip")
TRAIN_VIEWS = 6
"""Training pictures that the group `train` measures."""
SHOWN = {"train": 0, "front": 3, "extreme": 5, "side": 3, "back": 3}
"""Which picture of each group is kept."""

Render = Callable[[int, int], NDArray[np.floating]]
"""(time, camera) -> picture [H, W, 3] over white."""


Name = int | str
"""A person: the seed of one of the study's own, or the name of one of a workspace."""


@dataclass(frozen=True)
class Study:
    """All numbers of a study; a cell's recipe holds those that it depends on.

    Attributes:
        folder: of the study. tracked: the tracker's heads in place of exact ones.
        workspace: whose subjects and population take the place of the study's own people.
        protocol: which of a workspace's recordings serve for what.
    """

    sizes: Sizes
    prior: dict[str, Any]
    fit: dict[str, Any]
    gaussian_avatars: dict[str, Any]
    flash_avatar: dict[str, Any]
    seed: int
    folder: Path
    tracked: bool = False
    workspace: Path | None = None
    protocol: Protocol = field(default_factory=Protocol)

    @property
    def people(self) -> Path:
        return self.folder / "people"

    def held_out(self, subject: Name) -> HeldOut:
        """A held-out person: of the study's own, or of the workspace."""
        if self.workspace is not None:
            return subject_in(self.workspace, str(subject), self.protocol)
        person = tracked_person if self.tracked else held_out_person
        return person(int(subject), self.sizes, self.people)

    def training(self, name: Name) -> Views:
        """Pictures of one person of the prior."""
        if self.workspace is not None:
            return person_in(self.workspace, str(name))
        return training_person(int(name), self.sizes, self.people)

    def facts(self) -> dict[str, Any]:
        """What every recipe says of where people come from."""
        if self.workspace is None:
            return {"sizes": asdict(self.sizes)} | ({"tracked": True} if self.tracked else {})
        return {"protocol": asdict(self.protocol)}


@dataclass(frozen=True)
class Prior:
    """A prior to train: how many people, and the UV map's side."""

    people: tuple[Name, ...]
    uv_size: int

    @property
    def name(self) -> str:
        return f"prior-{len(self.people)}-uv{self.uv_size}"

    def recipe(self, study: Study) -> dict[str, Any]:
        params = PriorParams(**{**study.prior, "uv_size": self.uv_size})
        sizes: dict[str, Any] = {"side": study.sizes.side, "views": study.sizes.views}
        if study.workspace is not None:
            sizes = digests(study.workspace, {"synthesis": [str(name) for name in self.people]})
        return {
            "people": self.people,
            "sizes": sizes,
            "params": params.model_dump(mode="json"),
            "seed": study.seed,
        }


@dataclass(frozen=True)
class Fit:
    """A subject to fit and measure: by which method or variant, from which pictures."""

    subject: Name
    setting: Setting
    variant: str
    prior: Prior | None

    @property
    def name(self) -> str:
        of = f"-{self.prior.name}" if self.prior else ""
        return f"{self.subject}-{self.setting}-{self.variant}{of}"

    def recipe(self, study: Study) -> dict[str, Any]:
        sections: dict[str, Any] = {
            "gaussian_avatars": study.gaussian_avatars, "flash_avatar": study.flash_avatar,
            "textured_mesh": {},
        }  # fmt: skip
        return {
            "cell": [self.subject, self.setting, self.variant],
            **study.facts(),
            **self._inputs(study),
            "params": sections.get(self.variant, study.fit),
            "prior": self.prior.recipe(study) if self.prior else None,
            "seed": study.seed,
        }

    def _inputs(self, study: Study) -> dict[str, Any]:
        if study.workspace is None:
            return {}
        stages = ("ingest", "matting", "tracking")
        return {"inputs": digests(study.workspace, {s: [str(self.subject)] for s in stages})}


def digest(recipe: dict[str, Any]) -> str:
    """Twelve hex digits of a recipe."""
    return sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def prior_file(cell: Prior, study: Study) -> Path:
    """Where a trained prior lies."""
    return study.folder / "priors" / f"{cell.name}-{digest(cell.recipe(study))}.safetensors"


def result_file(cell: Fit, study: Study) -> Path:
    """Where the numbers of a fit lie."""
    return study.folder / "fits" / f"{cell.name}-{digest(cell.recipe(study))}.json"


def train(cell: Prior, study: Study, say: Callable[[str], None]) -> None:
    """Train a prior, unless it lies there."""
    from headworks.avatars.gasp.file import save_prior
    from headworks.avatars.gasp.prior import train_prior
    from headworks.avatars.gasp.training import flatness
    from stages.prior import prior_config

    path = prior_file(cell, study)
    if path.exists():
        return
    start = time.monotonic()
    people = [study.training(name) for name in cell.people]
    head = held_head(people)
    params = PriorParams(**{**study.prior, "uv_size": cell.uv_size})
    if _taken_over(cell, study, head, params, path):
        return
    scratch = study.folder / "scratch" / path.stem
    scratch.mkdir(parents=True, exist_ok=True)

    def progress(done: float, message: str = "") -> None:
        say(f"{cell.name} {100 * done:3.0f} % {message}")

    prior, binding, curves = train_prior(
        head, people, prior_config(params), study.seed, progress, scratch
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    save_prior(partial, prior, binding)
    facts = {
        "recipe": cell.recipe(study),
        "curve": [[c.step, c.loss, c.psnr] for c in curves],
        "gaussians": len(binding.faces),
        "seconds": time.monotonic() - start,
        **flatness(curves, params.decay_from),
    }
    _write(path.with_suffix(".json"), facts)
    partial.replace(path)


def _taken_over(
    cell: Prior, study: Study, head: HeadModel, params: PriorParams, path: Path
) -> bool:
    """Whether the workspace's own prior is the one that the cell asks for, and was copied."""
    import shutil

    import polars as pl

    from headworks.avatars.gasp.prior import bind_prior
    from headworks.avatars.gasp.training import flatness
    from headworks.avatars.training import Curve
    from stages.prior import prior_config

    if study.workspace is None:
        return False
    gaussians = len(bind_prior(head, prior_config(params)).faces)
    given = own_prior(study.workspace, [str(name) for name in cell.people], gaussians)
    if given is None:
        return False
    rows = pl.read_parquet(given / "curves.parquet").rows(named=True)
    facts = {
        "recipe": cell.recipe(study),
        "curve": [[r["step"], r["loss"], r["psnr"]] for r in rows],
        "gaussians": gaussians,
        "taken_over": True,
        **flatness([Curve(**r) for r in rows], params.decay_from),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    shutil.copy(given / "prior.safetensors", partial)
    _write(path.with_suffix(".json"), facts)
    partial.replace(path)
    return True


def held_head(people: list[Views]) -> HeadModel:
    """The head model that all pictures of a study share.

    Raises:
        ArtifactError: the people have different ones.
    """
    from headworks.errors import ArtifactError
    from headworks.heads import load_exact

    first = people[0].tracking
    if any(views.tracking.head_digest != first.head_digest for views in people):
        raise ArtifactError("the prior's people have different head models; render them again")
    return load_exact(first.head, first.head_digest, "the prior's people")


def fit(cell: Fit, study: Study, say: Callable[[str], None]) -> None:
    """Fit a subject and measure it, unless the numbers lie there."""
    path = result_file(cell, study)
    if path.exists():
        return
    start = time.monotonic()
    held = study.held_out(cell.subject)
    index = held.train[cell.setting]
    seed = derive_seed(study.seed, "fit", cell.subject, cell.setting) % 2**62
    render, facts = _method(cell, study, held, index, seed, path.stem)
    seconds = time.monotonic() - start
    groups = {"train": index[:: max(len(index) // TRAIN_VIEWS, 1)][:TRAIN_VIEWS], **held.test}
    scores = {}
    pictures = []
    for group, chosen in groups.items():
        rows = []
        for position, i in enumerate(chosen):
            rgb, alpha = held.pictures[i], held.alpha[i]
            target = displayed(to_float(own_colours(rgb, alpha)), to_float(alpha))
            guess = displayed(render(*held.pairs[i]))
            found = image_scores(
                guess, target, {"fg": foreground_mask(to_float(alpha)), "face": None}, METRICS
            )
            rows.append({f"{s.metric}_{s.scope}": s.value for s in found if s.value is not None})
            if position == min(SHOWN[group], len(chosen) - 1):
                pictures.append(np.concatenate([target, guess]))
        scores[group] = {key: float(np.mean([r[key] for r in rows])) for key in rows[0]}
    path.parent.mkdir(parents=True, exist_ok=True)
    _picture(path.with_suffix(".png"), np.concatenate(pictures, 1))
    _write(
        path,
        {"recipe": cell.recipe(study), "scores": scores, "seconds": seconds, **facts},
    )
    told = ", ".join(
        f"{group} {scores[group]['psnr_full']:.2f} dB"
        for group in ("train", "extreme", "back") if group in scores
    )  # fmt: skip
    say(f"{cell.name}: {told}, {seconds:.0f} s")


def _method(
    cell: Fit, study: Study, held: HeldOut, index: list[int], seed: int, stem: str
) -> tuple[Render, dict[str, Any]]:
    """Fit by the cell's method; what renders, and facts."""
    views = held.views(index)
    if cell.variant == "textured_mesh":
        return _textured_mesh(held, index), {}

    def quiet(done: float, message: str = "") -> None:
        pass

    avatar: Any
    if cell.variant == "gaussian_avatars":
        from headworks.avatars.gaussian_avatars import fit_gaussian_avatars
        from stages.gaussian_avatars import GaussianAvatarsParams, gaussian_avatars_config

        ga = gaussian_avatars_config(GaussianAvatarsParams(**study.gaussian_avatars), cell.setting)
        avatar, _ = fit_gaussian_avatars(held.head, views, cell.setting, ga, seed, quiet)
    elif cell.variant == "flash_avatar":
        from headworks.avatars.flash_avatar import fit_flash_avatar
        from stages.flash_avatar import FlashAvatarParams, flash_avatar_config

        fa = flash_avatar_config(FlashAvatarParams(**study.flash_avatar), cell.setting)
        avatar, _ = fit_flash_avatar(held.head, views, cell.setting, fa, seed, quiet)
    else:
        avatar = _gasp(cell, study, held, index, seed)
    folder = study.folder / "avatars" / stem
    folder.mkdir(parents=True, exist_ok=True)
    avatar.save(folder / "avatar.safetensors")

    def render(t: int, c: int) -> NDArray[np.floating]:
        height, width = held.pictures.shape[1:3]
        camera = held.tracking.camera(t, c, width, height)
        return avatar.render(*avatar.state(held.tracking, t), camera)[0]

    return render, {}


def _gasp(cell: Fit, study: Study, held: HeldOut, index: list[int], seed: int) -> Any:
    from headworks.avatars.gasp.file import load_prior
    from headworks.avatars.gasp.fit import fit_avatar
    from stages.fit import fit_config

    assert cell.prior is not None
    prior, binding = load_prior(prior_file(cell.prior, study))
    config = fit_config(FitParams(**study.fit), cell.setting)
    total = config.inversion_steps + config.decoder_steps
    changes: dict[str, dict[str, Any]] = {
        "full": {},
        "no_prior": {"from_scratch": True},
        "no_regulariser": {"lambda_prior": 0.0},
        "no_stage1": {"inversion_steps": 0, "decoder_steps": total},
        "no_stage2": {"decoder_steps": 0},
        "no_stage3": {"refine_steps": 0},
        "painted": {"paint_unseen": True},
    }
    config = replace(config, **changes[cell.variant])

    def quiet(done: float, message: str = "") -> None:
        pass

    views = held.views(index)
    avatar, _ = fit_avatar(held.head, prior, binding, views, cell.setting, config, seed, quiet)
    return avatar


def _textured_mesh(held: HeldOut, index: list[int]) -> Render:
    head, tracking = held.head, held.tracking
    faces, faces_uv, uvs = (x.numpy() for x in (head.faces, head.faces_uv, head.uvs))

    def vertices(t: int) -> NDArray[np.float32]:
        with torch.no_grad():
            return tracking.vertices(head, [t])[0].numpy()

    side = held.pictures.shape[1]

    def view(i: int) -> TrainingView:
        t, c = held.pairs[i]
        alpha = held.alpha[i]
        rgb = to_float(own_colours(held.pictures[i], alpha))
        return TrainingView(vertices(t), tracking.camera(t, c, side, side), rgb, to_float(alpha))

    texture = gather_texture(faces, uvs, faces_uv, (view(i) for i in index[:24]), 256)
    mesh = TexturedMesh(faces, uvs, faces_uv, texture)
    return lambda t, c: mesh.render(vertices(t), tracking.camera(t, c, side, side))[0]


def _picture(path: Path, picture: NDArray[np.floating]) -> None:
    from PIL import Image

    Image.fromarray(to_uint8(picture)).save(path)


def _write(path: Path, values: dict[str, Any]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
    partial.replace(path)


__all__ = ["GROUPS", "Fit", "Prior", "Study", "fit", "prior_file", "result_file", "train"]
