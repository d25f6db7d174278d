"""The command for shells: completion."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

from pipelines.console import app


@app.command(name="completion")
def completion(shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]) -> int:
    """Print a script that completes commands and options in a shell.

    $ headworks completion bash > ~/.local/share/bash-completion/completions/headworks
    $ headworks completion zsh > ~/.zfunc/_headworks
    $ headworks completion fish > ~/.config/fish/completions/headworks.fish

    A new shell reads it; zsh wants `fpath+=~/.zfunc; autoload -Uz compinit; compinit` in .zshrc.

    Args:
        shell: bash, zsh or fish.
    """
    app.parse(["--tyro-write-completion", shell, "-"])
    return 0
