"""Fixtures of the rasteriser's tests."""

from __future__ import annotations

import pytest
import torch

from headworks.splat.cpu import frame


@pytest.fixture(autouse=True)
def one_torch_thread():
    """The reference's small tensors only lose by sharing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["explicit", "auto"])
def simd(request, monkeypatch):
    """Both kinds of kernels: explicit vectors, and the twin that LLVM vectorises."""
    monkeypatch.setattr(frame, "SIMD", request.param)
    return request.param
