"""Presets: every one is valid and reaches params.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from headworks.errors import ParamsError
from pipelines.params import default_text, load_params, parse_yaml
from pipelines.presets import PRESETS, preset_overrides
from stages.fit import fit_config
from stages.prior import prior_config
from stages.registry import STAGES

DEFAULTS = load_params(Path(), STAGES)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_reaches_params_yaml(name: str, tmp_path: Path) -> None:
    overrides = preset_overrides(name)
    params = load_params(Path(), STAGES, overrides)
    path = tmp_path / "params.yaml"
    path.write_text(default_text(STAGES, overrides))
    assert load_params(path, STAGES) == params
    for override in overrides:
        section, _, key = override.partition("=")[0].partition(".")
        mine = params.demo if section == "demo" else params.stages[section]
        assert getattr(mine, key) == parse_yaml(override.partition("=")[2], name)


def test_the_demo_is_what_stands_in_no_preset() -> None:
    assert load_params(Path(), STAGES, preset_overrides("demo")) == DEFAULTS


def test_the_paper_preset_has_the_paper_s_numbers() -> None:
    params = load_params(Path(), STAGES, preset_overrides("paper"))
    prior, fit = prior_config(params.stages["prior"]), fit_config(params.stages["fit"], "photo")
    pictures = params.demo.people * params.stages["synthesis"].population_views
    assert pictures == 50_000
    batch = prior.people_per_step * prior.views_per_step
    assert batch == 8
    assert prior.steps * batch == 250 * pictures, "250 epochs"
    assert prior.people_per_step % params.stages["prior"].processes == 0
    assert (prior.uv_size, prior.code_dim, prior.width, prior.depth) == (512, 512, 256, 6)
    assert (fit.inversion_steps, fit.decoder_steps, fit.refine_steps) == (500, 500, 100)
    assert fit.uv_size is None
    assert not fit.paint_unseen


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ParamsError, match="demo, paper, study"):
        preset_overrides("papers")
