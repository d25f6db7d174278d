"""Head models under one interface: `load_head("procedural")`, or one that the user imported.

base      `HeadModel`, `HeadPose`: what every model offers
dense     dense landmarks and left-right symmetry, derived from any model
surface   closest points, rays, symmetry of a mesh
store     imported models as files; importers/ makes them of what the user has
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from headworks.errors import ArtifactError
from headworks.heads.base import HeadModel, HeadPose

__all__ = ["HeadModel", "HeadPose", "load_exact", "load_head"]


def load_exact(name: str, digest: str, where: str) -> HeadModel:
    """The head model that an artifact was made with.

    Args:
        name, digest: what the artifact says. where: the artifact, for the message.

    Raises:
        ArtifactError: the model of that name is another one now.
        HeadworksError: there is no model of that name.
    """
    head = load_head(name)
    if head.digest != digest:
        raise ArtifactError(
            f"{where}: made with another version of the head model {name!r} ({digest[:12]}, here "
            f"{head.digest[:12]}); import that version again, or run the stage again"
        )
    return head


@lru_cache(maxsize=4)
def load_head(name: str) -> HeadModel:
    """The head model that `params.yaml` names; built or read once per process.

    Args:
        name: "procedural", made by code; a name under which `headworks heads import` stored a
            model (`headworks.headfiles`); or "ict:<path to ict_facekit.npz>".

    Returns:
        The model, on the CPU, with dense landmarks and symmetry; its `name` is `name`.

    Raises:
        HeadworksError: when there is no such head model.
    """
    from headworks.heads.dense import complete

    kind, _, path = name.partition(":")
    if name == "procedural":
        from headworks.heads.procedural import build

        return complete(build())
    if kind == "ict" and path:
        from headworks.heads.ict import load_ict

        return complete(replace(load_ict(Path(path)), name=name))
    from headworks.heads.store import load_stored

    return complete(load_stored(name))
