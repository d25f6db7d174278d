"""synthesis: a synthetic person seen by a ring of cameras, or talking in a clip, with truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    import numpy as np

    from headworks.cameras import Camera
    from headworks.synthetic.capture import Rendered
    from headworks.synthetic.motion import Motion
    from headworks.synthetic.person import Person


class SynthesisParams(Params):
    """Parameters of `synthesis`."""

    size: int = Field(256, ge=32, le=2048, description="side of multi-view frames, pixels")
    expressions: int = Field(10, ge=1, le=1000, description="time steps of a multi-view capture")
    cameras: int = Field(12, ge=1, le=64, description="cameras of a multi-view capture")
    test_cameras: int = Field(3, ge=0, le=32, description="of these, how many are held out")
    free_fraction: float = Field(
        0.2, ge=0, lt=1, description="share of the time steps that are the held-out sequence FREE"
    )
    population_size: int = Field(192, ge=32, le=1024, description="side of the prior's frames")
    population_expressions: int = Field(4, ge=1, le=1000, description="time steps per member")
    population_cameras: int = Field(6, ge=1, le=64, description="cameras all around per member")
    clip_size: int = Field(384, ge=64, le=2048, multiple_of=2, description="side of the clip")
    clip_frames: int = Field(100, ge=2, le=10_000, description="frames of the clip")
    clip_fps: float = Field(25.0, gt=0, le=120, description="frames per second of the clip")
    clip_crf: int = Field(
        14, ge=0, le=40, description="x264 rate factor of the clip; less is finer"
    )
    sensor_noise: float = Field(
        0.006, ge=0, le=0.1, description="standard deviation of the clip's noise, of full range"
    )
    backdrop: float = Field(
        1.0, ge=0, le=1, description="grey level behind multi-view captures; 1 is white"
    )
    texture: int = Field(1024, ge=128, le=4096, description="texels per side of the albedo")
    supersampling: int = Field(2, ge=1, le=6, description="samples per pixel and axis")


def run(inputs: Inputs, params: SynthesisParams, out: Path, context: Context) -> None:
    """Render the subject.

    Args:
        inputs: "raw": folder with subject.json that holds kind and seed.

    Raises:
        CaptureError: when the subject is not synthetic or has no seed.
    """
    import torch

    from headworks.errors import CaptureError
    from headworks.formats.subject import read_subject
    from headworks.synthetic import make_person

    torch.set_num_threads(context.threads)
    raw = Path(inputs["raw"])
    subject = read_subject(raw)
    if subject.kind not in ("synthetic", "population", "synthetic_clip"):
        raise CaptureError(f"{raw / 'subject.json'}: a {subject.kind} subject is not synthetic")
    if subject.seed is None:
        raise CaptureError(
            f"{raw / 'subject.json'}: a {subject.kind} subject needs an integer `seed`"
        )
    person = make_person(subject.seed, params.texture)
    if subject.kind == "synthetic_clip":
        _clip(person, subject.seed, params, out, context)
    else:
        _views(person, subject.kind, subject.seed, params, out, context)


def _views(
    person: Person, kind: str, seed: int, params: SynthesisParams, out: Path, context: Context
) -> None:
    """A multi-view capture: frames, table, cameras, truth."""
    import numpy as np

    from headworks.artifacts import write_arrays, write_meta, write_table
    from headworks.heads import load_head
    from headworks.seeds import generator
    from headworks.synthetic.capture import around, capture, held_out, ring
    from headworks.synthetic.motion import held

    head = load_head("procedural")
    rng = generator(seed, "synthesis", kind)
    if kind == "population":
        steps, size = params.population_expressions, params.population_size
        cameras, test = around(params.population_cameras, size), []
        free = steps
    else:
        steps, size = params.expressions, params.size
        cameras = ring(params.cameras, size)
        test = held_out(params.cameras, min(params.test_cameras, params.cameras - 1))
        free = min(max(1, round(steps * (1 - params.free_fraction))), steps)
    motion = held(head, steps, rng)
    grey = (params.backdrop,) * 3
    rendered = capture(
        person, motion, cameras, grey, params.supersampling, progress=context.progress
    )
    sequences = [f"EXP-{t + 1}" if t < free else "FREE" for t in range(steps)]
    write_arrays(out / "frames.zarr", {"rgb": rendered.rgb})
    write_table(out / "frames.parquet", _table(sequences, test, rendered.landmarks, size))
    write_meta(
        out,
        "synthesis",
        {
            "setting": "multiview",
            "subject_kind": kind,
            "cameras": [
                {
                    "name": f"{c:02d}",
                    "width": size,
                    "height": size,
                    "K": np.asarray(camera.K).tolist(),
                    "viewmat": np.asarray(camera.viewmat).tolist(),
                }
                for c, camera in enumerate(cameras)
            ],
            "fps": None,
            "source": [],
            "expressions": list(motion.names),
        },
    )
    _truth(out / "truth", person, motion, cameras, rendered)


def _table(sequences: list[str], test: list[int], landmarks: np.ndarray, size: int) -> Any:
    """The frame table of a multi-view capture; a row per time step and camera."""
    import numpy as np
    import polars as pl

    rows = []
    for t, sequence in enumerate(sequences):
        for c in range(landmarks.shape[1]):
            points = landmarks[t, c]
            face = points[points[:, 2] > 0, :2]
            found = len(face) >= 34
            low = face.min(0) if found else np.full(2, np.nan)
            high = face.max(0) if found else np.full(2, np.nan)
            rows.append(
                {
                    "sequence": sequence, "t": t, "c": c, "frame": t, "camera": f"{c:02d}",
                    "time_s": float(t), "split": "test" if c in test or sequence == "FREE"
                    else "train", "crop_x": 0.0, "crop_y": 0.0, "crop_side": float(size),
                    "face_x0": float(low[0]), "face_y0": float(low[1]),
                    "face_x1": float(high[0]), "face_y1": float(high[1]),
                }
            )  # fmt: skip
    narrow = {name: pl.Float32 for name in rows[0] if name.startswith(("crop_", "face_"))}
    return pl.DataFrame(
        rows, schema_overrides={"t": pl.Int32, "c": pl.Int32, "frame": pl.Int32, **narrow}
    )


def _clip(person: Person, seed: int, params: SynthesisParams, out: Path, context: Context) -> None:
    """A plain MP4 file as a user would bring it, and the truth beside it."""
    import numpy as np

    from headworks.artifacts import write_meta
    from headworks.cameras import Camera, intrinsics, orbit
    from headworks.formats.video import write_mp4
    from headworks.heads import load_head
    from headworks.seeds import derive_seed, generator
    from headworks.synthetic.capture import capture, room
    from headworks.synthetic.motion import talking

    head = load_head("procedural")
    rng = generator(seed, "synthesis", "clip")
    size = params.clip_size
    distance = 0.95
    camera = Camera(
        orbit(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.02, 0.08)), distance,
              np.array([0, -0.035, 0.0])),
        intrinsics(size * distance / float(rng.uniform(0.46, 0.50)), size, size), size, size,
    )  # fmt: skip
    motion = talking(head, params.clip_frames, params.clip_fps, rng)
    plate = room(size, derive_seed(seed, "room") % 2**30, rng)
    rendered = capture(
        person, motion, [camera], plate, params.supersampling, params.sensor_noise,
        generator(seed, "synthesis", "noise"), context.progress,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_mp4(out / "clip.mp4", iter(rendered.rgb[:, 0]), params.clip_fps, params.clip_crf)
    write_meta(
        out,
        "synthesis",
        {
            "setting": "monocular",
            "subject_kind": "synthetic_clip",
            "cameras": [
                {"name": "0", "width": size, "height": size, "K": camera.K.tolist(),
                 "viewmat": camera.viewmat.tolist()}
            ],
            "fps": params.clip_fps,
            "frames": params.clip_frames,
        },
    )  # fmt: skip
    _truth(out / "truth", person, motion, [camera], rendered)


def _truth(
    folder: Path, person: Person, motion: Motion, cameras: list[Camera], rendered: Rendered
) -> None:
    """What is exactly known: `truth.zarr` and `truth.json`."""
    from headworks.artifacts import write_arrays
    from headworks.heads import load_head
    from headworks.synthetic.capture import truth_arrays

    head = load_head("procedural")
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / "truth.zarr", truth_arrays(person, motion, cameras, rendered))
    facts = {
        "head": head.name,
        "head_digest": head.digest,
        "expression_names": list(head.expression_names),
        "attributes": person.attributes,
    }
    (folder / "truth.json").write_text(json.dumps(facts, sort_keys=True, indent=1) + "\n")
