"""Commands that look after a workspace: doctor, gc."""

from __future__ import annotations

from headworks.errors import HeadworksError
from pipelines.console import app, say, say_json, workspace_here


@app.command(name="doctor")
def doctor(mend: bool = False, json: bool = False) -> int:
    """Check versions, disk, cache, ledger and weights, and say what to do.

    $ headworks doctor
    $ headworks doctor --mend

    Args:
        mend: mend what can be mended without computing: ledger, cache, published folders.
        json: for machines.
    """
    from pipelines.doctor import checks, mend_all

    workspace = workspace_here()
    if mend:
        lines = mend_all(workspace)
        if json:
            say_json(lines)
            return 0
        for line in lines:
            say(line)
        say("next: headworks run   (computes what could not be mended)")
        return 0
    found = checks(workspace)
    if json:
        say_json([{"level": level, "what": what, "text": text} for level, what, text in found])
    else:
        for level, what, text in found:
            say(f"{level:5} {what:12} {text}")
        bad = any(level == "fail" for level, _, _ in found)
        say("next: mend what is marked fail" if bad else "next: headworks run")
    return 1 if any(level == "fail" for level, _, _ in found) else 0


@app.command(name="gc")
def gc(keep_days: float = 30.0, yes: bool = False, json: bool = False) -> int:
    """List stored results that nothing refers to; with --yes remove them.

    $ headworks gc
    $ headworks gc --keep-days 7 --yes

    Args:
        keep_days: results of other recipes (earlier params or code) stay that many days.
        yes: do it; without it nothing changes.
        json: for machines.
    """
    from pipelines.gc import collect, find_garbage

    if keep_days < 0:
        raise HeadworksError("--keep-days: 0 or more")
    workspace = workspace_here()
    workspace.layout.require()
    found = collect(workspace, keep_days) if yes else find_garbage(workspace, keep_days)
    if json:
        say_json({**vars(found), "bytes": found.bytes, "removed": yes})
        return 0
    verb = "removed" if yes else "would remove"
    say(f"{verb} {len(found.objects)} objects, {found.bytes / 1e6:.1f} MB; {found.kept} stay")
    if found.results:
        say(f"{len(found.results)} results of earlier recipes would be computed again when wanted")
    if found.young:
        say(f"{found.young} objects are younger than a day and stay for now")
    say("next: headworks gc --yes" if found.objects and not yes else "next: headworks status")
    return 0
