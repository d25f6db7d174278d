"""The recipe key: what decides whether a result is the wanted one (docs/engine.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from headworks.seeds import derive_seed
from pipelines.canon import canonical_json, digest

InputRow = tuple[str, str, str]
"""(role, member, oid); member is "" where the unit's own subject is meant."""


def recipe(
    stage: str,
    version: int,
    code: str,
    params: dict[str, Any],
    seed: int,
    inputs: Iterable[InputRow],
    assets: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything that a result depends on, as JSON values.

    The subject's name is not part of it: two subjects with equal input share a result. Members of
    a collection are, because labels and order matter there.

    Args:
        stage, version: from the registry.
        code: hash of the code closure.
        params: the stage's own validated section.
        seed: `seed` of params.yaml.
        inputs: digests of what goes in.
        assets: files outside the project that count, by name: SHA-256, or "absent".
    """
    made_of: dict[str, Any] = {
        "v": 1,
        "stage": stage,
        "version": version,
        "code": code,
        "params": params,
        "seed": seed,
        "inputs": sorted([list(row) for row in inputs]),
    }
    if assets:
        made_of["assets"] = dict(assets)
    return made_of


def recipe_key(made_of: dict[str, Any]) -> str:
    """`k1` and 64 hexadecimal digits."""
    return "k1" + digest("recipe", made_of)


class KeyMaker:
    """Keys of many recipes that differ in their inputs only; the same as `recipe_key` gives.

    Args:
        made_of: a recipe; its inputs do not matter.
    """

    def __init__(self, made_of: Mapping[str, Any]) -> None:
        mark = "\x00inputs\x00"
        text = canonical_json(["recipe", {**made_of, "inputs": mark}])
        self._before, self._after = text.split(json.dumps(mark), 1)

    def key(self, inputs: Iterable[Iterable[str]]) -> str:
        """The key with these inputs (sorted)."""
        rows = list(inputs)
        text = ",".join(['["' + '","'.join(row) + '"]' for row in rows])
        plain = text.isascii() and text.isprintable() and "\\" not in text
        if not plain or text.count('"') != 6 * len(rows):  # something in it has to be escaped
            text = canonical_json([list(row) for row in rows])[1:-1]
        whole = f"{self._before}[{text}]{self._after}"
        return "k1" + hashlib.sha256(whole.encode()).hexdigest()


def unit_seed(made_of: dict[str, Any]) -> int:
    """Seed of a unit, from the project's seed, the stage and what goes in (not from its code)."""
    digests = sorted(oid for _, _, oid in made_of["inputs"])
    return derive_seed(made_of["seed"], made_of["stage"], *digests)
