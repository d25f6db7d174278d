"""Commands about sharing, accepting and forgetting: push, pull, accept, forget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from pipelines.console import app, say, say_json, workspace_here

if TYPE_CHECKING:
    from pipelines.remote import Moved

Positional = tyro.conf.Positional


@app.command(name="push")
def push(
    remote: Annotated[str | None, Positional] = None, all: bool = False, json: bool = False
) -> int:
    """Bring results, raw captures and ledger to a DVC remote (folder, S3, GCS, SSH, ...).

    $ headworks push
    $ headworks push lab --all

    Args:
        remote: its name; DVC's default remote if not given.
        all: results of all recipes, not only those that subjects rely on now.
        json: for machines.
    """
    from pipelines.remote import push as push_to

    return _tell(push_to(workspace_here(), remote, all), "pushed", json)


@app.command(name="pull")
def pull(
    remote: Annotated[str | None, Positional] = None, all: bool = False, json: bool = False
) -> int:
    """Fetch ledger, raw captures and results from a DVC remote; `run` then has nothing to do.

    $ headworks pull
    $ headworks pull lab

    Args:
        remote: its name; DVC's default remote if not given.
        all: results of all recipes, not only those that subjects rely on.
        json: for machines.
    """
    from pipelines.remote import pull as pull_from

    return _tell(pull_from(workspace_here(), remote, all), "pulled", json)


def _tell(moved: Moved, verb: str, json: bool) -> int:
    if json:
        say_json(vars(moved))
        return 0
    line = f"{verb} {moved.objects} objects, {moved.events} new events"
    if moved.subjects:
        line += f", captures of {', '.join(moved.subjects)}"
    if moved.published:
        line += f"; published {moved.published} results"
    say(line)
    for note in moved.notes:
        say(f"note: {note}")
    say("next: headworks plan" if verb == "pulled" else "next: headworks pull   (elsewhere)")
    return 0


@app.command(name="accept")
def accept(stage: Annotated[str, Positional], reason: str | None = None, json: bool = False) -> int:
    """Keep a stage's results although its code changed: you vouch that it gives the same.

    $ headworks accept tracking --reason 'renamed a variable'

    Args:
        stage: which.
        reason: why, in words; kept in the ledger with your name and the time.
        json: for machines.
    """
    from pipelines.accept import accept as accept_code

    told = accept_code(workspace_here(), stage, reason)
    if json:
        say_json(told)
        return 0
    say(f"{stage}: code {told['code'][:12]} counts as {told['as'][:12]}, says {told['who']}")
    say(f"{told['results']} results are kept")
    if told["others"]:
        say(f"{told['others']} results are of still other code and stay stale")
    say("next: headworks plan")
    return 0


@app.command(name="forget")
def forget(
    subject: Annotated[str, Positional],
    remote: tuple[str, ...] = (),
    yes: bool = False,
    json: bool = False,
) -> int:
    """Withdraw a person: list, then purge the capture and all that descends from it.

    $ headworks forget me
    $ headworks forget me --remote lab --yes

    Args:
        subject: name.
        remote: name of a DVC remote, or URL of a storage, to purge, too (may be repeated).
        yes: do it; without it the list is printed and nothing changes.
        json: for machines.
    """
    from pipelines.afar import storages
    from pipelines.forget import forget as forget_subject
    from pipelines.forget import plan_forget
    from pipelines.remote import remote_names

    workspace = workspace_here()
    if yes:
        told = forget_subject(workspace, subject, remote)
        if json:
            say_json(told)
            return 0
        say(f"gone: {told['results']} results, {told['objects']} objects")
        for name, count in told["at_remotes"].items():
            say(f"gone at {name}: {count} objects")
        for line in _prefect(told["at_prefect"], "gone"):
            say(line)
        say(f"withdrawn: {told['withdrawn']} results of the whole data set (priors, reports)")
        if told["copies_left"]:
            say(
                f"still here: {told['copies_left']} exported files of it, as the listing named them"
            )
        say(f"remains to be done elsewhere: {told['remaining']}")
        say(f"certificate: .headworks/forgotten/{told['id']}.json")
        say("next: headworks run   (trains again without)")
        return 0
    body = plan_forget(workspace, subject, remote)
    if json:
        say_json(body)
        return 0
    say(f"{subject}: {len(body['captures'])} captures, {len(body['results'])} results of recipes")
    for unit in body["units"]:
        say(f"  data/{unit}")
    say(
        f"{len(body['objects'])} objects would go ({body['shared']} are needed by others and "
        f"stay), {len(body['withdrawn'])} results of the whole data set would be withdrawn"
    )
    if body.get("clips"):
        say("tracked driving clips would go, all of them: they may show anybody")
    for line in _prefect(body.get("prefect"), "would go"):
        say(line)
    for path in body.get("copies", ()):
        say(f"  {path}: exported from it; yours to remove (it is not touched)")
    if body["twins"]:
        say(f"the same bytes came as {', '.join(body['twins'])}: what rests on those stays")
    known = [*remote_names(workspace.layout), *storages(workspace.layout)]
    others = [name for name in known if name not in remote]
    if others:
        say(f"NOT named, and what was pushed there would stay there: {', '.join(others)}")
    named = " ".join(f"--remote {name}" for name in remote)
    say(f"remotes: {', '.join(remote) or 'none named; name each with --remote NAME'}")
    say(f"next: headworks forget {subject} {named} --yes".replace("  ", " "))
    return 0


def _prefect(told: Mapping[str, Any] | None, what: str) -> Iterator[str]:
    """What becomes of a Prefect server's pictures, for people."""
    if told is None:
        return
    if not told["answers"]:
        yield (
            f"{told['server']}: this Prefect server does NOT answer; pictures of earlier runs may "
            "be there and would stay: start it and forget then"
        )
        return
    count = told["deleted"] if "deleted" in told else len(told["artifacts"])
    yield f"{what} at {told['server']}: {count} artifacts (pictures, tables)"
