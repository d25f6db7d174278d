"""A tiny GASP training as a program of its own: `python -m tests.gasprun prior|fit SCRATCH OUT`.

Prints what progress says, so that a test knows when to kill it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from headworks.avatars.gasp.config import FitConfig, PriorConfig
from headworks.avatars.gasp.file import save_prior
from headworks.avatars.gasp.fit import fit_avatar
from headworks.avatars.gasp.prior import train_prior
from tests.toyhead import toy_head
from tests.toypeople import capture, painted

TINY = PriorConfig(
    uv_size=16, code_dim=4, width=16, depth=2, steps=60, people_per_step=2, views_per_step=1,
    checkpoint_steps=7, sample_steps=30, device="cpu",
)  # fmt: skip
TINY_FIT = FitConfig(
    uv_size=20, inversion_steps=25, decoder_steps=25, refine_steps=25, checkpoint_steps=7,
    device="cpu",
)  # fmt: skip


def say(done: float, text: str) -> None:
    print(f"{done:.3f} {text}", flush=True)


def train(scratch: Path | None, out: Path, config: PriorConfig = TINY, tell=say):
    """The prior of three toy people, saved as `out`; returns what `train_prior` does."""
    head = toy_head()
    people = [capture(painted(head, hue), (0.0, 2.0), 2) for hue in (0.1, 0.5, 0.9)]
    found = train_prior(head, people, config, 3, tell, scratch)
    save_prior(out, *found[:2])
    return found


def fit(scratch: Path | None, out: Path, config: FitConfig = TINY_FIT, tell=say):
    """A toy person fitted with a prior of few steps, saved as `out`."""
    head = toy_head()
    prior, binding, _ = train(None, out.with_suffix(".prior"), replace(TINY, steps=20))
    photo = capture(painted(head, 0.7), (0.0,), 1)
    avatar, curves = fit_avatar(head, prior, binding, photo, "photo", config, 1, tell, scratch)
    avatar.save(out)
    return avatar, curves


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"prior": train, "fit": fit}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
