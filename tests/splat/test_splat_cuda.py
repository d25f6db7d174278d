"""gsplat on a CUDA device against our kernels; and that the comparison notices what is wrong."""

from __future__ import annotations

import pytest
import torch

from benchmarks import raster_cuda
from tests.splat_scenes import head


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device for gsplat")
@pytest.mark.parametrize("name", list(raster_cuda.cases()))
def test_gsplat_on_cuda_equals_the_cpu(name):
    scene, width, height, options = raster_cuda.cases()[name]
    errors = raster_cuda.compare(scene, width, height, options)
    assert errors["good"], errors


def test_comparison_of_devices_accepts_equal_and_notices_other_images(monkeypatch):
    scene, options = head(200, 32), {"absgrad": True, "render_mode": "RGB+ED"}
    assert raster_cuda.compare(scene, 32, 32, options, device="cpu")["good"]
    original, calls = raster_cuda.rasterization, []

    def other(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs, eps2d=0.3 if len(calls) == 1 else 0.31)

    monkeypatch.setattr(raster_cuda, "rasterization", other)
    assert not raster_cuda.compare(scene, 32, 32, options, device="cpu")["good"]


def test_script_says_that_there_is_no_device(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["raster_cuda.py"])
    assert raster_cuda.main() == 2
    assert "no CUDA device" in capsys.readouterr().out
