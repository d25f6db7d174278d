"""Trainings that are killed go on to the very same bytes; several processes train as one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headworks.avatars.gasp.checkpoint import Checkpoints
from headworks.errors import ParamsError
from stages.contract import Context
from stages.prior import PriorParams, run
from tests.gasprun import TINY, TINY_FIT, fit, train

ROOT = Path(__file__).resolve().parents[1]


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def program(what: str, scratch: Path, out: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.gasprun", what, str(scratch), str(out)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, env=os.environ | environment
    )


def killed_at(what: str, text: str, scratch: Path, out: Path) -> None:
    """Start the program and end it without notice when it says `text`."""
    process = program(what, scratch, out)
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            os.kill(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_killed_prior_ends_in_the_same_bytes(tmp_path: Path) -> None:
    said: list[str] = []
    *_, curves = train(tmp_path / "b", tmp_path / "whole", tell=lambda _, text: said.append(text))
    assert "left" in said[0]
    scratch, out = tmp_path / "a", tmp_path / "resumed"
    killed_at("prior", "prior 40 of", scratch, out)
    assert (scratch / "prior.safetensors").is_file()
    said.clear()
    *_, again = train(scratch, out, tell=lambda _, text: said.append(text))
    assert said[0].startswith("prior 40 "), "goes on from step 35"
    assert digest(out) == digest(tmp_path / "whole")
    assert again == curves
    for name in ("step_0000030.png", "step_0000060.png"):
        assert digest(scratch / "samples" / name) == digest(tmp_path / "b" / "samples" / name)


def test_a_fit_killed_in_a_later_stage_ends_in_the_same_bytes(tmp_path: Path) -> None:
    _, curves = fit(None, tmp_path / "whole")
    scratch, out = tmp_path / "a", tmp_path / "resumed"
    killed_at("fit", "decoder 20 of", scratch, out)
    said: list[str] = []
    _, again = fit(scratch, out, tell=lambda _, text: said.append(text))
    assert not any("inversion" in text for text in said), "stage 1 is not run again"
    assert digest(out) == digest(tmp_path / "whole")
    assert again == curves


def test_a_checkpoint_of_other_numbers_or_other_people_does_not_count(tmp_path: Path) -> None:
    train(tmp_path, tmp_path / "first", replace(TINY, steps=20), lambda done, text: None)
    other = replace(TINY, steps=20, rate=1e-3)
    resumed, *_ = train(tmp_path, tmp_path / "second", other, lambda done, text: None)
    fresh, *_ = train(None, tmp_path / "third", other, lambda done, text: None)
    assert torch.equal(resumed.features, fresh.features)
    kept = Checkpoints(tmp_path / "x", {"a": 1})
    kept.save("s", {"t": torch.arange(3)})
    assert Checkpoints(tmp_path / "x", {"a": 2}).load("s") is None
    (tmp_path / "x" / "s.safetensors").write_bytes(b"torn")
    assert kept.load("s") is None


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Gradients are averaged: all ranks end with the same bytes, near those of one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    outs = [tmp_path / f"rank{rank}" for rank in range(2)]
    ranks = [
        program("prior", tmp_path / "scratch", outs[i], RANK=str(i), LOCAL_RANK=str(i), **group)
        for i in range(2)
    ]
    assert [process.wait(timeout=240) for process in ranks] == [0, 0]
    assert digest(outs[0]) == digest(outs[1])
    train(None, tmp_path / "alone", tell=lambda done, text: None)
    ours, alone = load_file(outs[0]), load_file(tmp_path / "alone")
    assert torch.allclose(ours["template.colors"], alone["template.colors"], atol=0.02)
    start, *_ = train(None, tmp_path / "start", replace(TINY, steps=1), lambda done, text: None)
    moved = (alone["template.colors"] - start.template["colors"].detach()).abs().mean()
    apart = (alone["template.colors"] - ours["template.colors"]).abs().mean()
    assert float(apart) < 0.01 * float(moved)


def test_people_must_share_out_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headworks.avatars.gasp.ranks import Ranks

    with pytest.raises(ValueError, match="people_per_step = 3"):
        Ranks(0, 2, torch.device("cpu")).share(3)
    shares = [list(Ranks(rank, 2, torch.device("cpu")).share(4)) for rank in range(2)]
    assert shares == [[0, 1], [2, 3]]


def test_a_rank_that_some_launcher_left_behind_does_not_silence_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headworks.avatars.gasp.ranks import place

    monkeypatch.setenv("RANK", "3")
    assert place() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert place() == (3, 4)
    context = Context(0, 1, lambda done, text: None, tmp_path)
    with pytest.raises(ParamsError, match=r"prior\.processes=4"):
        run({"synthesis": {}}, PriorParams(processes=2), tmp_path / "out", context)
    monkeypatch.delenv("RANK")
    assert place() == (0, 1), "nor is a WORLD_SIZE alone a rank's"


def test_stages_of_no_steps_leave_no_curve(tmp_path: Path) -> None:
    only = replace(TINY_FIT, inversion_steps=0, decoder_steps=0, refine_steps=5)
    _, curves = fit(None, tmp_path / "a", only, lambda done, text: None)
    assert {c.stage for c in curves} == {"refinement"}
