"""Avatars: one folder per method; what all methods share stands beside them."""

from __future__ import annotations

from pathlib import Path

from headworks.avatars.avatar import (
    FILE,
    Avatar,
    BoundAvatar,
    bound_avatar,
    load_bound_avatar,
    read_avatar,
)

__all__ = ["FILE", "Avatar", "BoundAvatar", "load_avatar", "load_avatar_file", "load_bound_avatar"]


def load_avatar(folder: Path) -> Avatar:
    """The avatar of an avatar artifact (a folder), whichever method made it.

    Raises:
        ArtifactError: when the folder holds no readable avatar.
    """
    return load_avatar_file(Path(folder) / FILE)


def load_avatar_file(path: Path) -> Avatar:
    """The avatar of one file; its method is written in it.

    Raises:
        ArtifactError: not an avatar, or made for another version of its head model.
    """
    file = read_avatar(Path(path))
    if file.facts["method"] == "gaussian_avatars":
        from headworks.avatars.gaussian_avatars.avatar import gaussian_avatar

        return gaussian_avatar(file)
    if file.facts["method"] == "flash_avatar":
        from headworks.avatars.flash_avatar.avatar import flash_avatar

        return flash_avatar(file)
    return bound_avatar(file)
