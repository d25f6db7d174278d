"""The tables of `benchmarks/gasp.py`: differences with intervals, trends, means."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from gasp_cells import Fit, Name, Prior, Study, prior_file, result_file
from gasp_page import write_page
from gasp_people import GROUPS, SETTINGS, Setting

from headworks.metrics.aggregate import Comparison, bootstrap_interval, paired_bootstrap
from headworks.metrics.study import FILE, SCHEMA

COUNTS = (4, 16, 64)
UV_SIZES = (32, 64, 128)
MAIN_UV = 64
FLAT = 0.02
"""A loss whose mean over the last tenth of the steps fell by less than this share is flat."""
BASELINES = ("gaussian_avatars", "flash_avatar")
ABLATIONS = ("no_prior", "no_stage1", "no_stage3", "no_regulariser", "no_stage2")
ABLATED: tuple[Setting, ...] = ("photo", "monocular")


EXTREME, UNSEEN = ("extreme",), ("side", "back")
OFF_VIEW = (*EXTREME, *UNSEEN)


@dataclass(frozen=True)
class Bar:
    """One line of the issue's table: variant minus reference, on average over the people.

    Attributes:
        what: in words. paper: its difference. better, worse: (variant, prior) pairs.
        least: bar on better - worse; None: reported only. certain: the interval excludes 0.
    """

    what: str
    paper: str
    setting: Setting
    groups: tuple[str, ...]
    better: tuple[str, Prior | None]
    worse: tuple[str, Prior | None]
    least: float | None
    certain: bool = False
    metric: str = "psnr_full"


def bars(main: Prior) -> list[Bar]:
    """The comparisons, with the differences that the paper printed (GASP, tables 1 to 3)."""
    full = ("full", main)
    ga, fa, mesh = (("gaussian_avatars", None), ("flash_avatar", None), ("textured_mesh", None))
    none = ("no_prior", main)
    lines = [
        Bar("photo, extreme views: over GaussianAvatars", "+5.9", "photo", EXTREME, full, ga, 3),
        Bar("photo, extreme views: over FlashAvatar", "+7.5", "photo", EXTREME, full, fa, 3),
        Bar("clip, extreme views: over GaussianAvatars", "+3.9", "monocular", EXTREME, full, ga, 2),
        Bar("clip, extreme views: over FlashAvatar", "+4.1", "monocular", EXTREME, full, fa, None),
        Bar("rig: against GaussianAvatars", "-0.3", "multiview", EXTREME, full, ga, -1),
        Bar("rig: against FlashAvatar", "-1.3", "multiview", EXTREME, full, fa, None),
        Bar("photo, side and back: prior over none", "better", "photo", UNSEEN, full, none, 5),
        Bar(
            "clip, side and back: prior over none", "better", "monocular", UNSEEN, full, none, None
        ),
    ]
    for setting, word in (("photo", "photo"), ("monocular", "clip")):
        for part, variant, groups, paper, least in (
            ("stage 1, unseen views", "no_stage1", OFF_VIEW, "+1.1", 1),
            ("stage 3, training view", "no_stage3", ("train",), "better", 1),
            ("stage 2, unseen views", "no_stage2", OFF_VIEW, "+0.3", None),
            ("the regulariser, unseen views", "no_regulariser", OFF_VIEW, "+0.4", None),
        ):
            what = f"{word}: with {part}"
            without = (variant, main)
            lines.append(Bar(what, paper, setting, groups, full, without, least, least is not None))
    for name, other in (("GaussianAvatars", ga), ("FlashAvatar", fa), ("a textured mesh", mesh)):
        what = f"photo, back of the head: FLIP below {name}'s"
        lines.append(Bar(what, "-", "photo", ("back",), other, full, 0, metric="flip_full"))
    return lines


def report(study: Study, subjects: list[Name], priors: list[Prior], fits: list[Fit]) -> int:
    """Print and write what there is.

    Returns:
        1 when a bar is not met, 3 when cells of a bar are missing, else 0.
    """
    found: dict[str, dict[str, Any]] = {}
    for cell in fits:
        path = result_file(cell, study)
        if path.exists():
            found[cell.name] = {
                **json.loads(path.read_text()),
                "picture": str(path.with_suffix(".png").relative_to(study.folder)),
                "sha256": sha256(path.with_suffix(".png").read_bytes()).hexdigest(),
                "cell": cell,
            }
    lines, status = [], 0
    main = priors[0]
    print(f"\n{'comparison':58s} {'paper':>9s} {'here':>7s}  {'95 %':>16s} {'bar':>6s}  people")
    for bar in bars(main):
        outcome = compare(bar, subjects, found)
        line: dict[str, Any] = {"what": bar.what, "paper": bar.paper, "bar": bar.least}
        if outcome is None:
            if bar.least is not None and any(f.setting == bar.setting for f in fits):
                status = max(status, 3)
            print(f"{bar.what:58s} {bar.paper:>9s} {'not run':>7s}")
            lines.append({**line, "met": None})
            continue
        difference, count = outcome
        sure = difference.low is not None and difference.low > 0
        met = None
        if bar.least is not None:
            met = difference.mean >= bar.least and (sure or not bar.certain)
            status = max(status, 0 if met else 1)
        digits = 3 if bar.metric.startswith("flip") else 2
        span = (
            f"{difference.low:.{digits}f} to {difference.high:.{digits}f}"
            if difference.low is not None else "-"
        )  # fmt: skip
        least = "-" if bar.least is None else f"{bar.least:g}"
        word = {None: "", True: "met", False: "MISSED"}[met]
        print(f"{bar.what:58s} {bar.paper:>9s} {difference.mean:>+7.{digits}f}  {span:>16s} "
              f"{least:>6s}  {count} {word}")  # fmt: skip
        lines.append({**line, "mean": difference.mean, "low": difference.low,
                      "high": difference.high, "people": count, "met": met})  # fmt: skip
    trends = print_trends(study, subjects, priors, found)
    table = print_scores(subjects, main, found)
    for trend in trends:
        status = max(status, 0 if trend["monotone"] and trend["flat"] else 1)
    facts = {
        "schema": SCHEMA, "lines": lines, "trends": trends, "scores": table,
        "cells": len(found), "of": len(fits), "pictures": pictures(found),
        "priors": [
            json.loads(prior_file(p, study).with_suffix(".json").read_text()) | {"name": p.name}
            for p in priors if prior_file(p, study).exists()
        ],
    }  # fmt: skip
    study.folder.mkdir(parents=True, exist_ok=True)
    (study.folder / FILE).write_text(json.dumps(facts, indent=1) + "\n")
    write_page(study.folder / "index.html", facts, subjects, main.name)
    print(f"\n{len(found)} of {len(fits)} fits; pictures: {study.folder / 'index.html'}")
    return status


def pictures(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What there is to look at: truth above, avatar below, a column per group of views."""
    out = []
    for r in found.values():
        cell: Fit = r["cell"]
        out.append(
            {
                "person": str(cell.subject),
                "setting": cell.setting,
                "variant": cell.variant,
                "prior": cell.prior.name if cell.prior else None,
                "file": r["picture"],
                "sha256": r["sha256"],
                "groups": [g for g in ("train", *GROUPS) if g in r["scores"]],
                "psnr": {group: s["psnr_full"] for group, s in r["scores"].items()},
                "flip": {group: s["flip_full"] for group, s in r["scores"].items()},
            }
        )
    return out


def compare(
    bar: Bar, subjects: list[Name], found: dict[str, dict[str, Any]]
) -> tuple[Comparison, int] | None:
    """Paired difference over the people for whom both cells are done.

    Groups of views that a capture has not (NeRSemble shows nobody from behind) do not count.
    """
    pairs = []
    for subject in subjects:
        names = [Fit(subject, bar.setting, *side).name for side in (bar.better, bar.worse)]
        if any(name not in found for name in names):
            continue
        scores = [found[name]["scores"] for name in names]
        groups = [g for g in bar.groups if all(g in s for s in scores)]
        if groups:
            pairs.append([sum(s[g][bar.metric] for g in groups) / len(groups) for s in scores])
    if not pairs:
        return None
    first, second = zip(*pairs, strict=True)
    return paired_bootstrap(first, second), len(pairs)


def print_trends(
    study: Study, subjects: list[Name], priors: list[Prior], found: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """More people, finer UV maps: means over the people, in each setting."""
    main = priors[0]
    same_map = [p for p in priors if p.uv_size == main.uv_size]
    families = {
        "people": sorted(same_map, key=lambda p: len(p.people)),
        "UV": sorted((p for p in priors if p.people == main.people), key=lambda p: p.uv_size),
    }
    out = []
    for family, members in families.items():
        if len(members) < 2:
            continue
        for setting in ABLATED:
            means = []
            for prior in members:
                cells = [Fit(s, setting, "full", prior).name for s in subjects]
                scores = [found[c]["scores"] for c in cells if c in found]
                shown = [g for g in OFF_VIEW if all(g in s for s in scores)]
                if len(scores) == len(subjects):
                    means.append({
                        metric: sum(
                            sum(s[g][metric] for g in shown) / len(shown)
                            for s in scores
                        ) / len(scores)
                        for metric in ("psnr_full", "ssim_full", "flip_full")
                    })  # fmt: skip
            if len(means) < len(members):
                continue
            psnr = [m["psnr_full"] for m in means]
            monotone = all(a <= b for a, b in itertools.pairwise(psnr))
            sizes = [len(p.people) if family == "people" else p.uv_size for p in members]
            told = ", ".join(
                f"{size}: {m['psnr_full']:.2f} dB, SSIM {m['ssim_full']:.4f}, "
                f"FLIP {m['flip_full']:.4f}"
                for size, m in zip(sizes, means)
            )
            falls = [_fall(prior, study) for prior in members]
            flat = all(fall is not None and fall < FLAT for fall in falls)
            word = "monotone" if monotone else "NOT MONOTONE"
            word += ", losses flat" if flat else ", LOSSES NOT FLAT"
            print(f"{family} ({setting}, unseen views): {told}: {word}")
            out.append({"family": family, "setting": setting, "sizes": sizes, "means": means,
                        "monotone": monotone, "falls": falls, "flat": flat})  # fmt: skip
    return out


def _fall(prior: Prior, study: Study) -> float | None:
    """By which share a prior's loss still fell at the end; None where nobody noted it."""
    facts = json.loads(prior_file(prior, study).with_suffix(".json").read_text())
    fall = facts.get("fall_at_end")
    return None if fall is None else float(fall)


def print_scores(
    subjects: list[Name], main: Prior, found: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Means of every variant, by setting and group of views."""
    variants = ["full", *BASELINES, "textured_mesh", "painted", *ABLATIONS]
    rows = []
    print(
        f"\n{'PSNR, dB':28s}" + "".join(f"{g:>18s}" for g in ("train", "extreme", "side", "back"))
    )
    for setting in SETTINGS:
        for variant in variants:
            prior = None if variant in (*BASELINES, "textured_mesh") else main
            cells = [Fit(s, setting, variant, prior).name for s in subjects]
            scores = [found[c] for c in cells if c in found]
            if not scores:
                continue
            row: dict[str, Any] = {"setting": setting, "variant": variant, "people": len(scores)}
            text = f"{setting:11s}{variant:17s}"
            for group in ("train", "front", "extreme", "side", "back"):
                if any(group not in s["scores"] for s in scores):
                    continue
                interval = bootstrap_interval([s["scores"][group]["psnr_full"] for s in scores])
                row[group] = {
                    k: sum(s["scores"][group][k] for s in scores) / len(scores)
                    for k in scores[0]["scores"][group]
                } | {"low": interval.low, "high": interval.high}
                if group != "front":
                    half = (
                        ""
                        if interval.low is None or interval.high is None
                        else (f" ±{(interval.high - interval.low) / 2:.2f}")
                    )
                    text += f"{interval.mean:>12.2f}{half:6s}"
            row["seconds"] = sum(s["seconds"] for s in scores) / len(scores)
            print(text + f"  {row['seconds']:.0f} s")
            rows.append(row)
    return rows
