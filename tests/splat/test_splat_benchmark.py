"""The benchmark measures what it says: same pictures as its peers, stages that add up, bars."""

from __future__ import annotations

import numba
import pytest
import torch

from benchmarks import raster_machine, raster_measure
from benchmarks.raster_bars import bars
from benchmarks.raster_peers import gsplat_reference
from headworks.splat import rasterization
from tests.splat_scenes import head


def test_peer_draws_the_same_picture():
    pytest.importorskip("gsplat")
    scene = head(300, 48)
    image, alpha = gsplat_reference(*scene, 48, 48)
    ours, our_alpha, _ = rasterization(*scene, 48, 48)
    for a, b in ((image, ours), (alpha, our_alpha)):
        assert (a - b).abs().mean() < 1e-6
        assert int(((a - b).abs() > 1e-4).sum()) <= 2


def test_row_of_the_benchmark_is_consistent(monkeypatch):
    monkeypatch.setattr(raster_measure, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(raster_measure, "MIN_REPEATS", 3)
    monkeypatch.setattr(raster_measure, "fma_gflops", lambda threads: 100.0)
    monkeypatch.setattr(raster_measure, "sgemm_gflops", lambda: 50.0)
    before = numba.get_num_threads(), torch.get_num_threads()
    try:
        row = raster_measure.measure("small", head(300, 48), (48, 48), 1, ["torch"])
        errors = raster_measure.parity(head(300, 48), (48, 48))
    finally:
        numba.set_num_threads(before[0])
        torch.set_num_threads(before[1])
    assert set(row["stages_ms"]) == {*raster_measure.STAGES.values(), "torch"}
    assert all(value > 0 for value in row["stages_ms"].values())
    # How times compare is no promise of a test: the machine may be busy.
    assert row["kernels_forward_min_ms"] > 0
    assert row["kernels_step_min_ms"] > 0
    assert 0 < row["composited_pairs"] <= row["ellipse_pairs"]
    assert 0 < row["visible"] <= row["list_entries"]
    pairs_per_ms = row["composited_pairs"] / row["step_min_ms"]
    assert row["gflops"] == pytest.approx(pairs_per_ms * (64 + 6 * 3) / 1e6)
    assert row["of_fma"] == pytest.approx(row["gflops"] / 100)
    faster = row["torch_step_min_ms"] / row["step_min_ms"]
    assert row["times_faster_than_torch"] == pytest.approx(faster)
    assert errors["means"] < 1e-4


def test_counted_pairs_are_those_of_one_gaussian():
    """A disc: alpha >= 1/255 within sqrt(2 ln(255 o)) sigma of the centre."""
    scene = head(1, 64)
    scene.means[:], scene.scales[:], scene.opacities[:] = 0.0, 0.15, 0.9
    found = raster_measure.problem(scene, (64, 64))
    sigma = (scene.Ks[0, 0, 0] * 0.15 / 4) ** 2 + 0.3
    area = torch.pi * 2 * torch.log(torch.tensor(255 * 0.9)) * sigma
    assert found["ellipse_pairs"] == pytest.approx(float(area), rel=0.02)
    assert found["composited_pairs"] == found["ellipse_pairs"]


def test_rate_of_multiply_adds_counts_what_is_computed():
    """Twelve chains in a second must not beat four billion cycles of two 16-wide units."""
    assert 0.1 < raster_machine.fma_gflops(1) < 4 * 2 * 2 * 16 * 2


def _row(scene: str, D: int, threads: int, ms: float, **more):
    row = {"scene": scene, "D": D, "threads": threads, "step_min_ms": ms, "noisy": False}
    row |= {"forward_min_ms": ms / 2, "of_sgemm": 0.2, "of_fma": 0.03, "l1_step_min_ms": ms}
    return row | {"l1_step_median_ms": 1.5 * ms, "autograd_overhead_ms": 0.5} | more


def test_bars_are_ratios_of_rows():
    rows = [
        _row("12k/256", 3, 1, 8.0, times_less_cpu_than_gsplat=30.0),
        _row("12k/256", 3, 2, 4.0, times_faster_than_gsplat=130.0, noisy=True),
        _row("12k/256", 32, 2, 40.0),
        _row("50k/512", 3, 1, 27.0),
        _row("50k/512", 3, 2, 18.0),
        _row("190k/512", 3, 2, 45.0),
    ]
    found = {bar.name.split()[0] + bar.name[-1:]: bar for bar in bars(rows, None, wide=True)}
    by = {name[:-1]: bar for name, bar in found.items() if not name.startswith("R16")}
    assert by["R1"].verdict() == "target (noisy)"
    assert by["R2"].verdict() == "floor"
    assert by["R3"].verdict() == "not run"
    assert by["R8"].value == pytest.approx(1e3 / 9.0)
    assert by["R10"].value == pytest.approx(10.0)
    assert by["R10"].verdict() == "BELOW (noisy)"
    assert by["R11"].value == pytest.approx(1.5)
    assert by["R12"].value == pytest.approx(1.5)
    assert by["R13"].value is None
    assert by["R17"].value == pytest.approx(2.5)
    assert by["R17"].verdict() == "target"
