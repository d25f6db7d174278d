"""params.yaml: read as YAML 1.2, checked against every stage's own class, said clearly."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from headworks.errors import ParamsError
from stages.contract import Params, Stage


class DemoParams(Params):
    """What `headworks demo` adds."""

    people: int = Field(
        6, ge=1, le=1000, description="synthetic people that teach the prior (people-000, ...)"
    )
    clip_seed: int = Field(25, ge=0, description="seed of the synthetic person of demo_clip")
    multiview_seed: int = Field(7, ge=0, description="seed of the person of demo_multiview")
    people_seed: int = Field(100, ge=0, description="seed of people-000; the next adds 1")


@dataclass(frozen=True)
class AllParams:
    """Validated params.

    Attributes:
        seed: where all randomness starts.
        demo: what the embedded demo consists of.
        stages: section of every stage.
    """

    seed: int
    demo: DemoParams
    stages: Mapping[str, Params]
    _sections: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)

    def section(self, stage: str) -> dict[str, Any]:
        """A stage's section as JSON values, defaults filled in."""
        if stage not in self._sections:
            self._sections[stage] = self.stages[stage].model_dump(mode="json")
        return self._sections[stage]


def _closest(word: str, words: Iterable[str]) -> str:
    words = sorted(words)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(words)}"


def _field(model: type[BaseModel], path: Sequence[str | int]) -> tuple[type[BaseModel], Any]:
    """The (innermost model, field) that a pydantic error's location points at."""
    current: type[BaseModel] = model
    field = None
    for part in path:
        field = current.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            current = inner
    return current, field


def _allowed(field: Any) -> str:
    """`allowed: 1 to 10`, from a field's constraints."""
    bounds = {}
    for item in getattr(field, "metadata", ()):
        for name in ("ge", "gt", "le", "lt"):
            if getattr(item, name, None) is not None:
                bounds[name] = getattr(item, name)
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return ", ".join(f"{words[name]} {value}" for name, value in bounds.items())


def _check(where: str, section: str, model: type[Params], values: object) -> Params:
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise ParamsError(f"{where}: section {section!r} must hold keys and values, got {values!r}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = []
        for item in error.errors():
            path = ".".join([section, *map(str, item["loc"])])
            owner, field = _field(model, item["loc"])
            if item["type"] == "extra_forbidden":
                problems.append(
                    f"{path}: unknown key, {_closest(str(item['loc'][-1]), owner.model_fields)}"
                )
            else:
                allowed = _allowed(field)
                problems.append(
                    f"{path} = {item['input']!r}: {item['msg']}"
                    + (f" (allowed: {allowed})" if allowed else "")
                )
        raise ParamsError(f"{where}: " + "; ".join(problems)) from None


def parse_yaml(text: str, where: str) -> Any:
    """One YAML 1.2 document as plain values (1e-3 is a number, `no` is a word).

    Raises:
        ParamsError: when it is not YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ParamsError(f"{where}: not valid YAML: {error}") from None


def load_params(path: Path, registry: Sequence[Stage], overrides: Sequence[str] = ()) -> AllParams:
    """Read and check params.yaml; an absent file means all defaults.

    Args:
        path: params.yaml.
        registry: stages whose sections may stand there.
        overrides: `stage.key=value` (or `seed=value`), value in YAML.

    Raises:
        ParamsError: an unknown section or key (with the closest known one), or a value out of
            range (with the range).
    """
    values: dict[str, Any] = {}
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ParamsError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
        loaded = parse_yaml(text, str(path))
        if loaded is not None and not isinstance(loaded, dict):
            raise ParamsError(f"{path}: expected sections, got {type(loaded).__name__}")
        values = {str(name): section for name, section in (loaded or {}).items()}
    where = str(path)
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not section or (section != "seed" and not (dot and key)):
            raise ParamsError(f"--set {override}: expected stage.key=value")
        value = parse_yaml(text, f"--set {override}")
        where = f"{path} with --set"
        if section == "seed":
            values["seed"] = value
            continue
        *parents, last = key.split(".")
        target = values
        for parent in (section, *parents):
            inner = target.get(parent)
            if inner is not None and not isinstance(inner, Mapping):
                raise ParamsError(
                    f"--set {override}: {parent!r} holds {inner!r}; it has no keys of its own"
                )
            target[parent] = dict(inner or {})
            target = target[parent]
        target[last] = value
    known = {"seed", "demo", *(stage.name for stage in registry)}
    for name in values:
        if name not in known:
            raise ParamsError(f"{where}: unknown section {name!r}, {_closest(name, known)}")
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**62:
        raise ParamsError(f"{where}: seed = {seed!r}: expected an integer from 0 to 2**62")
    demo = _check(where, "demo", DemoParams, values.get("demo"))
    assert isinstance(demo, DemoParams)
    sections = {
        stage.name: _check(where, stage.name, stage.params_class(), values.get(stage.name))
        for stage in registry
    }
    return AllParams(seed, demo, sections)


def default_text(registry: Sequence[Stage], overrides: Sequence[str] = ()) -> str:
    """params.yaml with every default and its description, for `headworks init`.

    Args:
        overrides: values other than the defaults, as `load_params` takes them.
    """
    import json

    params = load_params(Path(), registry, overrides)

    lines = [
        "# Numbers of the method. One section per stage; unknown keys and values out of range",
        "# are errors. `headworks plan` shows what a change makes stale.",
        f"seed: {params.seed}",
    ]
    sections: list[tuple[str, type[Params]]] = [("demo", DemoParams)]
    sections += [(stage.name, stage.params_class()) for stage in registry]
    for name, model in sections:
        section = params.demo if name == "demo" else params.stages[name]
        values = section.model_dump(mode="json")
        lines += ["", f"{name}:" if values else f"{name}: {{}}"]
        for key, value in values.items():
            field = model.model_fields[key]
            allowed = _allowed(field)
            about = field.description or ""
            if allowed:
                about = f"{about} ({allowed})" if about else allowed
            text = json.dumps(value, ensure_ascii=False)
            line = f"  {key}: {text}"
            if about and len(line) + len(about) + 4 <= 100:
                lines.append(f"{line}  # {about}")
            elif about:
                import textwrap

                lines += textwrap.wrap(about, 96, initial_indent="  # ", subsequent_indent="  # ")
                lines.append(line)
            else:
                lines.append(line)
    return "\n".join(lines) + "\n"
