"""What runs, what does not, and why."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable

import pytest
from conftest import Toys

from headworks.errors import HeadworksError, ParamsError


def states(toys: Toys) -> dict[str, str]:
    return {str(unit): d.state for unit, d in toys.open().plan().items()}


def reasons(toys: Toys, unit: str) -> str:
    found = {str(u): d for u, d in toys.open().plan().items()}
    return "; ".join(found[unit].reasons)


def test_everything_runs_once_and_then_nothing(toys: Toys) -> None:
    first = toys.run()
    assert set(toys.statuses(first).values()) == {"ran"}
    assert first.exit_code == 0
    assert len(toys.computed()) == 11
    published = toys.published()
    assert published["read/a/numbers/value.json"] == b"850"
    second = toys.run()
    assert set(toys.statuses(second).values()) == {"ok"}
    assert len(toys.computed()) == 11
    assert toys.published() == published


def test_a_run_without_work_imports_neither_prefect_nor_torch_nor_dvc(ran: Toys) -> None:
    program = (
        "import sys\nfrom pipelines.cli import main\n"
        "try:\n    main(['run'])\nexcept SystemExit as end:\n    print('code', end.code)\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ran.root, capture_output=True, text=True, check=True
    )
    assert "code 0" in done.stdout
    assert "ran 0  cached 11" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"prefect", "torch", "dvc", "dvc_data", "zarr"}


def test_a_parameter_reruns_its_stage_and_what_follows_alone(ran: Toys) -> None:
    ran.forget_computed()
    ran.params("double: {factor: 3}")
    assert reasons(ran, "double/a") == "params: double.factor 2.0 -> 3.0"
    assert reasons(ran, "join/a") == "input: double/a will run"
    assert states(ran)["join/a"] == "maybe"
    summary = ran.run()
    assert sorted(ran.computed()) == sorted(
        [*(f"double {n}" for n in "abc"), *(f"join {n}" for n in "abc"), "report all"]
    )
    assert ran.statuses(summary)["read/a"] == "ok"


def test_switching_a_parameter_back_restores_the_same_bytes(ran: Toys) -> None:
    before = ran.published()
    manifests = {p: p.read_bytes() for p in (ran.root / "data").glob("*/*.manifest.json")}
    ran.params("double: {factor: 3}")
    ran.run()
    assert ran.published() != before
    ran.forget_computed()
    ran.params("")
    assert states(ran)["double/a"] == "restore"
    summary = ran.run()
    assert ran.computed() == []
    assert summary.count("restored") == 7
    assert ran.published() == before
    assert {p: p.read_bytes() for p in manifests} == manifests


def test_equal_bytes_upstream_stop_the_rerun(toys: Toys) -> None:
    toys.add("d", b"\1\2\3", suffix=".mp4")
    toys.run()
    toys.forget_computed()
    toys.params("read: {modulus: 1001}")
    # The sums of a, b and c exceed no modulus here: 50 letters make less than 1000.
    changed = [n for n in "abcd" if sum(n.encode() * 50) >= 1000 and n != "d"]
    summary = toys.statuses(toys.run())
    assert sorted(line for line in toys.computed() if line.startswith("read")) == [
        f"read {n}" for n in "abcd"
    ]
    assert summary["double/d"] == "cut_off"
    assert "double d" not in toys.computed()
    assert [n for n in "abc" if summary[f"double/{n}"] == "ran"] == changed
    assert set(toys.statuses(toys.run()).values()) == {"ok"}


def test_code_edits_are_seen_and_named(
    ran: Toys, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    from conftest import TOYS

    from pipelines.codehash import CodeIndex

    real = CodeIndex.file
    edited = tmp_path / "double.py"
    source = (TOYS / "toystages" / "double.py").read_text()

    def elsewhere(self: CodeIndex, module: str):  # type: ignore[no-untyped-def]
        return edited if module == "toystages.double" else real(self, module)

    monkeypatch.setattr(CodeIndex, "file", elsewhere)
    edited.write_text(source.replace("number // 10", "number // 100"))
    assert reasons(ran, "double/a") == "code changed: toystages.double"
    assert states(ran)["read/a"] == "ok"
    edited.write_text("# a remark\n" + source)
    assert states(ran)["double/a"] == "ok"


def test_a_new_subject_runs_only_its_own_units(ran: Toys) -> None:
    ran.forget_computed()
    ran.add("e", suffix=".mp4")
    assert reasons(ran, "read/e") == "new"
    assert "read: new e" in reasons(ran, "report/all") or "will run" in reasons(ran, "report/all")
    ran.run()
    assert sorted(ran.computed()) == ["double e", "join e", "read e", "report all"]


def test_changed_raw_bytes_are_an_input_change(ran: Toys) -> None:
    (ran.root / "data" / "raw" / "c" / "capture.mp4").write_bytes(b"changed")
    assert reasons(ran, "read/c") == "input: raw changed"
    ran.run()
    assert ran.published()["read/c/numbers/value.json"] == str(sum(b"changed")).encode()


def test_a_removed_subject_leaves_the_published_data(ran: Toys) -> None:
    shutil.rmtree(ran.root / "data" / "raw" / "c")
    ran.run()
    assert not [name for name in ran.published() if "/c/" in name]
    assert "c" not in json.loads((ran.root / "data/report/_index.json").read_text())["units"]


def test_a_subject_that_came_after_a_plan_is_not_swept_away(ran: Toys) -> None:
    from pipelines.finish import remove_leftovers

    planned = ran.open().planner()
    ran.add("late")
    ran.run()
    shutil.rmtree(ran.root / "data" / "raw" / "a")
    remove_leftovers(ran.open(), planned)
    assert "read/late/artifact.json" in ran.published()
    remove_leftovers(ran.open(), ran.open().planner())
    assert "read/late/artifact.json" in ran.published()
    assert "read/a/artifact.json" not in ran.published()


def test_equal_captures_share_their_results(toys: Toys) -> None:
    content = (toys.root / "data/raw/c/capture.mp4").read_bytes()
    toys.add("twin", content, suffix=".mp4")
    summary = toys.run()
    assert len([line for line in toys.computed() if line in ("read c", "read twin")]) == 1
    assert toys.statuses(summary)["join/twin"] in ("ran", "hit")
    published = toys.published()
    assert published["join/c/numbers/value.json"] == published["join/twin/numbers/value.json"]
    assert set(toys.statuses(toys.run()).values()) == {"ok"}


def test_one_bad_subject_does_not_stop_the_others(toys: Toys) -> None:
    toys.add("x", b"bad", suffix=".mp4")
    summary = toys.run()
    found = toys.statuses(summary)
    assert summary.exit_code == 3
    assert (found["read/x"], found["double/x"], found["join/x"]) == ("failed", "blocked", "blocked")
    assert found["join/a"] == found["report/all"] == "ran"
    told = json.loads(toys.published()["report/all/failed.json"])
    assert list(told) == ["x"]
    assert "take another" in told["x"]
    assert toys.computed().count("read x") == 1, "what cannot pass is not tried again"
    again = toys.run()
    assert again.exit_code == 3
    assert toys.computed().count("read x") == 1
    assert toys.run(retry=True).exit_code == 3
    assert toys.computed().count("read x") == 2


def test_a_repaired_subject_joins_the_report(toys: Toys) -> None:
    toys.add("x", b"bad", suffix=".mp4")
    toys.run()
    (toys.root / "data/raw/x/capture.mp4").write_bytes(b"good")
    summary = toys.run()
    assert summary.exit_code == 0
    assert json.loads(toys.published()["report/all/failed.json"]) == {}
    assert b'"x"' in toys.published()["report/all/index.html"]


def test_what_may_pass_is_tried_again(toys: Toys) -> None:
    toys.add("x", b"flaky", suffix=".mp4")
    summary = toys.run()
    assert summary.exit_code == 0
    assert toys.computed().count("read x") == 2
    (row,) = [r for r in toys.rows() if r["stage"] == "read" and r["subject"] == "x"]
    assert row["attempt"] == 2


def test_a_lost_worker_costs_one_attempt_and_no_other_unit(toys: Toys) -> None:
    toys.add("x", b"kill", suffix=".mp4")
    summary = toys.run()
    assert summary.exit_code == 0
    assert toys.computed().count("read x") == 2
    assert all(toys.computed().count(f"read {n}") == 1 for n in "abc")


@pytest.mark.parametrize(
    ("content", "words"), [(b"bug", "ValueError: a programming"), (b"empty", "artifact.json")]
)
def test_a_bug_fails_its_unit_with_a_log(toys: Toys, content: bytes, words: str) -> None:
    toys.add("x", content, suffix=".mp4")
    summary = toys.run()
    (outcome,) = [o for u, o in summary.outcomes.items() if str(u) == "read/x"]
    assert outcome.status == "failed"
    assert words in outcome.message
    log = (toys.root / outcome.log).read_text()
    assert "reading x" in log
    assert "Traceback" in log
    assert toys.computed().count("read x") == 1


def test_touched_results_are_restored(ran: Toys) -> None:
    before = ran.published()
    ran.forget_computed()
    data = ran.root / "data"
    (data / "read/a/numbers/value.json").write_text("7")
    (data / "double/b/numbers/value.json").unlink()
    (data / "join/c/extra.txt").write_text("?")
    shutil.rmtree(data / "report")
    time.sleep(0.01)
    found = states(ran)
    touched = ["read/a", "double/b", "join/c", "report/all"]
    assert [found[unit] for unit in touched] == ["restore"] * 4
    ran.run()
    assert ran.computed() == []
    assert ran.published() == before


def test_a_lost_object_is_computed_again(ran: Toys) -> None:
    before = ran.published()
    ran.forget_computed()
    from pipelines.store import object_path, read_tree

    layout = ran.open().layout
    (row,) = [r for r in ran.rows() if (r["stage"], r["subject"]) == ("join", "a")]
    tree = read_tree(layout.objects, str(row["out_oid"]))
    assert tree
    object_path(layout.objects, tree["numbers/value.json"]).unlink()
    assert reasons(ran, "join/a").startswith("lost")
    ran.run()
    assert ran.computed() == ["join a"]
    assert ran.published() == before


def test_force_computes_again_what_is_selected(ran: Toys) -> None:
    ran.forget_computed()
    ran.run(force=True, stages=["double"], subjects=["a"])
    assert ran.computed() == ["double a"]


def test_selection_runs_what_it_needs_and_no_more(toys: Toys) -> None:
    toys.run(stages=["double"], subjects=["b"])
    assert sorted(toys.computed()) == ["double b", "read b"]
    with pytest.raises(HeadworksError, match="there are: a, b, c"):
        toys.run(subjects=["nobody"])
    with pytest.raises(HeadworksError, match="no stage 'nothing'"):
        toys.run(stages=["nothing"])


def test_wrong_params_stop_before_anything_runs(toys: Toys) -> None:
    toys.params("double: {facter: 1}")
    with pytest.raises(ParamsError):
        toys.run()
    assert toys.computed() == []


def test_a_set_parameter_is_for_this_run_alone(ran: Toys) -> None:
    summary = ran.run(overrides=["join.offset=5"])
    assert summary.count("ran") == 4
    assert "dvc.lock" in summary.notes[0]
    assert ran.run().count("restored") == 4


def test_the_same_bytes_come_out_whatever_the_jobs_and_the_place(
    toys: Toys, make_toys: Callable[[str], Toys]
) -> None:
    toys.run(jobs=1)
    other = make_toys("elsewhere")
    for name, suffix in (("c", ".mp4"), ("b", ".png"), ("a", ".png")):
        other.add(name, suffix=suffix)
    other.run(jobs=3)
    assert other.published() == toys.published()


def test_reports_are_published_with_what_ran_and_what_failed(toys: Toys) -> None:
    toys.add("x", b"bad", suffix=".mp4")
    toys.run()
    page = toys.root / "reports" / "index.html"
    html = page.read_text()
    assert "What ran, and how long" in html
    assert "take another" in html
    own = toys.published()["report/all/index.html"].decode()
    assert "What ran" not in own, "times inside the artifact would end early cutoff"
    before = page.stat().st_mtime_ns
    toys.run()
    assert page.stat().st_mtime_ns == before
    page.unlink()
    toys.run()
    assert "What ran, and how long" in page.read_text()


def test_provenance_lies_beside_the_artifact_and_not_in_it(ran: Toys) -> None:
    manifest = json.loads((ran.root / "data/join/a.manifest.json").read_text())
    assert manifest["subject"] == "a"
    assert manifest["params"] == {"offset": 0}
    assert {role for role, _, _ in manifest["inputs"]} == {"read", "double", "teach"}
    assert len(manifest["environment"]["packages_sha256"]) == 64
    assert manifest["timing"]["seconds"] >= 0
    assert manifest["timing"]["max_rss_mb"] > 10
    index = json.loads((ran.root / "data/join/_index.json").read_text())
    assert index["units"]["a"] == manifest["output"]["oid"]
    assert sorted(p.name for p in (ran.root / "data/join/a").iterdir()) == [
        "artifact.json",
        "numbers",
    ]


def test_audit_goes_down_to_the_raw_file(ran: Toys) -> None:
    import hashlib

    from pipelines.audit import audit_text, audit_tree

    raw = (ran.root / "data/raw/a/capture.png").read_bytes()
    oid = json.loads((ran.root / "data/join/_index.json").read_text())["units"]["a"]
    for target in ("join/a", "data/join/a", str(ran.root / "data/join/a"), oid[:12]):
        tree = audit_tree(ran.open(), target)
        assert (tree["roots"][0]["stage"], tree["roots"][0]["subject"]) == ("join", "a")
        text = "\n".join(audit_text(tree))
        assert hashlib.sha256(raw).hexdigest() in text
        assert hashlib.md5(raw).hexdigest() in text
        assert "teach/all" in text
        assert "factor=2.0" in text
    assert audit_tree(ran.open(), "a")["roots"][0]["stage"] == "join"
    with pytest.raises(HeadworksError, match="nothing of that name"):
        audit_tree(ran.open(), "nothing/here")


def test_command_line_says_one_clear_thing_and_the_next_step(toys: Toys) -> None:
    done = toys.cli("plan", "--set", "double.factor=99")
    assert done.returncode == 2
    assert "at most 10" in done.stderr
    assert "Traceback" not in done.stderr
    done = toys.cli("plan")
    assert "next: headworks run" in done.stdout
    done = toys.cli("run", "--orchestrator", "none", "--json")
    assert json.loads(done.stdout)["counts"] == {"ran": 11}
    done = toys.cli("add", "../x", "incoming/capture.png")
    assert done.returncode == 2
    assert "cannot name a subject" in done.stderr
    done = toys.cli("plan", "--json", "--stage", "double", "--subject", "a")
    assert json.loads(done.stdout)["counts"] == {"ok": 2}
    done = toys.cli("status")
    assert "3 subjects (1 clip, 2 photo)" in done.stdout
    done = toys.cli("audit", "nobody")
    assert done.returncode == 2
    assert sorted(os.listdir(toys.root / "data" / "raw")) == ["a", "b", "c"]
