"""Avatars: one folder per method; what all methods share stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headworks.avatars.avatar import (
    FILE,
    Avatar,
    AvatarFile,
    BoundAvatar,
    bound_avatar,
    load_bound_avatar,
    read_avatar,
)

__all__ = [
    "FILE",
    "READERS",
    "Avatar",
    "AvatarFile",
    "BoundAvatar",
    "load_avatar",
    "load_avatar_file",
    "load_bound_avatar",
]


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
    return READERS.get(file.facts["method"], bound_avatar)(file)


def _gaussian_avatar(file: AvatarFile) -> Avatar:
    from headworks.avatars.gaussian_avatars.avatar import gaussian_avatar

    return gaussian_avatar(file)


def _flash_avatar(file: AvatarFile) -> Avatar:
    from headworks.avatars.flash_avatar.avatar import flash_avatar

    return flash_avatar(file)


READERS: dict[str, Callable[[AvatarFile], Avatar]] = {
    "gaussian_avatars": _gaussian_avatar,
    "flash_avatar": _flash_avatar,
}
"""Who makes an avatar of a file, by the method that it names; without an entry, a `BoundAvatar`.

They import in their bodies, so that nobody loads the methods of others, and in plain words, so that
results are known to depend on that code.
"""
