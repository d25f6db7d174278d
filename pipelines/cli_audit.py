"""Commands that ask where things came from and whether they are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from headworks.errors import HeadworksError
from pipelines.console import app, say, say_json, workspace_here

Positional = tyro.conf.Positional


@app.command(name="audit")
def audit(
    target: Annotated[str | None, Positional] = None,
    uses: str | None = None,
    html: Path | None = None,
    json: bool = False,
) -> int:
    """Print the tree of what made something; or, with --uses, all that was made of it.

    $ headworks audit fit/me
    $ headworks audit out.mp4 --html lineage.html
    $ headworks audit --uses me

    Args:
        target: data/STAGE/SUBJECT, STAGE/SUBJECT, a subject's name, the beginning of a digest, or
            a file that came from here (it is asked for its digest, else known by its bytes).
        uses: subject, file or digest: list every result that descends from it.
        html: write an interactive graph to this file.
        json: for machines.
    """
    from pipelines.audit import audit_text, audit_tree

    workspace = workspace_here()
    if uses is not None:
        from pipelines.uses import uses as uses_of
        from pipelines.uses import uses_text

        found = uses_of(workspace, uses)
        if json:
            say_json(found)
            return 0
        for line in uses_text(found):
            say(line)
        return 0
    if target is None:
        raise HeadworksError("audit: name a result, subject, digest or file; or --uses SUBJECT")
    tree = audit_tree(workspace, target)
    if html is not None:
        from pipelines.audit_page import audit_page

        html.write_text(audit_page(tree), encoding="utf-8")
        say(f"next: open {html}")
        return 0
    if json:
        say_json(tree)
        return 0
    for line in audit_text(tree):
        say(line)
    return 0


@app.command(name="card")
def card(
    target: Annotated[str, Positional],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    json: bool = False,
) -> int:
    """Print the model card of a prior or an avatar: data, consent, people, metrics, limits.

    $ headworks card me
    $ headworks card prior/all -o prior.md

    `headworks run` writes the same to reports/cards/.

    Args:
        target: a subject (its fit), STAGE/SUBJECT, a digest, or a file of one.
        output: file to write to instead.
        json: for machines.
    """
    from json import dumps

    from pipelines.cards import card as card_of
    from pipelines.cards import card_text

    told = card_of(workspace_here(), target)
    if output is not None:
        text = dumps(told, indent=1, sort_keys=True) + "\n" if json else card_text(told)
        output.write_text(text, encoding="utf-8")
        if not json:
            say(f"wrote {output}")
        return 0
    if json:
        say_json(told)
    else:
        say(card_text(told))
    return 0


@app.command(name="diff")
def diff(
    first: Annotated[str, Positional], second: Annotated[str, Positional], json: bool = False
) -> int:
    """Say why two results differ: data, params, code or environment, at any step behind them.

    $ headworks diff fit/me fit/demo_clip

    Args:
        first: a result, as for audit.
        second: another.
        json: for machines.
    """
    from pipelines.compare import compare, compare_text

    found = compare(workspace_here(), first, second)
    if json:
        say_json(found)
        return 0
    for line in compare_text(found):
        say(line)
    return 0


@app.command(name="verify")
def verify(all: bool = False, sample: float = 1.0, json: bool = False) -> int:
    """Read and hash everything that is stored: prove it whole, or name the damage (exit code 6).

    $ headworks verify
    $ headworks verify --all --sample 0.1

    Args:
        all: results of all recipes, not only those that subjects rely on now.
        sample: fraction of the results to look at.
        json: for machines.
    """
    from pipelines.options import EXIT_DAMAGE
    from pipelines.verify import as_json, verify_text
    from pipelines.verify import verify as verify_all

    if not 0.0 < sample <= 1.0:
        raise HeadworksError("--sample: more than 0, at most 1")
    workspace = workspace_here()
    workspace.layout.require()
    report = verify_all(workspace, all, sample)
    if json:
        say_json(as_json(report))
    else:
        for line in verify_text(report):
            say(line)
    return EXIT_DAMAGE if report.damage else 0
