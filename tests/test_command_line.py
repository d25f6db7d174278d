"""The command line teaches: help with examples, answers for machines, exit codes, completion."""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import options
from pipelines.cli import main
from pipelines.console import EXIT_CODES, app

DOCS = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
EXAMPLE = re.compile(r"^ *\$ (headworks .+)$", re.MULTILINE)
NO_ANSWER = {"completion"}
"""Commands whose output is a script, not an answer."""


def called(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", sorted(app.functions))
def test_every_command_has_help_with_an_example_on_a_line_of_its_own(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(name, "--help") == 0
    shown = capsys.readouterr().out
    assert app.summary(name) in " ".join(shown.split())
    meant = EXAMPLE.findall(app.functions[name].__doc__ or "")
    assert meant
    assert all(example.startswith(f"headworks {name}") for example in meant)
    # Long examples are broken to fit the terminal, but each begins a line.
    begun = EXAMPLE.findall(shown)
    assert len(begun) == len(meant)
    assert all(long.startswith(short.rstrip()) for short, long in zip(begun, meant, strict=True))


def test_every_command_answers_machines() -> None:
    for name, function in app.functions.items():
        if name not in NO_ANSWER:
            assert "json" in inspect.signature(function).parameters, name


def test_the_overview_has_one_line_of_each_command_and_the_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert called("--help") == 0
    shown = capsys.readouterr().out
    together = " ".join(shown.split())
    for name in app.functions:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)
        assert app.summary(name) in together
    assert max(map(len, shown.splitlines())) <= 96
    for code, text in EXIT_CODES:
        assert f"{code} {text}" in together
    assert called() == 2
    assert "usage:" in capsys.readouterr().err


def test_the_exit_codes_told_are_those_given() -> None:
    given = {value for name, value in vars(options).items() if name.startswith("EXIT_")}
    assert given | {130} == {code for code, _ in EXIT_CODES}


def test_the_documented_command_line_is_the_real_one() -> None:
    text = DOCS.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `headworks ([\w-]+)` \| (.+) \|$", text, re.MULTILINE))
    assert rows == {name: app.summary(name) for name in app.functions}
    codes = re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert [(int(code), said) for code, said in codes] == list(EXIT_CODES)


def test_answers_for_machines_are_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWORKS_ROOT", str(tmp_path))
    for words, field in (
        (("init",), "lines"),
        (("add", "anna", "--synthetic", "photo", "--seed", "3", "--consent", "yes"), "subjects"),
        (("status",), None),
        (("plan",), None),
        (("audit", "anna"), "roots"),
        (("audit", "--uses", "anna"), None),
        (("gc",), "objects"),
        (("heads", "list"), None),
        (("forget", "anna"), "captures"),
    ):
        code = called(*words, "--json")
        out = capsys.readouterr().out
        assert code == 0, words
        told = json.loads(out)
        assert field is None or field in told, words


def test_mistakes_go_to_stderr_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADWORKS_ROOT", str(tmp_path))
    assert called("audit", "nobody", "--json") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "headworks" in told.err
    assert called("no-such-command") == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_know_the_commands(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert called("completion", shell) == 0
    script = capsys.readouterr().out
    for name in app.functions:
        assert name in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True, timeout=30)


def on_a_terminal(**environment: str) -> bytes:
    """What `headworks plan --help` shows on a terminal."""
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "plan", "--help"],
        env={**os.environ, "TERM": "xterm-256color", **environment},
        stdout=there,
        stderr=there,
    ) as process:
        os.close(there)
        shown = b""
        while True:
            try:
                part = os.read(here, 4096)
            except OSError:  # the other end was closed
                break
            if not part:
                break
            shown += part
        process.wait(60)
    os.close(here)
    return shown


def test_colours_show_on_terminals_alone_and_not_where_nobody_wants_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert called("plan", "--help") == 0
    assert "\x1b[" not in capsys.readouterr().out
    assert b"\x1b[" in on_a_terminal(NO_COLOR="")
    assert b"\x1b[" not in on_a_terminal(NO_COLOR="1")
