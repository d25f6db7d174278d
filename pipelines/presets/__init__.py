"""Presets: named sets of numbers that differ from the defaults, for `--preset NAME`.

Each is a YAML file beside this one with sections as in params.yaml.
"""

from __future__ import annotations

import json
from pathlib import Path

from headworks.errors import ParamsError
from pipelines.params import parse_yaml

_FOLDER = Path(__file__).parent
PRESETS = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def preset_overrides(name: str) -> tuple[str, ...]:
    """A preset as overrides, `section.key=value`, such as `--set` takes.

    Raises:
        ParamsError: there is no such preset.
    """
    if name not in PRESETS:
        raise ParamsError(f"--preset {name}: there are {', '.join(PRESETS)}")
    path = _FOLDER / f"{name}.yaml"
    sections = parse_yaml(path.read_text(encoding="utf-8"), str(path)) or {}
    return tuple(
        f"{section}.{key}={json.dumps(value)}"
        for section, values in sections.items()
        for key, value in values.items()
    )
