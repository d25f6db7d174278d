"""OpenLineage events of a run, for those who keep a catalogue: to a file or an URL.

Format: https://openlineage.io/spec/2-0-2/OpenLineage.json (RunEvent). A catalogue that does not
answer never stops a run.
"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from pipelines.options import Outcome
from pipelines.plan import Decision, Graph, Unit

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = "urn:headworks:engine"
_FACET = "https://openlineage.io/spec/facets/1-0-0/"
_TIMEOUT_S = 10.0


class Lineage:
    """Emits START, COMPLETE and FAIL of every unit that a run looks at.

    Args:
        target: a file to append to (JSON lines), or an http(s) URL to post to.
        namespace: of jobs and data sets; the workspace's name.
        run_id: of the run. graph: says who makes what a unit reads.

    Raises:
        HeadworksError: neither a file that can be written nor an http URL.
    """

    def __init__(self, target: str, namespace: str, run_id: str, graph: Graph) -> None:
        self.lost = 0
        self.shown = shown(target)
        self._namespace = f"headworks/{namespace}"
        self._run_id = run_id
        self._graph = graph
        self._url = target if target.startswith(("http://", "https://")) else None
        self._path = None if self._url else Path(target)
        if self._path is not None:
            try:
                with open(self._path, "ab"):
                    pass
            except OSError as error:
                raise HeadworksError(f"--lineage {target}: {error.strerror}") from None

    def event(
        self, kind: str, unit: Unit, decision: Decision, outcome: Outcome | None = None
    ) -> None:
        """Emit one event.

        Args:
            kind: START, COMPLETE or FAIL. unit: which. decision: its recipe and output.
            outcome: how it ended.
        """
        event = self.build(kind, unit, decision, outcome)
        line = json.dumps(event, sort_keys=True).encode()
        try:
            if self._path is not None:
                with open(self._path, "ab") as handle:
                    handle.write(line + b"\n")
            elif self._url is not None:
                request = urllib.request.Request(
                    self._url, data=line, headers={"Content-Type": "application/json"}
                )
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
                    pass
        except (OSError, ValueError):
            self.lost += 1

    def build(
        self, kind: str, unit: Unit, decision: Decision, outcome: Outcome | None = None
    ) -> dict[str, Any]:
        """The event's JSON values."""
        made = decision.made_of or {"inputs": []}
        facets: dict[str, Any] = {}
        if outcome is not None and kind == "FAIL":
            facets["errorMessage"] = {
                "_producer": PRODUCER,
                "_schemaURL": f"{_FACET}ErrorMessageRunFacet.json",
                "message": outcome.message,
                "programmingLanguage": "python",
            }
        if decision.key is not None:
            facets["headworks_recipe"] = {
                "_producer": PRODUCER,
                "_schemaURL": "urn:headworks:recipe",
                "key": decision.key,
                "run": self._run_id,
                "status": outcome.status if outcome is not None else "started",
                "params": made.get("params", {}),
                "code": made.get("code"),
            }
        makers = {
            (dep.role, dep.member): str(dep.unit or f"raw/{unit.subject}")
            for dep in self._graph.deps[unit]
        }
        done = kind == "COMPLETE" and decision.oid is not None
        return {
            "eventType": kind,
            "eventTime": datetime.now(UTC).isoformat(),
            "run": {
                "runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._run_id}/{unit}")),
                "facets": facets,
            },
            "job": {"namespace": self._namespace, "name": unit.stage},
            "inputs": [
                self._data(makers[role, member], oid)
                for role, member, oid in made["inputs"]
                if role != "failed"
            ],
            "outputs": [self._data(str(unit), decision.oid)] if done and decision.oid else [],
            "producer": PRODUCER,
            "schemaURL": SCHEMA,
        }

    def _data(self, name: str, oid: str) -> dict[str, Any]:
        version = {
            "_producer": PRODUCER,
            "_schemaURL": f"{_FACET}DatasetVersionDatasetFacet.json",
            "datasetVersion": oid,
        }
        return {"namespace": self._namespace, "name": name, "facets": {"version": version}}


def shown(target: str) -> str:
    """A target as it may be printed: an URL without the secrets that it may carry."""
    parts = urllib.parse.urlsplit(target)
    if not parts.scheme or not parts.hostname:
        return target
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
