"""What `headworks heads` promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import cli
from tests.heads import standins


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as a workspace."""
    for name in ("HEADWORKS_HEADS", "HEADWORKS_ROOT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(list(arguments))
    return int(left.value.code or 0)


def test_import_stores_the_model_below_the_workspace(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standins.write_flame_npz(workspace / "flame.npz")
    assert _run("heads", "import", "flame", "flame.npz", "--name", "mine", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["name"], record["kind"]) == ("mine", "flame")
    assert (workspace / "data" / "heads" / f"{record['file']}.npz").is_file()
    assert record["sources"][0]["file"] == "flame.npz"
    assert "non-commercial" in record["licence"]
    assert _run("heads", "list") == 0
    assert "mine" in capsys.readouterr().out


def test_import_says_what_is_wrong(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("heads", "import", "flame", "nowhere.pkl") == 2
    assert "nowhere.pkl: no such file" in capsys.readouterr().err
    assert _run("heads", "import") == 2
    assert "expected KIND" in capsys.readouterr().err
    (workspace / ".dvc").rmdir()
    assert _run("heads", "list") == 2
    assert "headworks init" in capsys.readouterr().err


def test_a_plan_asks_for_the_head_s_file_without_loading_it() -> None:
    code = (
        "import sys; from stages import synthesis, tracking\n"
        "print(tracking.assets(tracking.TrackingParams(head='nobody')),\n"
        "      synthesis.assets(synthesis.SynthesisParams(head='nobody')))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'head nobody': None") == 2
