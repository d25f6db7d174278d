"""params.yaml: wrong values are clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import toystages

from headworks.errors import ParamsError
from pipelines.params import default_text, load_params
from stages.registry import STAGES


def load(tmp_path: Path, text: str, *overrides: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_params(path, toystages.STAGES, overrides)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dubble: {factor: 1}", ["params.yaml", "dubble", "did you mean 'double'"]),
        ("double: {facter: 1}", ["double.facter", "did you mean 'factor'"]),
        ("double: {factor: 11}", ["double.factor = 11", "at most 10", "more than 0"]),
        ("double: {factor: wide}", ["double.factor", "wide", "number"]),
        ("double: 3", ["double", "keys and values"]),
        ("double: {factor: .nan}", ["double.factor"]),
        ("seed: -1", ["seed", "-1"]),
        ("seed: 1.5", ["seed", "1.5"]),
        ("[1, 2]", ["expected sections"]),
        ("double: {factor: 1", ["not valid YAML"]),
        ("double: {factor: 1, factor: 2}", ["not valid YAML", "duplicate"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(ParamsError) as caught:
        load(tmp_path, text)
    for word in words:
        assert word in str(caught.value)


def test_yaml_is_read_by_the_rules_of_1_2(tmp_path: Path) -> None:
    params = load(tmp_path, "double: {factor: 1e-3}\nreport: {title: no}")
    assert params.section("double")["factor"] == 0.001
    assert params.section("report")["title"] == "no"


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    assert load(tmp_path, "").section("double") == {"factor": 2.0, "coarse": False}
    explicit = load(tmp_path, "double: {factor: 2}")
    assert explicit.section("double") == load(tmp_path, "").section("double")


def test_set_overrides_for_once(tmp_path: Path) -> None:
    params = load(tmp_path, "double: {coarse: true}", "double.factor=3", "seed=7")
    assert params.section("double") == {"factor": 3.0, "coarse": True}
    assert params.seed == 7
    for wrong in ("double", "double=3", "factor=3", "double.factor"):
        with pytest.raises(ParamsError, match=r"stage\.key=value"):
            load(tmp_path, "", wrong)
    with pytest.raises(ParamsError, match="--set"):
        load(tmp_path, "", "double.factor=99")
    for text, wrong in (("double: {factor: 2}", "double.factor.x=1"), ("double: 3", "double.x=1")):
        with pytest.raises(ParamsError, match="no keys of its own"):
            load(tmp_path, text, wrong)


def test_params_that_are_no_text_are_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ParamsError, match="not UTF-8"):
        load_params(path, toystages.STAGES)


@pytest.mark.parametrize("registry", [toystages.STAGES, STAGES])
def test_written_defaults_read_back_as_the_defaults(tmp_path: Path, registry) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "params.yaml"
    path.write_text(default_text(registry))
    assert load_params(path, registry) == load_params(tmp_path / "absent.yaml", registry)
    assert max(map(len, default_text(registry).splitlines())) <= 100


def test_the_projects_own_params_are_valid() -> None:
    root = Path(__file__).resolve().parents[2]
    load_params(root / "params.yaml", STAGES)
