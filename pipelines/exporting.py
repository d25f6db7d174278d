"""Results copied out of the workspace, and avatars in the formats of others; all with stamps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headworks.errors import HeadworksError
from pipelines.audit_find import find
from pipelines.avatars import Source, find_avatar, find_driver, rest_of
from pipelines.driving import frame_range
from pipelines.files import private_folder, remove, walk_files
from pipelines.marking import Marking
from pipelines.showing import Look, Progress, cameras_for, check_look, film, whole
from pipelines.stamp import Stamp, export, stamp_beside, stamp_file
from pipelines.store import check_out
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from headworks.driving.performance import Performance, Rest
    from pipelines.avatars import Driver

Format = Literal["ply", "gaussian_avatars", "spz", "glb", "mp4", "png", "web"]
ENDINGS = {
    "ply": (".ply",), "gaussian_avatars": ("",), "spz": (".spz",), "glb": (".glb",),
    "mp4": (".mp4",), "png": (".png", ""), "web": (".html",),
}  # fmt: skip
"""How a file of each format ends; "" is a folder."""
STILL = ("ply", "spz")


def export_result(workspace: Workspace, target: str, folder: Path) -> list[str]:
    """Copy a result's files to a folder, each with the digest of its artifact.

    Args:
        workspace: where. target: see `pipelines.audit_find.find`. folder: not there yet.

    Returns:
        What was written, a line each.

    Raises:
        HeadworksError: nothing of that name, no result, or withdrawn.
    """
    found = find(workspace, target)
    row = workspace.ledger.row(found.keys[-1]) if found.keys else None
    if row is None:
        raise HeadworksError(f"{target}: not a result of a stage; try STAGE/SUBJECT")
    if workspace.ledger.withdrawn(row["key"]):
        raise HeadworksError(f"{target}: was withdrawn and leaves no more (headworks run)")
    layout = workspace.layout
    layout.make()
    fresh = private_folder(layout.tmp, "export")
    try:
        check_out(layout.objects, row["out_oid"], fresh / "out")
        stamp = {"digest": row["out_oid"], "key": row["key"], "stage": row["stage"]}
        names = export(fresh / "out", folder, stamp)
    finally:
        remove(fresh)
    return [f"wrote {folder / name}" for name in names]


@dataclass(frozen=True)
class Wanted:
    """An avatar in one format.

    Attributes:
        avatar: its name; see `pipelines.avatars.find_avatar`. format, output: what and where to.
        subject: whose tracking moves it; None: its own. frames: "N" or "FIRST:END" of it; "" all.
        expression: name -> activation of a still instead of a tracking.
        axes: of splats. spz_version: 2 or 3. texture: texels a side. look: of pictures.
        force: replace what is there. marking: how pictures say that they were generated.
    """

    avatar: str
    format: Format
    output: Path
    subject: str | None = None
    frames: str = ""
    expression: Mapping[str, float] = field(default_factory=dict)
    axes: Literal["world", "rdf"] = "world"
    spz_version: int = 2
    texture: int = 512
    look: Look = field(default_factory=Look)
    force: bool = False
    marking: Marking = field(default_factory=Marking)


def export_avatar(
    workspace: Workspace, wanted: Wanted, progress: Progress, told: Callable[[str], None]
) -> list[str]:
    """Write an avatar in a format of others, whole or not at all, stamped.

    Returns:
        Lines that say what was written.

    Raises:
        HeadworksError: a name, file or option is wrong, or the format cannot hold the avatar.
    """
    output, endings = wanted.output, ENDINGS[wanted.format]
    if output.suffix.lower() not in endings:
        name = " or ".join(f"NAME{e}" if e else "a folder" for e in endings)
        raise HeadworksError(f"{output}: write this format to {name}")
    check_look(wanted.look)
    source = find_avatar(workspace, wanted.avatar)
    motion, rest, driver = _motion(workspace, wanted, source)
    stamp = {**source.stamp, **(driver.stamp if driver and not driver.own else {})}
    if wanted.format in ("mp4", "png"):
        cameras = cameras_for(wanted.look, source, rest, driver, len(motion), motion.fps)
        return film(
            source, motion, cameras, motion.fps, wanted.look, output, stamp, wanted.force,
            progress, marking=wanted.marking,
        )  # fmt: skip
    progress(0.1, f"{source.name}: {len(motion)} frames")
    with whole(output, wanted.force) as fresh:
        write = {
            "ply": _ply, "spz": _spz, "glb": _glb, "gaussian_avatars": _layout, "web": _web,
        }[wanted.format]  # fmt: skip
        notes = write(fresh, source, motion, rest, wanted)
        beside = _stamped(fresh, stamp)
    if beside:
        stamp_beside(output, stamp)
    progress(1.0, "written")
    for note in notes:
        told(f"note: {note}")
    size = sum(e.stat().st_size for _, e in walk_files(output)) if output.is_dir() else 0
    return [f"wrote {output}: {(size or output.stat().st_size) / 1e6:.2f} MB"]


def _stamped(fresh: Path, stamp: Stamp) -> bool:
    """Stamp a file or all files of a folder; whether the stamp must go beside the file."""
    if not fresh.is_dir():
        return not stamp_file(fresh, stamp)
    for name, _ in list(walk_files(fresh)):
        if not stamp_file(fresh / name, stamp):
            stamp_beside(fresh / name, stamp)
    return False


def _motion(
    workspace: Workspace, wanted: Wanted, source: Source
) -> tuple[Performance, Rest, Driver | None]:
    """What is shown, the rest of the world that it is in, and what moves it."""
    from headworks.driving.performance import home_rest, still
    from headworks.driving.transfer import Transfer, transfer

    head, identity = source.avatar.head, source.avatar.identity
    rest, own = rest_of(source, workspace)
    home = home_rest(head, identity, rest, wanted.look.size or 512)
    subject = wanted.subject or (source.subject if own is not None else None)
    nothing = not wanted.frames and wanted.format in STILL
    if wanted.expression or subject is None or (nothing and wanted.subject is None):
        if wanted.frames or wanted.subject:
            what = "--expression" if wanted.expression else "a file without a workspace"
            raise HeadworksError(f"{what} shows a still; leave out --frame and --subject")
        values = named_expression(source, wanted.expression)
        return still(head, identity, values, home, "expression"), home, None
    driver = find_driver(workspace, subject, source)
    frames = wanted.frames or ("0" if wanted.format in STILL else "")
    rows = frame_range(frames, len(driver.performance), "--frame")
    # Splats and pictures of a frame lie in the world of the capture; what is played on a stage of
    # its own stands upright at the origin.
    target = home if wanted.format in ("glb", "web") else rest
    moved = driver.performance.part(rows)
    if not driver.own or target is home:
        moved = transfer(moved, driver.rest, head, identity, target, Transfer())
    if wanted.format in STILL and len(moved) > 1:
        raise HeadworksError(f"--frame {wanted.frames}: this format holds one frame; name one")
    return moved, target, driver


def named_expression(source: Source, wanted: Mapping[str, float]) -> torch.Tensor:
    """Coefficients [Ke] of named activations; a name ending in `*` stands for both sides.

    Raises:
        HeadworksError: the head has no such expression, or a value is out of range.
    """
    import torch

    from headworks.driving.transfer import bounded

    head = source.avatar.head
    values = torch.zeros(len(head.expression_names))
    for name, value in wanted.items():
        sides = [name[:-1] + s for s in ("Left", "Right")] if name.endswith("*") else [name]
        for side in sides:
            if side not in head.expression_names:
                raise HeadworksError(
                    f"--expression {name}: the head model {head.name!r} has "
                    f"{', '.join(head.expression_names)}"
                )
            values[head.expression_index(side)] = value
    kept = bounded(head, values[None])[0]
    if not torch.equal(kept, values):
        raise HeadworksError(
            "--expression: activations lie between 0 and 1 (-3 and 3 where signed)"
        )
    return kept


def _ply(path: Path, source: Source, motion: Performance, rest: Rest, wanted: Wanted) -> list[str]:
    from headworks.exports.splats import frame_splats
    from headworks.formats.ply import write_splats

    gaussians = source.avatar.gaussians(motion.expression[0], motion.pose[:1])
    write_splats(path, frame_splats(gaussians, wanted.axes))
    return _flat(source)


def _spz(path: Path, source: Source, motion: Performance, rest: Rest, wanted: Wanted) -> list[str]:
    from headworks.exports.splats import frame_splats
    from headworks.exports.spz import write_spz

    if wanted.axes != "world":
        raise HeadworksError("--axes rdf: an .spz file is always x right, y up, z to the viewer")
    gaussians = source.avatar.gaussians(motion.expression[0], motion.pose[:1])
    try:
        write_spz(path, frame_splats(gaussians), wanted.spz_version)
    except ValueError as error:
        raise HeadworksError(f"--spz: this frame cannot be written: {error}") from None
    return _flat(source)


def _flat(source: Source) -> list[str]:
    if source.avatar.method != "gaussian_avatars":
        return []
    return ["colours that depend on the view were left out (degree 0)"]


def _glb(path: Path, source: Source, motion: Performance, rest: Rest, wanted: Wanted) -> list[str]:
    from headworks.driving.performance import still
    from headworks.exports.head_mesh import head_glb
    from headworks.exports.texture import bake_texture

    head, identity = source.avatar.head, source.avatar.identity
    upright = still(head, identity, named_expression(source, {}), rest)
    texture = bake_texture(source.avatar, upright.pose, wanted.texture)
    data, notes = head_glb(source.avatar, motion if len(motion) > 1 else None, texture, {})
    path.write_bytes(data)
    return notes


def _layout(
    path: Path, source: Source, motion: Performance, rest: Rest, wanted: Wanted
) -> list[str]:
    from headworks.exports.gaussian_avatars import write_layout

    path.mkdir()
    return write_layout(path, source.avatar, motion)


def _web(path: Path, source: Source, motion: Performance, rest: Rest, wanted: Wanted) -> list[str]:
    from headworks.driving.performance import still
    from headworks.web.motion import Sequence, pack
    from headworks.web.page import write_page

    avatar = source.avatar
    facts = {
        "subject": source.name,
        "method": avatar.method,
        "setting": avatar.setting,
        "head model": f"{avatar.head.name} ({avatar.head.digest[:16]})",
        **{name: value for name, value in source.stamp.items() if name in ("digest", "key")},
    }
    calm = still(avatar.head, avatar.identity, named_expression(source, {}), rest)
    played = None
    if len(motion) > 1:
        played = Sequence(motion.source, motion.fps, pack(motion.expression, motion.pose))
    write_page(avatar, path, played, facts, pack(calm.expression, calm.pose)[0])
    return []
