"""Pages of the site that are made from the code: one per stage, examples, the API, navigation."""

from __future__ import annotations

import inspect
import sys
import tomllib
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import flow  # noqa: E402  (beside this file, which mkdocs loads by its path)

MORE = {
    "synthesis": "synthetic_people.md",
    "ingest": "captures.md",
    "matting": "matting.md",
    "tracking": "tracking.md",
    "reconstruct": "reconstruct.md",
    "expressions": "expressions.md",
    "prior": "gasp.md",
    "fit": "gasp.md",
    "directions": "driving.md",
    "gaussian_avatars": "baselines.md",
    "flash_avatar": "baselines.md",
    "evaluate": "report.md",
    "reenact": "report.md",
    "report": "report.md",
}
"""Stages with a page of their own by hand."""
NAV: list[Any] = [
    {"Start here": ["index.md", "concepts.md", "examples.md"]},
    {"Data": ["captures.md", "synthetic_people.md", "heads.md", "artifacts.md"]},
    {
        "Preparation": [
            "matting.md", "tracking.md", "reconstruct.md", "expressions.md",
        ]
    },
    {"Methods": ["gasp.md", "baselines.md", "rasteriser.md"]},
    {"Using avatars": ["driving.md", "exports.md", "web_avatar.md", "viewer.md", "report.md"]},
    {"Engine": ["engine.md", "cli.md", "deployment.md", "consent.md", "marking.md"]},
    {"Extend it": ["extend.md"]},
    {"Limits": ["limits.md"]},
]  # fmt: skip
API = {
    "splat": ["headworks.splat.api"],
    "mesh": ["headworks.mesh"],
    "heads": ["headworks.heads.base", "headworks.heads.checks"],
    "avatars": ["headworks.avatars.avatar", "headworks.avatars.views", "headworks.avatars.binding"],
    "gasp": ["headworks.avatars.gasp.prior", "headworks.avatars.gasp.fit"],
    "metrics": [
        "headworks.metrics.pixel", "headworks.metrics.ssim", "headworks.metrics.protocol",
        "headworks.metrics.aggregate",
    ],
    "artifacts": ["headworks.artifacts", "headworks.tracks", "headworks.cameras"],
    "stages": ["stages.contract"],
}  # fmt: skip


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Navigation: the pages that there are, then stages and the API."""
    docs = Path(config.docs_dir)
    nav = [
        {title: [p for p in pages if p == "examples.md" or (docs / p).exists()]}
        for part in NAV
        for title, pages in part.items()
    ]
    place = next(i for i, part in enumerate(nav) if "Methods" in part)
    pages = [f"methods/{name}.md" for name in methods()]
    nav[place] = {"Methods": ["methods/index.md", *pages, *nav[place]["Methods"]]}
    nav.append({"Stages": ["stages/index.md", *(f"stages/{s.name}.md" for s in _stages())]})
    nav.append({"API": [f"api/{name}.md" for name in API]})
    config.nav = [part for part in nav if next(iter(part.values()))]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages."""
    made = {"stages/index.md": _overview(), "examples.md": _examples()}
    made |= {f"stages/{stage.name}.md": _stage(stage, Path(config.docs_dir)) for stage in _stages()}
    made["methods/index.md"] = _method_list()
    made |= {f"methods/{name}.md": _method(name, said) for name, said in methods().items()}
    made |= {f"api/{name}.md": _api(name, modules) for name, modules in API.items()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def _stages() -> tuple[Any, ...]:
    from stages.registry import STAGES

    return STAGES


def methods() -> dict[str, Any]:
    """The table of methods."""
    return tomllib.loads((ROOT / "docs" / "methods" / "methods.toml").read_text(encoding="utf-8"))


def _method_list() -> str:
    lines = [
        "# Methods", "",
        "What is computed, from which publication, and by which stage. Each page has the flow of "
        "the data and says which function computes which equation.", "",
        "| method | source | stages |", "|---|---|---|",
    ]  # fmt: skip
    for name, said in methods().items():
        stages = ", ".join(f"[{s}](../stages/{s}.md)" for s in said["stages"]) or "(a library)"
        lines.append(f"| [{said['title']}]({name}.md) | {said['source']} | {stages} |")
    return "\n".join(lines) + "\n"


def _method(name: str, said: dict[str, Any]) -> str:
    more = said["more"]
    lines = [
        f"# {said['title']}", "", f"*{said['source']}*", "", said["about"], "",
        f"<style>{flow.STYLE}</style>", "",
        flow.drawing(said["title"], said["flow"], said["arrows"]), "",
        "Dashed: what comes in. Thick: what comes out.", "",
        "## Which equation is where", "", "| equation | computed by |", "|---|---|",
    ]  # fmt: skip
    for what, where, file, names in said["equations"]:
        listed = ", ".join(f"`{n}`" for n in names.split())
        told = escape(what, quote=False)
        for letter in "\\|_*":
            told = told.replace(letter, "\\" + letter)
        lines.append(f"| {told}<br>*{where}* | `{file}`<br>{listed} |")
    stages = ", ".join(f"[{s}](../stages/{s}.md)" for s in said["stages"])
    title = (ROOT / "docs" / more).read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")
    lines += ["", "## More", "", f"- Choices, measurements, limits: [{title}](../{more})"]
    if stages:
        lines.append(f"- Every number of it: {stages}")
    return "\n".join(lines) + "\n"


def _overview() -> str:
    lines = [
        "# Stages", "",
        "In the order of the method. One per line: what it reads, and whether it runs once per "
        "subject or once for all.", "",
        "| stage | reads | runs once per | does |", "|---|---|---|---|",
    ]  # fmt: skip
    for stage in _stages():
        reads = ", ".join(
            f"{i.role}{_whose(i)}{' (if any)' if i.optional else ''}" for i in stage.inputs
        )
        does = _first_line(stage)
        lines.append(f"| [{stage.name}]({stage.name}.md) | {reads} | {stage.scope} | {does} |")
    return "\n".join(lines) + "\n"


def _whose(wanted: Any) -> str:
    if wanted.collect:
        return " of all"
    return f" of it and {wanted.peers} others" if wanted.peers else ""


def _first_line(stage: Any) -> str:
    import importlib

    return (inspect.getdoc(importlib.import_module(stage.module)) or "").split("\n")[0]


def _stage(stage: Any, docs: Path) -> str:
    import importlib

    module = importlib.import_module(stage.module)
    about = inspect.getdoc(module) or ""
    flow = " + ".join(i.role + ("*" if i.gathers else "") for i in stage.inputs)
    uses = [s.name for s in _stages() if any(i.role == stage.name for i in s.inputs)]
    lines = [
        f"# {stage.name}",
        "",
        about,
        "",
        f"    {flow}  ->  **{stage.name}**".replace("**", ""),
    ]
    if uses:
        lines[-1] += f"  ->  {', '.join(uses)}"
    if any(i.collect for i in stage.inputs):
        lines += ["", "`*` of all subjects."]
    lines += ["", *(f"`*` of it and {i.peers} others." for i in stage.inputs if i.peers)]
    file = module.__file__ or ""
    lines += [
        "",
        f"Code: `{Path(file).relative_to(ROOT)}`. Kinds: {', '.join(sorted(stage.kinds))}.",
    ]
    more = MORE.get(stage.name)
    if more and (docs / more).exists():
        lines += ["", f"How it works: [{Path(more).stem.replace('_', ' ')}](../{more}). What it "
                  "writes: [artifacts](../artifacts.md)."]  # fmt: skip
    lines += ["", "## Numbers", "", f"Section `{stage.name}` of `params.yaml`.", "",
              "| key | default | meaning |", "|---|---|---|"]  # fmt: skip
    for name, field in stage.params_class().model_fields.items():
        about = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | `{field.default!r}` | {about} |")
    return "\n".join(lines) + "\n"


def _examples() -> str:
    text = (ROOT / "examples" / "README.md").read_text()
    parts = [text.replace("(0", "(#0").replace(".py)", ")")]
    for path in sorted((ROOT / "examples").glob("[0-9]*.py")):
        parts.append(f"\n## {path.stem} {{#{path.stem}}}\n\n```python\n{path.read_text()}```\n")
    return "".join(parts)


def _api(name: str, modules: list[str]) -> str:
    return f"# {name}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"
