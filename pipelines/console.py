"""What all commands share: the workspace around, and how they print."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from pipelines.workspace import Workspace

EXIT_CODES = (
    (0, "done"),
    (1, "a mistake of ours; the traceback is in .headworks/error.txt"),
    (2, "wrong command, name or params, no right to write; nothing ran"),
    (3, "some units failed or are blocked"),
    (6, "verify found damage"),
    (7, "no space left"),
    (130, "interrupted"),
)
"""Exit codes of every command, with what they say."""

_WIDTH = 96
_CONFIG = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.UseAppendAction,
)


class Commands(tyro.extras.SubcommandApp):
    """The commands by name; what each does in its own words."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: dict[str, Callable[..., int]] = {}

    def command(self, func: Any = None, *, name: str | None = None, **how: Any) -> Any:
        """Register a function as a command; see `tyro.extras.SubcommandApp.command`."""
        register = super().command(name=name, **how)

        def inner(target: Callable[..., int]) -> Any:
            self.functions[name or target.__name__] = target
            return register(target)

        return inner if func is None else inner(func)

    def parse(self, arguments: Sequence[str] | None) -> Any:
        """Parse the command line and run the command; returns what it returns."""
        if os.environ.get("NO_COLOR"):
            tyro._experimental_options["ansi_codes"] = False
        return self.cli(
            prog="headworks",
            description="From head captures to animatable avatars, reproducibly.",
            args=arguments,
            config=_CONFIG,
        )

    def summary(self, name: str) -> str:
        """The first line of a command's text."""
        return (self.functions[name].__doc__ or "").strip().partition("\n")[0]

    def overview(self) -> str:
        """What `headworks --help` prints: a line or two per command, examples, exit codes."""
        wide = max(map(len, self.functions)) + 2
        lines = [
            "usage: headworks COMMAND [OPTIONS]",
            "",
            "From head captures to animatable avatars, reproducibly.",
            "",
            "commands (headworks COMMAND --help says more, with examples):",
        ]
        for name in sorted(self.functions):
            first, *more = textwrap.wrap(self.summary(name), _WIDTH - wide - 2)
            lines.append(f"  {name:{wide}}{first}")
            lines += [" " * (wide + 2) + line for line in more]
        lines += [
            "",
            "examples:",
            "  $ headworks demo",
            "  $ headworks add me clip.mp4 --consent 'signed form 12'",
            "  $ headworks run",
            "  $ headworks drive me --by demo_clip -o out.mp4",
            "",
            "exit codes:",
            *(f"  {code:<4} {text}" for code, text in EXIT_CODES),
            "",
            "--json prints for machines. Colours show on terminals alone, and not where NO_COLOR",
            "is set. Shell completion: headworks completion bash|zsh|fish",
        ]
        return "\n".join(lines)


app = Commands()


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
