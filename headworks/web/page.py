"""One HTML file in which an avatar turns and speaks, complete in itself."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars import Avatar
from headworks.errors import HeadworksError
from headworks.images import to_uint8
from headworks.pictures import PORTRAIT_ROOM, portrait_camera
from headworks.web.bake import Arrays, bake
from headworks.web.controls import make_controls, make_poses, pose_rows
from headworks.web.motion import Sequence, resting_row, sweep, unpack

SCRIPTS = (
    "avatar.js", "harmonics.js", "network.js", "splats.js", "renderer.js", "stage.js", "panel.js",
    "main.js",
)  # fmt: skip
SHADERS = ("splat.vert", "splat.frag", "paper.vert", "paper.frag")
POSTER_SIDE = 640
_DISTANCE_IN_HALVES = 6.0  # as in `headworks.pictures.portrait_camera`
_TYPES = {"f4": "<f4", "u1": "|u1", "u2": "<u2", "u4": "<u4", "i2": "<i2"}
_ALIGNMENT = 8


def write_page(
    avatar: Avatar,
    path: Path,
    sequence: Sequence | None = None,
    facts: Mapping[str, str] | None = None,
    resting: NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """Write the page of one avatar. Equal arguments give equal bytes.

    Args:
        avatar: of any method whose avatar is made of Gaussians (`headworks.web.bake`).
        path: the HTML file to write.
        sequence: a motion to play; None: every expression in turn.
        facts: what the page says about the avatar, term -> text, in order; `subject` is the title.
        resting: driving row [Ke + 21] of the avatar at rest (`headworks.web.resting_row`, with the
            tracking where there is one); None: the head model's canonical pose.

    Returns:
        Counts: bytes, gaussians, vertices, frames of the sequence.

    Raises:
        HeadworksError: the avatar's method has no page, or the sequence is of another head model.
    """
    rest = resting_row(avatar.head) if resting is None else np.asarray(resting, np.float32)
    motion = sequence or sweep(rest, pose_rows(avatar.head, rest))
    if motion.rows.shape[1:] != rest.shape:
        raise HeadworksError(
            f"{path}: the sequence {motion.name!r} has {motion.rows.shape[1]} numbers per frame, "
            f"the head model {avatar.head.name} needs {len(rest)}; take one of the same head model"
        )
    if not (np.isfinite(motion.rows).all() and np.isfinite(rest).all()):
        raise HeadworksError(f"{path}: the sequence {motion.name!r} holds non-finite numbers")
    arrays, baked = bake(avatar)
    arrays["sequence"], described = _quantised(motion)
    blob, directory = _pack(arrays)
    said = {"subject": path.stem, **(facts or {})}
    data = {
        "avatar": baked,
        "arrays": directory,
        "sequence": described,
        "resting": [float(v) for v in rest],
        "controls": make_controls(avatar.head),
        "poses": make_poses(avatar.head),
        "framing": _framing(avatar),
        "maxAlpha": _max_alpha(),
        "shaders": {name: _asset(f"{name}.glsl") for name in SHADERS},
        "facts": said,
    }
    html = _assemble(avatar, data, blob, said, motion, _poster(avatar, rest))
    path.write_bytes(html)
    return {
        "bytes": len(html), "gaussians": baked["gaussians"],
        "vertices": len(arrays["rest"]), "frames": len(motion.rows),
    }  # fmt: skip


def _assemble(
    avatar: Avatar, data: dict[str, Any], blob: bytes, said: Mapping[str, str],
    motion: Sequence, poster: str,
) -> bytes:  # fmt: skip
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    style = _asset("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_asset, SCRIPTS)) + "})();\n"
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )
    text = json.dumps(data, separators=(",", ":"), sort_keys=True, allow_nan=False)
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_asset("page.html"))
    return page.render(
        title=said["subject"],
        heading=escape(said["subject"]).replace("_", Markup("_<wbr>")),
        lead=f"{avatar.method.replace('_', ' ')} head avatar, {avatar.setting}, "
        f"{data['avatar']['gaussians']:,} Gaussians",
        motion=motion.name,
        expressions=len(avatar.head.expression_names),
        facts=list(said.items()),
        poster=poster,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        data=Markup(text.replace("<", "\\u003c")),
        blob=Markup(base64.b64encode(blob).decode()),
    ).encode()


def _asset(name: str) -> str:
    return (files("headworks.web") / "assets" / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """An inline style's or script's name in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _pack(arrays: Arrays) -> tuple[bytes, dict[str, list[Any]]]:
    """Arrays one after the other, and where each is: name -> [type, count, offset]."""
    out, directory = bytearray(), {}
    for name, array in arrays.items():
        kind = array.dtype.str[1:]
        out += bytes(-len(out) % _ALIGNMENT)
        directory[name] = [kind, array.size, len(out)]
        out += np.ascontiguousarray(array, _TYPES[kind]).tobytes()
    return bytes(out), directory


def _quantised(motion: Sequence) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    """Rows as 16-bit steps per column."""
    rows = motion.rows.astype(np.float64)
    low = rows.min(0)
    step = np.maximum((rows.max(0) - low) / 65535, 1e-12)
    steps = np.rint((rows - low) / step).astype(np.uint16)
    return steps, {
        "fps": float(motion.fps), "count": len(rows), "width": rows.shape[1],
        "low": low.tolist(), "step": step.tolist(),
    }  # fmt: skip


def head_vertices(avatar: Avatar) -> NDArray[np.float32]:
    """Neutral vertices [n, 3] of the head alone, without neck and torso."""
    head = avatar.head
    with torch.no_grad():
        neutral = torch.zeros(1, len(head.expression_names))
        vertices = head.rest_vertices(avatar.identity[None], neutral)[0].numpy()
    below = head.region_faces("torso", "neck").numpy()
    shown: NDArray[np.float32] = vertices[np.unique(head.faces.numpy()[~below])]
    return shown


def _framing(avatar: Avatar) -> dict[str, Any]:
    """The camera's sphere, as `portrait_camera` has it."""
    vertices = head_vertices(avatar)
    low, high = vertices.min(0), vertices.max(0)
    return {
        "centre": ((low + high) / 2).astype(float).tolist(),
        "half": PORTRAIT_ROOM * float(high[1] - low[1]) / 2,
        "distance": _DISTANCE_IN_HALVES,
    }


def _max_alpha() -> float:
    from headworks.splat import semantics

    return semantics.installed().max_alpha


def _poster(avatar: Avatar, resting: NDArray[np.float32]) -> str:
    """The avatar at rest as a data URL, for where it cannot move."""
    from PIL import Image

    expression, pose = unpack(resting[None])
    camera = portrait_camera(head_vertices(avatar), POSTER_SIDE)
    rgb, _ = avatar.render(expression[0], pose, camera)
    out = io.BytesIO()
    Image.fromarray(to_uint8(rgb)).save(out, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
