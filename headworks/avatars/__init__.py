"""Avatars: one folder per method; what all methods share stands beside them."""

from __future__ import annotations

from pathlib import Path

from headworks.avatars.avatar import FILE, BoundAvatar, load_bound_avatar

__all__ = ["FILE", "BoundAvatar", "load_avatar", "load_bound_avatar"]


def load_avatar(folder: Path) -> BoundAvatar:
    """The avatar of an avatar artifact (a folder).

    Raises:
        ArtifactError: when the folder holds no readable avatar.
    """
    return load_bound_avatar(Path(folder) / FILE)
