"""The method's stages and one more: `HEADWORKS_REGISTRY=sharpness:STAGES headworks run`."""

from stages.contract import Input, Stage
from stages.registry import STAGES as METHOD

STAGES = (
    *METHOD,
    Stage("sharpness", "sharpness.stage", "SharpnessParams", "subject", (Input("ingest"),)),
)
