"""All stages, in the order of the method's figure."""

from __future__ import annotations

from stages.contract import ALL_CAPTURES, SYNTHETIC, Input, Kind, Stage

_POPULATION: frozenset[Kind] = frozenset({"population"})

STAGES: tuple[Stage, ...] = (
    Stage(
        "synthesis", "stages.synthesis", "SynthesisParams", "subject", (Input("raw"),), SYNTHETIC
    ),
    Stage(
        "ingest",
        "stages.ingest",
        "IngestParams",
        "subject",
        (Input("raw"), Input("synthesis", optional=True)),
    ),
    Stage("matting", "stages.matting", "MattingParams", "subject", (Input("ingest"),)),
    Stage("landmarks", "stages.landmarks", "LandmarksParams", "subject", (Input("ingest"),)),
    Stage(
        "reconstruct",
        "stages.reconstruct",
        "ReconstructParams",
        "subject",
        (Input("ingest"), Input("matting"), Input("landmarks")),
        frozenset({"multiview", "synthetic"}),
    ),
    Stage(
        "tracking",
        "stages.tracking",
        "TrackingParams",
        "subject",
        (
            Input("ingest"),
            Input("matting"),
            Input("landmarks"),
            Input("reconstruct", optional=True),
        ),
    ),
    Stage(
        "crops",
        "stages.crops",
        "CropsParams",
        "subject",
        (Input("ingest"), Input("matting"), Input("tracking")),
    ),
    Stage(
        "expressions",
        "stages.expressions",
        "ExpressionsParams",
        "subject",
        (
            Input("synthesis", optional=True),
            Input("ingest", optional=True),
            Input("landmarks", optional=True),
            Input("tracking", optional=True),
        ),
        ALL_CAPTURES | _POPULATION,
    ),
    Stage(
        "prior",
        "stages.prior",
        "PriorParams",
        "dataset",
        (Input("synthesis", collect=True),),
        _POPULATION,
    ),
    Stage(
        "directions",
        "stages.directions",
        "DirectionsParams",
        "dataset",
        (Input("prior"), Input("synthesis", collect=True)),
        _POPULATION,
    ),
    Stage(
        "fit",
        "stages.fit",
        "FitParams",
        "subject",
        (Input("ingest"), Input("matting"), Input("tracking"), Input("prior")),
    ),
    Stage(
        "gaussian_avatars",
        "stages.gaussian_avatars",
        "GaussianAvatarsParams",
        "subject",
        (Input("ingest"), Input("matting"), Input("tracking")),
    ),
    Stage(
        "flash_avatar",
        "stages.flash_avatar",
        "FlashAvatarParams",
        "subject",
        (Input("ingest"), Input("matting"), Input("tracking")),
    ),
    Stage(
        "evaluate",
        "stages.evaluate",
        "EvaluateParams",
        "subject",
        (
            Input("ingest"),
            Input("matting"),
            Input("landmarks"),
            Input("tracking"),
            Input("fit"),
            Input("gaussian_avatars", optional=True),
            Input("flash_avatar", optional=True),
        ),
    ),
    Stage(
        "reenact",
        "stages.reenact",
        "ReenactParams",
        "subject",
        (Input("ingest"), Input("matting"), Input("fit"), Input("tracking", peers=12)),
    ),
    Stage(
        "report",
        "stages.report",
        "ReportParams",
        "dataset",
        tuple(
            Input(role, collect=True)
            for role in (
                "ingest",
                "matting",
                "landmarks",
                "reconstruct",
                "tracking",
                "fit",
                "gaussian_avatars",
                "flash_avatar",
                "evaluate",
                "reenact",
                "directions",
            )
        ),
        ALL_CAPTURES,
    ),
)


def stage(name: str) -> Stage:
    """The stage of that name.

    Raises:
        KeyError: with the names there are.
    """
    for candidate in STAGES:
        if candidate.name == name:
            return candidate
    raise KeyError(f"no stage {name!r}; there are {', '.join(s.name for s in STAGES)}")
