"""What a unit gave before: a stage may take over of it what surely comes out the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.layout import Layout
from pipelines.publish import published_oid

if TYPE_CHECKING:
    from pipelines.ledger import Ledger

_EQUAL = ("version", "code", "seed")


def earlier(
    layout: Layout, ledger: Ledger, stage: str, subject: str, made_of: dict[str, Any]
) -> Path | None:
    """The published output of the same recipe with other inputs; None where there is none.

    Args:
        layout, ledger: of the workspace. stage, subject: the unit. made_of: its recipe now.
    """
    oid = published_oid(layout, stage, subject)
    key = ledger.claim(stage, subject)
    row = ledger.row(key) if key else None
    if oid is None or row is None or row["out_oid"] != oid:
        return None
    if any(row[name] != made_of[name] for name in _EQUAL):
        return None
    if json.loads(row["params_json"]) != json.loads(json.dumps(made_of["params"])):
        return None
    if json.loads(row.get("assets_json") or "{}") != dict(made_of.get("assets") or {}):
        return None
    if row.get("code_seen") or key is None or ledger.withdrawn(key):
        return None
    return layout.artifact(stage, subject)
