"""directions: which way age, hair and beards lie among a prior's codes, with pictures."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from stages.contract import Context, Inputs, Params


class DirectionsParams(Params):
    """Section `directions` of params.yaml."""

    side: int = Field(144, ge=32, le=1024, description="side of the pictures in a strip, pixels")


def run(inputs: Inputs, params: DirectionsParams, out: Path, context: Context) -> None:
    """Find the directions of a prior, measure and show what moving along them does.

    Args:
        inputs: "prior", and "synthesis": {member name: capture with `truth/`}.
        params: see `DirectionsParams`. out: folder to write. context: seed, threads, progress.

    Raises:
        ArtifactError: the prior was trained on other people than these, or a person's truth is
            damaged.
    """
    import polars as pl
    import torch
    from safetensors.torch import save_file

    from headworks.artifacts import read_meta, write_meta, write_table
    from headworks.avatars.gasp.directions import Mirror, find_directions, strip
    from headworks.avatars.gasp.file import load_prior
    from headworks.errors import ArtifactError
    from headworks.heads import load_exact
    from headworks.pictures import save_png

    torch.set_num_threads(context.threads)
    meta = read_meta(inputs["prior"], "prior")
    members: dict[str, Path] = inputs["synthesis"]
    if sorted(members) != meta["members"]:
        raise ArtifactError(
            f"directions: the prior knows {', '.join(meta['members'])}, the people here are "
            f"{', '.join(sorted(members))}; run the prior again"
        )
    attributes = [_attributes(members[name]) for name in meta["members"]]
    prior, binding = load_prior(inputs["prior"] / "prior.safetensors")
    head = load_exact(meta["head"], meta["head_digest"], str(inputs["prior"]))
    found, without = find_directions(prior.codes, attributes, context.seed)
    out.mkdir(parents=True, exist_ok=True)
    mirror = Mirror(head, prior, binding, params.side)
    start = prior.codes.detach().mean(0)
    rows, listed = [], []
    for number, direction in enumerate(found):
        context.progress(number / len(found), direction.label.name)
        sights = list(mirror.along(direction, start))
        file = f"{direction.label.attribute}.png"
        save_png(str(out / file), strip(sights))
        rows += [
            {
                "label": direction.label.name,
                "beta": s.beta,
                "silhouette_area": s.area,
                "scalp_luminance": s.scalp,
                "skin_luminance": s.skin,
                "chin_luminance": s.chin,
            }
            for s in sights
        ]
        first, last = sights[0], sights[-1]
        listed.append(
            {
                "label": direction.label.name,
                "file": file,
                "yes": direction.yes,
                "no": direction.no,
                "accuracy": direction.accuracy,
                "why": direction.why,
                "spread": direction.spread,
                "silhouette_change": last.area / max(first.area, 1e-9) - 1,
                "scalp_luminance_change": last.scalp - first.scalp,
                "skin_luminance_change": last.skin - first.skin,
                "chin_luminance_change": last.chin - first.chin,
            }
        )
        print(_line(listed[-1]))
    for name, why in without.items():
        print(f"{name}: no direction; {why}")
    write_table(out / "measured.parquet", pl.DataFrame(rows, schema=_SCHEMA))
    steps = {d.label.attribute: torch.from_numpy(d.normal * d.spread).float() for d in found}
    save_file({"start": start, **steps}, out / "directions.safetensors")
    text = json.dumps({"directions": listed, "without": without}, indent=1, sort_keys=True)
    (out / "directions.json").write_text(text + "\n")
    write_meta(
        out, "directions", {"people": len(members), "directions": [d["file"] for d in listed]}
    )


_NUMBERS = (
    "beta", "silhouette_area", "scalp_luminance", "skin_luminance", "chin_luminance",
)  # fmt: skip
_SCHEMA: dict[str, type] = {"label": str, **dict.fromkeys(_NUMBERS, float)}


def _attributes(capture: Path) -> dict[str, object]:
    """What is recorded of a synthetic person."""
    from headworks.errors import ArtifactError

    path = Path(capture) / "truth" / "truth.json"
    try:
        attributes = json.loads(path.read_text())["attributes"]
        return dict(attributes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: no attributes of the person there ({error!r})") from None


def _line(row: dict[str, object]) -> str:
    """A direction in words, for the unit's log."""
    accuracy = row["accuracy"]
    held_out = f"held-out accuracy {accuracy:.2f}" if isinstance(accuracy, float) else row["why"]
    return (
        f"{row['label']}: {row['yes']} yes, {row['no']} no; {held_out}; from beta -3 to 3 the "
        f"silhouette changes by {row['silhouette_change']:+.1%}, the scalp's luminance by "
        f"{row['scalp_luminance_change']:+.3f}, the skin's by {row['skin_luminance_change']:+.3f}, "
        f"the chin's by {row['chin_luminance_change']:+.3f}"
    )
