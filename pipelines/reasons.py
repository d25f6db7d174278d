"""Why two recipes differ, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.canon import digest


def failure_digest(failure: Mapping[str, str]) -> str:
    """Digest of a failure as collections are told of it."""
    return digest("failure", dict(failure))


def param_changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Values that differ, with their dotted names."""
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += param_changes(a, b, f"{prefix}{key}.")
        elif key not in old:
            found.append(f"{prefix}{key} is new ({b!r})")
        elif key not in new:
            found.append(f"{prefix}{key} is gone")
        elif a != b:
            found.append(f"{prefix}{key} {a!r} -> {b!r}")
    return found


def input_changes(old: list[list[str]], new: list[list[str]]) -> list[str]:
    """Inputs and members that came, went or changed."""
    before = {(role, member): oid for role, member, oid in old}
    after = {(role, member): oid for role, member, oid in new}
    found = []
    for role in sorted({role for role, _ in {*before, *after}}):
        a = {m: oid for (r, m), oid in before.items() if r == role}
        b = {m: oid for (r, m), oid in after.items() if r == role}
        if a == b:
            continue
        gained, lost = sorted({*b} - {*a}), sorted({*a} - {*b})
        changed = sorted(m for m in {*a} & {*b} if a[m] != b[m])
        if [*a] == [""] or [*b] == [""]:
            found.append(f"input: {role} changed")
            continue
        words = []
        for label, names in (("new", gained), ("gone", lost), ("changed", changed)):
            if names:
                more = f" and {len(names) - 3} more" if names[3:] else ""
                words.append(f"{label} {', '.join(names[:3])}{more}")
        found.append(f"input: {role}: {'; '.join(words)}")
    return found


def asset_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Weights and other files outside the project that came, went or changed."""
    found = []
    for name in sorted({*old, *new}):
        a, b = old.get(name, "absent"), new.get(name, "absent")
        if a != b:
            found.append(f"weights: {name} {a[:12]} -> {b[:12]}")
    return found


def module_changes(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> str:
    """Which modules of a stage's code differ."""
    if not old or not new:
        return "code changed"
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    more = f" and {len(names) - 3} more" if names[3:] else ""
    return f"code changed: {', '.join(names[:3])}{more}"
