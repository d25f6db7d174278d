"""The prior's latent directions as the page shows them: a strip of pictures and what changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headworks.errors import ArtifactError
from stages.report.sizes import Item


def shown_directions(folder: Path) -> tuple[dict[str, Any], list[Item]]:
    """What the template says about the strips, and where their pictures go (`target`).

    Raises:
        ArtifactError: the artifact is damaged.
    """
    path = folder / "directions.json"
    try:
        body = json.loads(path.read_text())
        strips = [_shown(row) for row in body["directions"]]
        without = dict(body["without"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not readable ({error!r}); run directions again") from None
    items = []
    for strip in strips:
        strip["target"] = f"pictures/directions/{strip['file']}"
        items.append(Item(folder / strip["file"], strip["target"]))
    return {"strips": strips, "without": without}, items


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    accuracy = row["accuracy"]
    told = (
        row["why"] if accuracy is None else f"balanced accuracy {accuracy:.2f} on held-out people"
    )
    changes = (
        f"From left to right the silhouette grows by {row['silhouette_change']:+.1%}; luminance "
        f"changes by {row['scalp_luminance_change']:+.3f} on the scalp, "
        f"{row['skin_luminance_change']:+.3f} on the skin, "
        f"{row['chin_luminance_change']:+.3f} on the chin."
    )
    return {
        "label": str(row["label"]),
        "file": Path(row["file"]).name,
        "people": f"{row['yes']} yes, {row['no']} no: {told}.",
        "changes": changes,
    }
