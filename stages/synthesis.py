"""synthesis: a synthetic person seen by a rig, in a clip or in a photo, with exact truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    import numpy as np

    from headworks.cameras import Camera
    from headworks.synthetic.capture import Rendered, Renderer
    from headworks.synthetic.motion import Motion
    from headworks.synthetic.person import Person


class SynthesisParams(Params):
    """Parameters of `synthesis`."""

    head: str = Field(
        "procedural",
        description="head model of the people; a prior serves captures tracked with the same one",
    )
    renderer: Literal["preview", "mitsuba"] = Field(
        "preview", description="preview: the z-buffer; mitsuba: path tracing (headworks[render])"
    )
    variant: Literal["auto", "cuda_ad_rgb", "llvm_ad_rgb", "scalar_rgb"] = Field(
        "auto", description="of Mitsuba; auto: cuda_ad_rgb where it runs, else scalar_rgb"
    )
    samples: int = Field(
        16, ge=1, le=4096, description="paths per pixel of Mitsuba; above 16 in steps of 16"
    )
    path_depth: int = Field(8, ge=2, le=64, description="longest path of Mitsuba, segments")
    light: Literal["studio", "uniform", "environment"] = Field(
        "studio",
        description="of Mitsuba: the person's own lamps, GASP's uniform white, or a panorama",
    )
    environment: str = Field(
        "", description="panorama of light environment: .exr, .hdr or .pfm, latitude-longitude"
    )
    denoise: bool = Field(False, description="OptiX's denoiser after Mitsuba; needs cuda_ad_rgb")
    annotations: bool = Field(
        False, description="also depth, normals, texture coordinates and regions in truth"
    )
    rig: Literal["ring", "nersemble"] = Field(
        "ring",
        description="of a multi-view capture: held expressions before a ring of cameras, or "
        "sequences before 16 cameras as NeRSemble's",
    )
    size: int = Field(256, ge=32, le=2048, description="side of multi-view frames, pixels")
    expressions: int = Field(10, ge=1, le=1000, description="time steps of a ring's capture")
    cameras: int = Field(12, ge=1, le=64, description="cameras of a ring")
    test_cameras: int = Field(3, ge=0, le=32, description="of these, how many are held out")
    free_fraction: float = Field(
        0.2, ge=0, lt=1, description="share of the time steps that are the held-out sequence FREE"
    )
    sequences: str = Field(
        "EMO,EXP,FREE", description="NeRSemble's sequences: names or their beginnings, by commas"
    )
    sequence_frames: int = Field(10, ge=1, le=10_000, description="frames of one sequence")
    sequence_seconds: float = Field(5.0, gt=0, le=600, description="duration of one sequence")
    export: Literal["none", "nersemble"] = Field(
        "none", description="also write the capture of rig nersemble in NeRSemble's own layout"
    )
    population_rig: Literal["around", "hemisphere"] = Field(
        "around",
        description="of the prior's people: cameras all around, or GASP's recipe of one view, "
        "expression and pose per picture",
    )
    population_size: int = Field(192, ge=32, le=1024, description="side of the prior's frames")
    population_expressions: int = Field(
        4, ge=1, le=1000, description="time steps per member, rig around"
    )
    population_cameras: int = Field(
        6, ge=1, le=64, description="cameras all around per member, rig around"
    )
    population_views: int = Field(
        50, ge=1, le=10_000, description="pictures per member, rig hemisphere"
    )
    clip_size: int = Field(384, ge=64, le=2048, multiple_of=2, description="side of the clip")
    clip_frames: int = Field(100, ge=2, le=10_000, description="frames of the clip")
    clip_fps: float = Field(25.0, gt=0, le=120, description="frames per second of the clip")
    clip_crf: int = Field(
        14, ge=0, le=40, description="x264 rate factor of the clip; less is finer"
    )
    photo_size: int = Field(512, ge=64, le=4096, description="side of a photo, pixels")
    sensor_noise: float = Field(
        0.006, ge=0, le=0.1, description="standard deviation of noise in clips and photos"
    )
    backdrop: float = Field(
        1.0, ge=0, le=1, description="grey level behind multi-view captures; 1 is white"
    )
    texture: int = Field(1024, ge=128, le=4096, description="texels per side of the albedo")
    supersampling: int = Field(2, ge=1, le=6, description="preview's samples per pixel and axis")


def assets(params: Params) -> dict[str, Path | None]:
    """The file of an imported head, and the panorama that lights the people, where wanted."""
    from headworks.headfiles import head_assets

    assert isinstance(params, SynthesisParams)
    found = head_assets(params.head)
    if params.renderer != "mitsuba" or params.light != "environment" or not params.environment:
        return found
    path = Path(params.environment)
    return {**found, "environment": path if path.is_file() else None}


def run(inputs: Inputs, params: SynthesisParams, out: Path, context: Context) -> None:
    """Render the subject.

    Args:
        inputs: "raw": folder with subject.json that holds kind and seed.

    Raises:
        CaptureError: when the subject is not synthetic or has no seed.
        HeadworksError: the renderer, its variant or its light is not to be had here.
    """
    import torch

    from headworks.errors import CaptureError
    from headworks.formats.subject import read_subject
    from headworks.synthetic import make_person

    torch.set_num_threads(context.threads)
    raw = Path(inputs["raw"])
    subject = read_subject(raw)
    if subject.kind not in ("synthetic", "population", "synthetic_clip", "synthetic_photo"):
        raise CaptureError(f"{raw / 'subject.json'}: a {subject.kind} subject is not synthetic")
    if subject.seed is None:
        raise CaptureError(
            f"{raw / 'subject.json'}: a {subject.kind} subject needs an integer `seed`"
        )
    renderer, facts = _renderer(params, context)
    person = make_person(subject.seed, params.texture, params.head)
    studio = _Studio(person, subject.kind, subject.seed, params, renderer, facts, out, context)
    if subject.kind == "synthetic_clip":
        studio.clip()
    elif subject.kind == "synthetic_photo":
        studio.photo()
    else:
        studio.views()


def _renderer(params: SynthesisParams, context: Context) -> tuple[Renderer, dict[str, Any]]:
    """What takes the pictures, and what `artifact.json` says of it."""
    from headworks.synthetic.capture import preview

    if params.renderer == "preview":
        return preview(params.supersampling), {"renderer": "preview"}
    import hashlib

    from headworks.synthetic.pathtracer import Lighting, choose_variant
    from headworks.synthetic.pathtracer.renderer import traced

    panorama = Path(params.environment) if params.light == "environment" else None
    lighting = Lighting(params.light, panorama)
    variant = choose_variant(params.variant)
    context.progress(0.0, f"mitsuba {variant.version}, {variant.name}")
    facts = {"renderer": "mitsuba", "variant": variant.name, "version": variant.version}
    if panorama is not None:
        facts["environment_sha256"] = hashlib.sha256(panorama.read_bytes()).hexdigest()
    take = traced(
        variant, lighting, params.samples, context.threads, params.path_depth, params.denoise
    )
    return take, facts


class _Studio:
    """One person before the rigs of the stage."""

    def __init__(
        self, person: Person, kind: str, seed: int, params: SynthesisParams, renderer: Renderer,
        facts: dict[str, Any], out: Path, context: Context,
    ) -> None:  # fmt: skip
        from headworks.heads import load_head
        from headworks.seeds import generator

        self.person, self.kind, self.seed, self.params = person, kind, seed, params
        self.take, self.facts, self.out, self.context = renderer, facts, out, context
        # Motion is written for the procedural head's expressions; other heads show it their way.
        self.actor, self.head = load_head("procedural"), person.space.head
        purpose = {"synthetic_clip": "clip", "synthetic_photo": "photo"}.get(kind, kind)
        self.rng = generator(seed, "synthesis", purpose)

    def views(self) -> None:
        """A multi-view capture: frames, table, cameras, truth."""
        from headworks.synthetic.motion import faces, held
        from headworks.synthetic.rigs import around, held_out, ring, seen_from_everywhere

        params, rng = self.params, self.rng
        if self.kind == "population" and params.population_rig == "hemisphere":
            count = params.population_views
            motion = seen_from_everywhere(self._acted(faces(self.actor, count, rng)), rng)
            names = [f"EXP-{t + 1}" for t in range(count)]
            self._multiview(motion, ring(1, params.population_size), ["00"], [], names, None)
            return
        if self.kind == "population":
            steps = params.population_expressions
            cameras = around(params.population_cameras, params.population_size)
            test, free = [], steps
        elif params.rig == "nersemble":
            self._nersemble()
            return
        else:
            steps = params.expressions
            cameras = ring(params.cameras, params.size)
            test = held_out(params.cameras, min(params.test_cameras, params.cameras - 1))
            free = min(max(1, round(steps * (1 - params.free_fraction))), steps)
        motion = self._acted(held(self.actor, steps, rng))
        names = [f"EXP-{t + 1}" if t < free else "FREE" for t in range(steps)]
        serials = [f"{c:02d}" for c in range(len(cameras))]
        self._multiview(motion, cameras, serials, test, names, None)

    def _nersemble(self) -> None:
        """Sequences before NeRSemble's rig, and their own layout where wanted."""
        import numpy as np

        from headworks.synthetic.motion import joined, performed
        from headworks.synthetic.rigs import nersemble_held_out, nersemble_rig, squared
        from headworks.synthetic.scripts import chosen

        params = self.params
        scripts = chosen(params.sequences)
        fps = params.sequence_frames / params.sequence_seconds
        motion = joined(
            [performed(self.actor, s, params.sequence_frames, fps, self.rng) for s in scripts]
        )
        motion = self._acted(motion)
        names = [s for s in scripts for _ in range(params.sequence_frames)]
        portraits = nersemble_rig(params.size)
        squares = [squared(camera) for camera in portraits.values()]
        test = nersemble_held_out()
        serials = list(portraits)
        if params.export == "none":
            self._multiview(motion, [c for c, _ in squares], serials, test, names, fps)
            return
        from headworks.synthetic.export import write_nersemble

        grey = (params.backdrop,) * 3
        tall = self._capture(motion, list(portraits.values()), grey)
        write_nersemble(
            self.out / "nersemble", f"{self.seed % 1000:03d}", portraits, names, tall.rgb,
            tall.alpha, fps, grey, self.person.glasses is not None,
        )  # fmt: skip
        top, size = squares[0][1], params.size
        rows = slice(top, top + size)
        square = type(tall)(
            np.ascontiguousarray(tall.rgb[:, :, rows]),
            np.ascontiguousarray(tall.alpha[:, :, rows]),
            tall.landmarks - np.array([0, top, 0], np.float32),
            {name: np.ascontiguousarray(a[:, :, rows]) for name, a in tall.annotations.items()},
        )
        self._multiview(motion, [c for c, _ in squares], serials, test, names, fps, square)

    def _acted(self, motion: Motion) -> Motion:
        """A motion of the procedural head as this person's head model shows it."""
        from headworks.heads.retarget import retargeting

        if self.head is self.actor:
            return motion
        show = retargeting(self.actor, self.head)
        expression, pose = show(motion.expression, motion.pose, self.head.signed())
        return type(motion)(expression, pose, motion.names)

    def _capture(
        self, motion: Motion, cameras: list[Camera], background: Any, noise: float = 0.0
    ) -> Rendered:
        from headworks.synthetic.capture import capture

        plan = {"seed": self.seed, "kind": self.kind, "head": self.head.digest,
                "params": self.params.model_dump(mode="json"), **self.facts}  # fmt: skip
        return capture(
            self.person, motion, cameras, background, self.take, self.seed, noise,
            self.params.annotations, self.context.scratch, plan, self.context.progress,
        )  # fmt: skip

    def _multiview(
        self, motion: Motion, cameras: list[Camera], names: list[str], test: list[int],
        sequences: list[str], fps: float | None, rendered: Rendered | None = None,
    ) -> None:  # fmt: skip
        from headworks.artifacts import write_arrays, write_table

        size = cameras[0].width
        rendered = rendered or self._capture(motion, cameras, (self.params.backdrop,) * 3)
        write_arrays(self.out / "frames.zarr", {"rgb": rendered.rgb})
        table = _table(sequences, names, test, rendered.landmarks, size, fps)
        write_table(self.out / "frames.parquet", table)
        self._meta("multiview", cameras, names, {"fps": fps, "source": [],
                                                 "expressions": list(motion.names)})  # fmt: skip
        self._truth(motion, cameras, rendered)

    def clip(self) -> None:
        """A plain MP4 file as a user would bring it, and the truth beside it."""
        from headworks.formats.video import write_mp4
        from headworks.synthetic.motion import talking

        params = self.params
        camera, plate = self._webcam(params.clip_size)
        motion = self._acted(talking(self.actor, params.clip_frames, params.clip_fps, self.rng))
        rendered = self._capture(motion, [camera], plate, params.sensor_noise)
        self.out.mkdir(parents=True, exist_ok=True)
        frames = iter(rendered.rgb[:, 0])
        write_mp4(self.out / "clip.mp4", frames, params.clip_fps, params.clip_crf)
        self._meta("monocular", [camera], ["0"], {"fps": params.clip_fps,
                                                  "frames": params.clip_frames})  # fmt: skip
        self._truth(motion, [camera], rendered)

    def photo(self) -> None:
        """One PNG as a user would bring it, and the truth beside it."""
        from PIL import Image

        from headworks.synthetic.motion import held

        params = self.params
        camera, plate = self._webcam(params.photo_size)
        # The second is the first that is not neutral.
        both = self._acted(held(self.actor, 2, self.rng))
        motion = type(both)(both.expression[1:], both.pose[[1]], both.names[1:])
        rendered = self._capture(motion, [camera], plate, params.sensor_noise)
        self.out.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rendered.rgb[0, 0]).save(self.out / "photo.png", optimize=False)
        self._meta("photo", [camera], ["0"], {"fps": None, "frames": 1})
        self._truth(motion, [camera], rendered)

    def _webcam(self, size: int) -> tuple[Camera, np.ndarray]:
        """A camera before the face, not quite straight, and the wall behind the person."""
        import numpy as np

        from headworks.cameras import Camera, intrinsics, orbit
        from headworks.seeds import derive_seed
        from headworks.synthetic.capture import room

        rng, distance = self.rng, 0.95
        pose = orbit(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.02, 0.08)), distance,
                     np.array([0, -0.035, 0.0]))  # fmt: skip
        K = intrinsics(size * distance / float(rng.uniform(0.46, 0.50)), size, size)
        plate = room(size, derive_seed(self.seed, "room") % 2**30, rng)
        return Camera(pose, K, size, size), plate

    def _meta(
        self, setting: str, cameras: list[Camera], names: list[str], more: dict[str, Any]
    ) -> None:
        from headworks.artifacts import write_meta

        rows = [
            {"name": name, "width": camera.width, "height": camera.height,
             "K": camera.K.tolist(), "viewmat": camera.viewmat.tolist()}
            for name, camera in zip(names, cameras, strict=True)
        ]  # fmt: skip
        body = {"setting": setting, "subject_kind": self.kind, "cameras": rows,
                "rendering": self.facts, **more}  # fmt: skip
        write_meta(self.out, "synthesis", body)

    def _truth(self, motion: Motion, cameras: list[Camera], rendered: Rendered) -> None:
        """What is exactly known: `truth.zarr` and `truth.json`."""
        from headworks.artifacts import write_arrays
        from headworks.synthetic.capture import truth_arrays

        folder = self.out / "truth"
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / "truth.zarr", truth_arrays(self.person, motion, cameras, rendered))
        facts: dict[str, Any] = {
            "head": self.head.name,
            "head_digest": self.head.digest,
            "expression_names": list(self.head.expression_names),
            "attributes": self.person.attributes,
        }
        if rendered.annotations:
            from headworks.synthetic.annotations import LABELS

            facts["regions"] = list(LABELS)
        (folder / "truth.json").write_text(json.dumps(facts, sort_keys=True, indent=1) + "\n")


def _table(
    sequences: list[str], names: list[str], test: list[int], landmarks: np.ndarray, size: int,
    fps: float | None,
) -> Any:  # fmt: skip
    """The frame table of a multi-view capture; a row per time step and camera."""
    import numpy as np
    import polars as pl

    rows = []
    start = {name: sequences.index(name) for name in sequences}
    for t, sequence in enumerate(sequences):
        frame = t if fps is None else t - start[sequence]
        for c, camera in enumerate(names):
            points = landmarks[t, c]
            face = points[points[:, 2] > 0, :2]
            found = len(face) >= 34
            low = face.min(0) if found else np.full(2, np.nan)
            high = face.max(0) if found else np.full(2, np.nan)
            rows.append(
                {
                    "sequence": sequence, "t": t, "c": c, "frame": frame, "camera": camera,
                    "time_s": float(frame) if fps is None else frame / fps,
                    "split": "test" if c in test or sequence == "FREE" else "train",
                    "crop_x": 0.0, "crop_y": 0.0, "crop_side": float(size),
                    "face_x0": float(low[0]), "face_y0": float(low[1]),
                    "face_x1": float(high[0]), "face_y1": float(high[1]),
                }
            )  # fmt: skip
    narrow = {name: pl.Float32 for name in rows[0] if name.startswith(("crop_", "face_"))}
    return pl.DataFrame(
        rows, schema_overrides={"t": pl.Int32, "c": pl.Int32, "frame": pl.Int32, **narrow}
    )
