"""Contact sheets and tables that runs sent to a Prefect server of the user's own, taken away again.

Only artifacts of flow runs that this workspace's ledger knows: one server may show several
workspaces, with people of equal names. A private server's database lies in the workspace and goes
as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from headworks.errors import HeadworksError
from pipelines.ledger import Ledger
from pipelines.lineage import shown
from pipelines.plan import Unit
from pipelines.prefect_pictures import UNITS, artifact_key
from pipelines.prefect_server import SETTINGS, answers

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_PAGE = 200


def find_artifacts(ledger: Ledger, name: str, units: Sequence[Unit]) -> dict[str, Any] | None:
    """What the configured Prefect server shows of a subject.

    Args:
        ledger: knows which runs were this workspace's. name: the subject.
        units: all that ever showed it.

    Returns:
        `server`, `answers`, `artifacts` (ids); None where no server is configured.
    """
    from pipelines.prefect_flow import configured_url

    url = configured_url()
    if url is None:
        return None
    found: dict[str, Any] = {"server": shown(url), "answers": answers(url, 10.0), "artifacts": []}
    if not found["answers"]:
        return found
    import polars as pl

    runs = set(ledger.frame().filter(pl.col("type") == "run").get_column("run_id").to_list())
    wanted = {artifact_key(unit) for unit in units} | {UNITS}
    titles = tuple(f"{unit}: " for unit in units)
    with _client(url) as client:
        flows: dict[UUID, str] = {}
        for artifact in _all(client, sorted(wanted)):
            told = str(artifact.description or "")
            if not (told.startswith(titles) or (artifact.key == UNITS and _names(artifact, name))):
                continue
            flow = artifact.flow_run_id
            if flow is not None and flow not in flows:
                flows[flow] = client.read_flow_run(flow).name
            if flow is not None and flows[flow] in runs:
                found["artifacts"].append(str(artifact.id))
    return found


def delete_artifacts(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Delete what was found.

    Returns:
        `server`, `deleted`, `answers`; None where no server was configured.

    Raises:
        HeadworksError: the server has gone since, or another one is configured.
    """
    if found is None:
        return None
    told = {"server": found["server"], "answers": found["answers"], "deleted": 0}
    if not found["artifacts"]:
        return told
    from prefect.exceptions import ObjectNotFound

    from pipelines.prefect_flow import configured_url

    url = configured_url()
    if url is None or shown(url) != found["server"] or not answers(url, 10.0):
        raise HeadworksError(
            f"the Prefect server {found['server']} does not answer, and {len(found['artifacts'])} "
            "of its artifacts are to go; start it (PREFECT_API_URL names it) and type this again"
        )
    with _client(url) as client:
        for number in found["artifacts"]:
            try:
                client.delete_artifact(UUID(number))
            except ObjectNotFound:
                continue  # An interrupted forgetting had come as far as this.
            told["deleted"] += 1
    return told


def _client(url: str) -> SyncPrefectClient:
    for name, value in {**SETTINGS, "PREFECT_API_URL": url}.items():
        os.environ.setdefault(name, value)
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def _all(client: SyncPrefectClient, keys: Sequence[str]) -> Iterator[Any]:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    for first in range(0, len(keys), _PAGE):
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=list(keys[first : first + _PAGE])))
        offset = 0
        while page := client.read_artifacts(artifact_filter=wanted, limit=_PAGE, offset=offset):
            yield from page
            offset += len(page)


def _names(artifact: Any, name: str) -> bool:
    """Whether a table of units has a row about a subject."""
    try:
        rows = json.loads(artifact.data) if isinstance(artifact.data, str) else artifact.data
        return any(row["subject"] == name for row in rows)
    except (ValueError, TypeError, KeyError):
        return False
