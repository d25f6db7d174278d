"""The command line. Parses, calls, prints; whatever is heavy is imported inside a command."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from headworks.errors import HeadworksError
from pipelines import (
    cli_audit,
    cli_avatars,
    cli_captures,
    cli_care,
    cli_heads,
    cli_share,
    cli_shell,
    cli_view,
)
from pipelines.captures import Layout
from pipelines.console import app, say, say_json, workspace_here

if TYPE_CHECKING:
    from pipelines.subjects import Subject
    from pipelines.workspace import Workspace

Positional = tyro.conf.Positional
COMMANDS = (
    cli_audit, cli_avatars, cli_captures, cli_care, cli_heads, cli_share, cli_shell, cli_view
)  # fmt: skip
"""Modules whose import adds commands."""


@app.command(name="init")
def init(preset: str | None = None, json: bool = False) -> int:
    """Make the current folder a workspace (DVC, params.yaml, dvc.yaml).

    $ headworks init
    $ headworks init --preset study

    Args:
        preset: numbers of a new params.yaml: demo (the defaults), study or paper (docs/gasp.md).
        json: for machines.
    """
    from pipelines.setup import init_workspace

    workspace = workspace_here()
    overrides = _with_preset(preset)
    if overrides and workspace.layout.params.exists():
        raise HeadworksError(
            f"{workspace.layout.params} is there already; remove it to have that of --preset "
            f"{preset}, or type: headworks run --preset {preset}"
        )
    lines = init_workspace(workspace, overrides)
    if json:
        root = str(workspace.layout.root)
        say_json({"schema": "headworks.init/1", "workspace": root, "lines": lines})
        return 0
    for line in lines:
        say(line)
    say("next: headworks add NAME PHOTO|FOLDER|CLIP   (or: headworks demo)")
    return 0


def _with_preset(preset: str | None, overrides: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What `--preset` and `--set` say together; `--set` wins."""
    from pipelines.presets import preset_overrides

    return (*(preset_overrides(preset) if preset else ()), *overrides)


@app.command(name="add")
def add(
    name: Annotated[str, Positional],
    paths: Annotated[tuple[Path, ...], Positional] = (),
    synthetic: Literal["multiview", "clip", "photo", "population"] | None = None,
    seed: int | None = None,
    consent: str | None = None,
    licence: str | None = None,
    layout: Layout | None = None,
    json: bool = False,
) -> int:
    """Add a subject: a photo, a folder of photos, a clip, a rig's folder, or a made person.

    $ headworks add me clip.mp4 --consent 'signed form 12' --licence 'research only'
    $ headworks add anna --synthetic clip --seed 7

    Args:
        name: what to call it (letters, digits, _ and -).
        paths: a photo, several photos, a folder of photos, a clip, or one folder of a known layout
            (NeRSemble, VHAP, Gaussian Head Avatar, GAGAvatar_track, clips as frames:
            docs/captures.md); a folder of several people's clips makes a subject of each.
        synthetic: kind of synthetic person instead of paths; needs --seed.
        seed: seed of the synthetic person.
        consent: what the person agreed to; travels with all that is made of the capture.
        licence: licence of the capture.
        layout: read the folder as this, whatever it looks like.
        json: for machines.
    """
    from pipelines.captures import add_captures
    from pipelines.setup import SYNTHETIC_KINDS, add_people, ensure_workspace

    workspace = workspace_here()
    made = not (workspace.layout.root / ".dvc" / "config").is_file()
    ensure_workspace(workspace)
    if made and not json:
        say(f"made a workspace of {workspace.layout.root}")
    kind = SYNTHETIC_KINDS[synthetic] if synthetic else None
    added = add_captures(workspace.layout, name, paths, kind, seed, consent, licence, layout)
    people = add_people(workspace) if kind != "population" else []
    if json:
        say_json(_added_json(workspace, made, added, people))
        return 0
    for subject, found in added:
        say(f"{subject.name}: {subject.kind}, {subject.oid}")
        for line in found:
            say(f"  {line}")
        files = [f for f in subject.files if f not in ("subject.json", "terms.json")]
        for file in files if len(files) <= 40 else []:
            md5, sha256, size = subject.files[file]
            say(f"  {file}  {size / 1e6:.2f} MB  md5 {md5}  sha256 {sha256[:16]}")
        if len(files) > 40:
            total = sum(subject.files[f][2] for f in files)
            say(f"  {len(files)} files, {total / 1e6:.1f} MB")
    for line in people:
        say(line)
    say("next: headworks plan   (what it makes necessary), then: headworks run")
    return 0


def _added_json(
    workspace: Workspace, made: bool, added: list[tuple[Subject, list[str]]], people: list[str]
) -> dict[str, Any]:
    return {
        "schema": "headworks.add/1",
        "workspace": str(workspace.layout.root),
        "made_workspace": made,
        "people": people,
        "subjects": [
            {
                "name": subject.name,
                "kind": subject.kind,
                "oid": subject.oid,
                "found": list(found),
                "files": [
                    {"file": file, "bytes": size, "md5": md5, "sha256": sha256}
                    for file, (md5, sha256, size) in sorted(subject.files.items())
                ],
            }
            for subject, found in added
        ],
    }


@app.command(name="plan")
def plan(
    stage: tuple[str, ...] = (),
    subject: tuple[str, ...] = (),
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = (),
    preset: str | None = None,
    json: bool = False,
) -> int:
    """Say what a run would do, and why. Changes nothing.

    $ headworks plan
    $ headworks plan --stage fit --set fit.refine_steps=500

    Args:
        stage: only this stage and what it needs (may be repeated).
        subject: only this subject (may be repeated).
        set_: stage.key=value for this once (may be repeated).
        preset: a named set of such values (study, paper), for this once.
        json: for machines.
    """
    from pipelines.show import plan_json, plan_text

    decisions = workspace_here().plan(stage, subject, _with_preset(preset, set_))
    gc.freeze()  # A million objects that stay to the end: no collection need look at them again.
    if json:
        say_json(plan_json(decisions))
        return 0
    for line in plan_text(decisions):
        say(line)
    states = {d.state for d in decisions.values()}
    if not decisions:
        say("next: headworks add NAME PHOTO|FOLDER|CLIP   (or: headworks demo)")
    elif states & {"run", "maybe", "restore"}:
        say("next: headworks run")
    elif "failed" in states:
        say("next: headworks run --retry-failed   (when the cause is mended)")
    else:
        say("next: headworks status   (nothing to do)")
    return 0


@app.command(name="run")
def run(
    stage: tuple[str, ...] = (),
    subject: tuple[str, ...] = (),
    jobs: int = 0,
    force: bool = False,
    retry_failed: bool = False,
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = (),
    preset: str | None = None,
    orchestrator: Literal["prefect", "none"] | None = None,
    from_dvc: bool = False,
    lineage: str | None = None,
    timeout: float = 0.0,
    cluster: str | None = None,
    storage: str | None = None,
    needs: tuple[str, ...] = (),
    json: bool = False,
) -> int:
    """Compute what is stale, restore what is known, leave the rest.

    $ headworks run
    $ headworks run --subject me --jobs 2 --preset study

    Args:
        stage: only this stage and what it needs (may be repeated).
        subject: only this subject (may be repeated).
        jobs: worker processes; 0 = one per CPU.
        force: compute the selected units even where their result is known.
        retry_failed: try again what failed for good with the same recipe.
        set_: stage.key=value for this once (may be repeated).
        preset: a named set of such values (study, paper), for this once.
        orchestrator: supervise as a Prefect flow (what happens if not given), or plainly (what
            happens under `dvc repro`, which would start a server for every stage).
        from_dvc: called by `dvc repro`: this stage alone, dvc.lock left to DVC.
        lineage: file or http(s) URL for OpenLineage events; HEADWORKS_LINEAGE names one, too.
        timeout: seconds that a unit may take before it is ended and tried once more; 0 = what its
            stage says.
        cluster: address of a Dask scheduler (tcp://host:8786) whose workers compute; all of them
            see the workspace under the same path. HEADWORKS_CLUSTER names one, too.
        storage: where they do not: URL (s3://bucket/folder) or path of a place that all of them
            reach, through which inputs and outputs travel. HEADWORKS_STORAGE names one, too.
        needs: stage.RESOURCE=amount, as fit.GPU=1: what a stage's units ask the cluster's workers
            for (may be repeated).
        json: print the summary for machines.
    """
    from pipelines.options import Options

    if storage and not (cluster or os.environ.get("HEADWORKS_CLUSTER")):
        raise HeadworksError("--storage is for machines of a cluster; name it: --cluster ADDRESS")
    if needs and not (cluster or os.environ.get("HEADWORKS_CLUSTER")):
        raise HeadworksError("--needs is asked of a cluster's workers; name it: --cluster ADDRESS")
    options = Options(
        stages=stage,
        subjects=subject,
        jobs=jobs,
        force=force,
        retry=retry_failed,
        overrides=_with_preset(preset, set_),
        orchestrator=orchestrator or ("none" if from_dvc else "prefect"),
        only=from_dvc,
        timeout_s=timeout,
        cluster=cluster or os.environ.get("HEADWORKS_CLUSTER"),
        storage=storage or os.environ.get("HEADWORKS_STORAGE"),
        needs=needs,
        lineage=lineage or os.environ.get("HEADWORKS_LINEAGE"),
    )
    return _run(workspace_here(), options, json)


def _run(workspace: Workspace, options: Any, json: bool) -> int:
    import signal

    from pipelines.run import run as run_workspace
    from pipelines.show import Display, summary_json, summary_text

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if options.timeout_s < 0:
        raise HeadworksError("--timeout: seconds, 0 or more")
    if options.jobs < 0:
        raise HeadworksError("--jobs: 0 (one per CPU) or more")
    if options.only:
        from pipelines.worker import die_with_parent

        die_with_parent(signal.SIGTERM)
    display = Display(sys.stderr)
    summary = run_workspace(workspace, options, display)
    if json:
        say_json(summary_json(summary))
    else:
        for line in summary_text(summary, workspace):
            say(line)
    return summary.exit_code


@app.command(name="status")
def status(watch: bool = False, json: bool = False) -> int:
    """Say what there is: subjects, states per stage, touched files, the ledger.

    $ headworks status
    $ headworks status --watch

    Args:
        watch: look on while a run is going on (from another terminal): progress, time left, cache
            hits.
        json: for machines.
    """
    from pipelines.show import status_json, status_text

    workspace = workspace_here()
    if watch:
        from pipelines.show import show_again
        from pipelines.watch import watch as look

        show_again(look(workspace.layout), sys.stdout)
    if json:
        say_json(status_json(workspace))
        return 0
    for line in status_text(workspace):
        say(line)
    return 0


@app.command(name="demo")
def demo(
    jobs: int = 0,
    orchestrator: Literal["prefect", "none"] = "prefect",
    json: bool = False,
) -> int:
    """Add the embedded subjects (a photo, a clip, a synthetic person) and run everything.

    $ headworks demo
    $ headworks demo --jobs 1 --orchestrator none

    Args:
        jobs: worker processes; 0 = one per CPU.
        orchestrator: supervise as a Prefect flow, or plainly.
        json: print the summary of the run for machines.
    """
    from pipelines.options import Options
    from pipelines.setup import add_demo, ensure_workspace

    workspace = workspace_here()
    ensure_workspace(workspace)
    for line in add_demo(workspace):
        if not json:
            say(line)
    return _run(workspace, Options(jobs=jobs, orchestrator=orchestrator), json)


def _guard(call: Callable[[], Any]) -> int:
    """Run a command; errors become one message, the traceback goes to a file."""
    try:
        return int(call() or 0)
    except HeadworksError as error:
        print(f"headworks: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        print("headworks: stopped; type: headworks run   to go on", file=sys.stderr)
        return 130
    except Exception as error:
        from pipelines.layout import Layout, find_root

        log = Layout(find_root()).hidden / "error.txt"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc())
            where = f"; the whole story is in {log}"
        except OSError:
            where = ""
        print(f"headworks: {type(error).__name__}: {error}{where}", file=sys.stderr)
        return 1


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `headworks`."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    # Plans are many small objects that all live to the end: looking for cycles costs a third.
    gc.set_threshold(200_000, 50, 50)
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        out = sys.stdout if arguments else sys.stderr
        code = _guard(lambda: print(app.overview(), file=out, flush=True))
        sys.exit(code if arguments else 2)
    sys.exit(_guard(lambda: app.parse(arguments)))


if __name__ == "__main__":
    main()
