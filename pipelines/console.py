"""What all commands share: the workspace around, and how they print."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from pipelines.workspace import Workspace

app = tyro.extras.SubcommandApp()


def workspace_here() -> Workspace:
    """The workspace that holds the current folder."""
    from pipelines.layout import find_root
    from pipelines.workspace import Workspace

    return Workspace(find_root())


def say(text: str = "") -> None:
    """Print a line."""
    print(text, flush=True)


def say_json(value: Any) -> None:
    """Print a value for machines."""
    say(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False))
