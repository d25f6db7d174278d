"""The bars of the rasteriser, computed from the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import Any, NamedTuple

Row = dict[str, Any]


class Bar(NamedTuple):
    """Attributes: name: what it is about. value: measured, None = not in this run. target, floor:
    to reach, and to hold. at_most: whether less is better. noisy: a row behind it is."""

    name: str
    value: float | None
    target: float
    floor: float
    at_most: bool
    noisy: bool

    def verdict(self) -> str:
        """target, floor, below the floor; nothing where there is no value."""
        if self.value is None:
            return "not run"
        sign = -1 if self.at_most else 1
        good = sign * self.value >= sign * self.target
        fair = sign * self.value >= sign * self.floor
        return ("target" if good else "floor" if fair else "BELOW") + " (noisy)" * self.noisy


def bars(rows: list[Row], compiled: dict[str, dict[str, float]] | None, wide: bool) -> list[Bar]:
    """All bars that the rows of one run allow.

    Args:
        rows: of `raster_measure.measure`. compiled: of `raster_machine.compile_times`.
        wide: whether the processor has AVX-512, which has other targets.
    """
    by = {(row["scene"], row["D"], row["threads"]): row for row in rows}
    most = max(row["threads"] for row in rows)

    def get(scene: str, D: int = 3, threads: int = most) -> Row | None:
        return by.get((scene, D, threads))

    def value(row: Row | None, key: str) -> float | None:
        return row.get(key) if row else None

    def over(a: Row | None, b: Row | None) -> float | None:
        return a["step_min_ms"] / b["step_min_ms"] if a and b else None

    def known(values: Iterable[float | None]) -> list[float]:
        return [v for v in values if v is not None]

    def fps(row: Row | None) -> float | None:
        return 1e3 / row["forward_min_ms"] if row else None

    middle, large, small, huge = (get(s) for s in ("12k/256", "50k/512", "3k/128", "190k/512"))
    garden = get("garden")
    one = get("12k/256", threads=1)
    rated = [row for row in (middle, large, garden) if row]
    deeper = known(over(get(s, 32), get(s)) for s in ("12k/256", "50k/512"))
    shared = [] if most == 1 else known(
        over(get(s, threads=1), get(s)) for s in ("12k/256", "50k/512")
    )  # fmt: skip

    def bar(
        name: str, found: float | None, target: float, floor: float, *used: Row | None,
        at_most: bool = False,
    ) -> Bar:  # fmt: skip
        noisy = any(row["noisy"] for row in used if row)
        return Bar(name, found, target, floor, at_most, noisy)

    t = f"{most} threads"
    return [
        bar(f"R1 12k/256 step over gsplat's torch path, {t}",
            value(middle, "times_faster_than_gsplat"), 120 if wide else 75, 50, middle),
        bar("R2 the same, CPU time of 1 thread",
            value(one, "times_less_cpu_than_gsplat"), 70 if wide else 40, 25, one),
        bar(f"R3 garden step over gsplat's torch path, {t}",
            value(garden, "times_faster_than_gsplat"), 250, 100, garden),
        bar(f"R4 12k/256 step over a tiled torch loop, {t}",
            value(middle, "times_faster_than_torch"), 70, 30, middle),
        bar(f"R6 GFLOP/s over sgemm, mean of {len(rated)} scenes, {t}",
            mean(row["of_sgemm"] for row in rated) if rated else None,
            0.14 if wide else 0.08, 0.05, *rated),
        bar("R7 fraction of the FMA rate, same scenes",
            mean(row["of_fma"] for row in rated) if rated else None, 0.05, 0.025, *rated),
        bar(f"R8 50k/512 images per second, {t}", fps(large), 100 if wide else 65, 45, large),
        bar(f"R9 12k/256 images per second, {t}", fps(middle), 450 if wide else 300, 200, middle),
        bar("R10 D = 32 over D = 3, larger of 12k/256, 50k/512",
            max(deeper, default=None), 3.2, 5, middle, large, at_most=True),
        bar(f"R11 1 thread over {t}, smaller of 12k/256, 50k/512",
            min(shared, default=None), 1.7, 1.45, middle, large),
        bar("R12 12k/256 step with L1 loss, median over minimum",
            middle and middle["l1_step_median_ms"] / middle["l1_step_min_ms"], 1.4, 2, middle,
            at_most=True),
        bar("R13 3k/128 step above its kernels, ms",
            value(small, "autograd_overhead_ms"), 0.8, 2, small, at_most=True),
        bar("R16 warm start to the first image, s",
            compiled and compiled["warm"]["import_s"] + compiled["warm"]["image_s"], 3, 6,
            at_most=True),
        bar("R16 cold compile of forward and backward, s",
            compiled and compiled["cold"]["image_s"] + compiled["cold"]["backward_s"], 30, 60,
            at_most=True),
        bar(f"R17 190k/512 over 50k/512, {t}", over(huge, large), 3, 5, huge, large, at_most=True),
    ]  # fmt: skip
