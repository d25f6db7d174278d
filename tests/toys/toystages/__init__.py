"""Small fast stages that stand in for the method's in the engine's tests."""

from __future__ import annotations

from stages.contract import ALL_CAPTURES, Input, Stage

STAGES = (
    Stage("read", "toystages.read", "ReadParams", "subject", (Input("raw"),)),
    Stage(
        "teach",
        "toystages.teach",
        "TeachParams",
        "dataset",
        (Input("read", collect=True),),
        frozenset({"photo"}),
    ),
    Stage("double", "toystages.double", "DoubleParams", "subject", (Input("read"),)),
    Stage(
        "join",
        "toystages.join",
        "JoinParams",
        "subject",
        (Input("read"), Input("double"), Input("teach")),
    ),
    Stage(
        "report",
        "toystages.report",
        "ReportParams",
        "dataset",
        (Input("read", collect=True), Input("join", collect=True)),
        ALL_CAPTURES,
    ),
)
