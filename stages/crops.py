"""crops: face and non-face images and head crops, cut by the tracking."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from pydantic import Field

from stages.contract import Context, Inputs, Params

_BOX = ("box_x0", "box_y0", "box_x1", "box_y1")


class CropsParams(Params):
    """Parameters of `crops`."""

    size: int = Field(
        256, ge=16, le=1024, description="side of face and non-face images, pixels (GPHMv2: 256)"
    )
    head_size: int = Field(
        256, ge=16, le=1024, description="side of head crops, pixels (GAGAvatar: 512)"
    )


def run(inputs: Inputs, params: CropsParams, out: Path, context: Context) -> None:
    """Write the crops of one subject.

    Args:
        inputs: "ingest", "matting", "tracking". params: see `CropsParams`. out: folder to write.
        context: progress.

    Raises:
        ArtifactError: an input is damaged, or the head model is another than the tracking's.
    """
    import numpy as np
    import polars as pl

    from headworks.artifacts import ImageStack, open_arrays, read_table, write_meta, write_table
    from headworks.heads import load_exact
    from headworks.tracking import crops
    from headworks.tracks import load_tracking

    tracking = load_tracking(inputs["tracking"])
    head = load_exact(tracking.head, tracking.head_digest, str(inputs["tracking"]))
    rgb = open_arrays(Path(inputs["ingest"]) / "frames.zarr")["rgb"]
    alpha = open_arrays(Path(inputs["matting"]) / "mattes.zarr")["alpha"]
    t, c, height, width = rgb.shape[:4]
    table = read_table(Path(inputs["ingest"]) / "frames.parquet").sort("t", "c")
    sequence = table.filter(table["c"] == 0)["sequence"].to_numpy()
    linked = sequence[1:] == sequence[:-1]

    shown = np.unique(head.faces.numpy()[head.region_faces("skin", "scalp", "ears").numpy()])
    places = np.empty((t, c, 4))
    marks = np.empty((t, c, 68, 2))
    for i in range(t):
        posed = tracking.vertices(head, [i])
        own = head.landmarks(posed)[0].numpy()
        for j in range(c):
            camera = tracking.camera(i, j, width, height)
            at = camera.project(posed[0].numpy()[shown])[:, :2]
            places[i, j] = [*at.min(0), *at.max(0)]
            marks[i, j] = camera.project(own)[:, :2]
    turns, moves = head.joint_transforms(tracking.identity[None].expand(t, -1), tracking.pose)
    rotation, centre = turns[:, 1].double().numpy(), moves[:, 1].double().numpy()
    away = np.stack([crops.turned_away(rotation, centre, m) for m in tracking.viewmats], 1)
    boxes = [crops.head_boxes(places[:, j], linked) for j in range(c)]

    sizes = {"face": params.size, "non_face": params.size, "head": params.head_size}
    rows: list[dict[str, object]] = []
    with ExitStack() as open_stacks:
        stacks = {
            name: open_stacks.enter_context(
                ImageStack(out / f"{name}.zarr", "rgb", (t, c, side, side, 3))
            )
            for name, side in sizes.items()
        }
        for i in range(t):
            for j in range(c):
                picture, matte = np.asarray(rgb[i, j]), np.asarray(alpha[i, j])
                visible = bool(tracking.valid[i] and away[i, j] <= crops.MOST_YAW)
                here = marks[i, j] if visible else None
                corner, side = boxes[j].corner[i], int(boxes[j].side[i])
                face = np.full((params.size, params.size, 3), crops.GREY, np.uint8)
                matrix = np.full((2, 3), np.nan)
                if here is not None:
                    face = crops.face_image(picture, matte, here, params.size)
                    matrix = crops.face_matrix(here, params.size)
                stacks["face"].write(i, j, face)
                rest = crops.non_face_image(picture, matte, here, params.size)
                stacks["non_face"].write(i, j, rest)
                cut = crops.head_crop(picture, matte, corner, side, params.head_size)
                stacks["head"].write(i, j, cut)
                rows.append(
                    {
                        "t": i, "c": j, "visible": visible, "away": away[i, j],
                        **{f"face_m{k // 3}{k % 3}": v for k, v in enumerate(matrix.ravel())},
                        "head_x": int(corner[0]), "head_y": int(corner[1]), "head_side": side,
                        **dict(zip(_BOX, boxes[j].relative()[i])),
                    }
                )  # fmt: skip
            context.progress((i + 1) / t, "crops")
    narrow = {n: pl.Float32 for n in rows[0] if n.startswith(("face_", "box_", "away"))}
    whole = dict.fromkeys(("t", "c", "head_x", "head_y", "head_side"), pl.Int32)
    write_table(out / "crops.parquet", pl.DataFrame(rows, schema_overrides={**narrow, **whole}))
    write_meta(
        out,
        "crops",
        {
            "size": params.size, "head_size": params.head_size, "most_yaw": crops.MOST_YAW,
            "head_scale": crops.HEAD_SCALE, "box_pace": crops.BOX_PACE,
            "faces": int(sum(bool(row["visible"]) for row in rows)),
        },
    )  # fmt: skip
