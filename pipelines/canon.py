"""Canonical serialisation and typed digests: the one way in which anything becomes a key."""

from __future__ import annotations

import hashlib

from headworks.artifacts import canonical_json

__all__ = ["canonical_json", "digest", "md5_tree"]


def digest(kind: str, value: object) -> str:
    """SHA-256 of a value, typed: values of two kinds never share a pre-image.

    Args:
        kind: what the value is, e.g. "recipe".
        value: JSON values.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(canonical_json([kind, value]).encode()).hexdigest()


def md5_tree(files: dict[str, str]) -> str:
    """The oid that DVC gives to a folder.

    Args:
        files: relative POSIX path -> md5.

    Returns:
        `<md5>.dir`.
    """
    import json

    listing = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    text = json.dumps(listing, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"
