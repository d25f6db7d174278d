"""evaluate: how well an avatar shows what it has not seen, beside honest baselines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from stages.contract import Context, Inputs, Params


class EvaluateParams(Params):
    """Section `evaluate` of params.yaml."""

    max_frames: int = Field(
        24, ge=1, le=100_000, description="held-out frames measured, evenly spaced"
    )
    flip_frames: int = Field(24, ge=0, description="of these, frames measured with FLIP")
    fd_frames: int = Field(8, ge=0, description="of these, frames measured with FD")
    texture_size: int = Field(
        256, ge=32, le=4096, description="texels per side of the textured-mesh baseline"
    )
    texture_frames: int = Field(
        48, ge=1, description="training frames that its texture is gathered from"
    )
    picture_frames: int = Field(4, ge=1, le=24, description="held-out frames shown in the report")
    video_frames: int = Field(
        120, ge=2, le=100_000, description="longest re-enactment video; flicker is measured on it"
    )
    preview_side: int = Field(256, ge=64, le=1024, description="side of previews, pixels")
    orbit_frames: int = Field(32, ge=4, le=720, description="frames of the orbit video")
    sweep_frames: int = Field(8, ge=2, le=120, description="frames per expression of the sweep")


def run(inputs: Inputs, params: EvaluateParams, out: Path, context: Context) -> None:
    """Measure one subject's avatar and make the pictures that the report shows.

    Args:
        inputs: "ingest", "matting", "landmarks", "tracking", "fit" of the subject; where they
            are, "gaussian_avatars" and "flash_avatar".
        params: see `EvaluateParams`. out: folder to write. context: threads, progress.

    Raises:
        ArtifactError: an input is damaged, or no frame that could be evaluated was tracked.
    """
    import torch

    from headworks.artifacts import write_meta
    from stages.evaluate.measure import measure
    from stages.evaluate.methods import make_methods
    from stages.evaluate.previews import make_pictures
    from stages.evaluate.subject import load_subject

    torch.set_num_threads(context.threads)
    subject = load_subject(inputs, params.max_frames)
    context.progress(0.05, "gathering the texture of the mesh baseline")
    methods = make_methods(subject, params.texture_size, params.texture_frames)
    out.mkdir(parents=True, exist_ok=True)

    def part(low: float, high: float) -> Callable[[float, str], None]:
        return lambda done, message: context.progress(low + done * (high - low), message)

    facts = measure(subject, methods, params, out, part(0.1, 0.6))
    listed = make_pictures(subject, methods, params, out / "pictures", part(0.6, 1.0))
    write_meta(out, "metrics", {**facts, "pictures": len(listed)})
