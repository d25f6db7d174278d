"""Which results descend from which: forward over all recipes that the ledger knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pipelines.ledger import Ledger


class Made(NamedTuple):
    """A result as an edge of the graph of descent.

    Attributes:
        key, stage, subject, oid: of the result. inputs: (role, member, oid) each.
    """

    key: str
    stage: str
    subject: str
    oid: str
    inputs: tuple[tuple[str, str, str], ...]


@dataclass
class Descent:
    """All results, and what was made of each.

    Attributes:
        made: key -> result. by_input: (role, oid) -> keys that read it.
        by_member: member's name -> keys of collections that name it.
        claimants: key -> units (stage, subject) that rely on it now.
    """

    made: dict[str, Made] = field(default_factory=dict)
    by_input: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    by_member: dict[str, set[str]] = field(default_factory=dict)
    claimants: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def forward(self, keys: Iterable[str]) -> set[str]:
        """The keys and all that descends from their outputs."""
        found: set[str] = set()
        todo = list(keys)
        while todo:
            key = todo.pop()
            if key in found or key not in self.made:
                continue
            found.add(key)
            made = self.made[key]
            todo += self.by_input.get((made.stage, made.oid), ())
        return found

    def of_raw(self, oids: Iterable[str]) -> set[str]:
        """Keys of results that read a raw capture directly."""
        return {key for oid in oids for key in self.by_input.get(("raw", oid), ())}


def descent(ledger: Ledger) -> Descent:
    """The graph of descent of everything that the ledger knows."""
    import polars as pl

    found = Descent()
    table = ledger.frame().filter(pl.col("type") == "ok")
    columns = ("key", "stage", "subject", "out_oid", "inputs")
    for key, stage, subject, oid, rows in table.select(columns).iter_rows():
        inputs = tuple((row["role"], row["member"], row["oid"]) for row in rows or ())
        found.made[key] = Made(key, stage, subject, oid, inputs)
        for role, member, digest in inputs:
            found.by_input.setdefault((role, digest), set()).add(key)
            if member:
                found.by_member.setdefault(member, set()).add(key)
    for unit, key in ledger.claims().items():
        found.claimants.setdefault(key, set()).add(unit)
    return found
