"""Results copied out of the workspace, with stamps."""

from __future__ import annotations

from pathlib import Path

from headworks.errors import HeadworksError
from pipelines.audit_find import find
from pipelines.files import private_folder, remove
from pipelines.stamp import export
from pipelines.store import check_out
from pipelines.workspace import Workspace


def export_result(workspace: Workspace, target: str, folder: Path) -> list[str]:
    """Copy a result's files to a folder, each with the digest of its artifact.

    Args:
        workspace: where. target: see `pipelines.audit_find.find`. folder: not there yet.

    Returns:
        What was written, a line each.

    Raises:
        HeadworksError: nothing of that name, no result, or withdrawn.
    """
    found = find(workspace, target)
    row = workspace.ledger.row(found.keys[-1]) if found.keys else None
    if row is None:
        raise HeadworksError(f"{target}: not a result of a stage; try STAGE/SUBJECT")
    if workspace.ledger.withdrawn(row["key"]):
        raise HeadworksError(f"{target}: was withdrawn and leaves no more (headworks run)")
    layout = workspace.layout
    layout.make()
    fresh = private_folder(layout.tmp, "export")
    try:
        check_out(layout.objects, row["out_oid"], fresh / "out")
        stamp = {"digest": row["out_oid"], "key": row["key"], "stage": row["stage"]}
        names = export(fresh / "out", folder, stamp)
    finally:
        remove(fresh)
    return [f"wrote {folder / name}" for name in names]
