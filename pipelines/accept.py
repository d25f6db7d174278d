"""A change of code that does not alter results, blessed: who said so, and when."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from headworks.errors import HeadworksError
from pipelines.subjects import who
from pipelines.workspace import Workspace


def accept(workspace: Workspace, stage: str, reason: str | None = None) -> dict[str, Any]:
    """Let a stage's code as it is now count as the code that made its results.

    Args:
        workspace: where. stage: which. reason: in words; kept in the ledger.

    Returns:
        `stage`, `code` (as it is now), `as` (which it counts as), `who`, `when`, `reason`,
        `results` (how many are kept), `others` (results of still other code, which stay stale).

    Raises:
        HeadworksError: no such stage, no results of it, or its code has not changed.
    """
    workspace.stage(stage)
    planner = workspace.planner()
    ledger = planner.ledger
    made_by: Counter[str] = Counter()
    for (name, _), key in ledger.claims().items():
        row = ledger.row(key) if name == stage else None
        if row is not None:
            made_by[row["code"]] += 1
    if not made_by:
        raise HeadworksError(f"{stage}: no results yet whose code could be accepted")
    code = planner.code_now[stage]
    if planner.code[stage] in made_by and len(made_by) == 1:
        raise HeadworksError(f"{stage}: its results are of this code already; nothing to accept")
    others = {old: n for old, n in made_by.items() if old not in (code, planner.code[stage])}
    old, count = Counter(others or made_by).most_common(1)[0]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"as": old, "who": who(), "when": now, "reason": reason}
    workspace.layout.make()
    workspace.remember_modules(code, planner.modules[stage])
    ledger.append(
        "accept",
        stage=stage,
        code=code,
        finished=now,
        body_json=json.dumps(told, sort_keys=True),
    )
    ledger.close()
    rest = sum(made_by.values()) - count
    return {"stage": stage, "code": code, **told, "results": count, "others": rest}
