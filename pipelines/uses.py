"""The other direction of an audit: everything that descends from a subject or a file."""

from __future__ import annotations

from typing import Any

from headworks.errors import HeadworksError
from pipelines.audit_find import find
from pipelines.closure import descent
from pipelines.workspace import Workspace


def uses(workspace: Workspace, target: str) -> dict[str, Any]:
    """Every artifact, model, avatar and report that descends from something.

    Args:
        workspace: where.
        target: a subject, or anything else that `pipelines.audit_find.find` knows.

    Returns:
        `target`, `captures` (oids), `results` (stage, subject, key, digest, current: whether a
        unit relies on it now, withdrawn), in the order of the stages.

    Raises:
        HeadworksError: nothing of that name is known.
    """
    ledger = workspace.ledger.refresh()
    graph = descent(ledger)
    subjects = workspace.subjects()
    named = target in subjects or target in ledger.raws
    found = None if named else find(workspace, target)
    names = [target] if found is None else found.subjects
    captures = {subjects[name].oid for name in names if name in subjects}
    captures |= {ledger.raws[name]["oid"] for name in names if name in ledger.raws}
    start = graph.of_raw(captures) | {key for n in names for key in graph.by_member.get(n, ())}
    start |= set(found.keys) if found is not None else set()
    keys = graph.forward(start)
    order = {stage.name: n for n, stage in enumerate(workspace.registry)}
    results = []
    for key in keys:
        made = graph.made[key]
        units = sorted(graph.claimants.get(key, ()))
        for stage, subject in units or [(made.stage, made.subject)]:
            results.append(
                {
                    "stage": stage,
                    "subject": subject,
                    "key": key,
                    "oid": made.oid,
                    "current": bool(units),
                    "withdrawn": ledger.withdrawn(key),
                }
            )
    results.sort(key=lambda r: (order.get(r["stage"], 99), r["subject"], not r["current"]))
    reports = workspace.layout.reports
    page = reports / "index.html"
    if any(r["stage"] == "report" and r["current"] for r in results) and page.is_file():
        results.append({"stage": "reports", "subject": page.name, "current": True})
    if not results and not captures:
        raise HeadworksError(f"{target}: nothing descends from it")
    return {
        "schema": "headworks.uses/1",
        "target": target,
        "captures": sorted(captures),
        "results": results,
    }


def uses_text(found: dict[str, Any]) -> list[str]:
    """The same in words."""
    now = [r for r in found["results"] if r["current"]]
    before = [r for r in found["results"] if not r["current"]]
    lines = [f"{found['target']}: {len(now)} results rest on it now, {len(before)} did before"]
    for result in now:
        mark = "  WITHDRAWN" if result.get("withdrawn") else ""
        lines.append(f"  {result['stage']}/{result['subject']}  {result.get('oid', '')}{mark}")
    for result in before[:20]:
        lines.append(f"  before: {result['stage']}/{result['subject']}  {result['oid']}")
    if before[20:]:
        lines.append(f"  and {len(before) - 20} more")
    lines.append("next: headworks forget SUBJECT   (lists what would go)")
    return lines
