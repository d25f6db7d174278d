"""Differentiable Gaussian rasterisation: one function, three backends (gsplat, CPU, reference)."""

from headworks.splat.api import rasterization, render

__all__ = ["rasterization", "render"]
