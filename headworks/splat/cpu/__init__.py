"""The CPU backend: Numba kernels for projection, binning, blending and their gradients."""
