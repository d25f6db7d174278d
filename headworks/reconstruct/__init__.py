"""Cameras, points and normals of a head from the pictures of several cameras.

features: SIFT inside the mattes. calibration: cameras from features. alignment: metres and axes.
sparse: features to points. stereo, fusion: dense points on the CPU. patch_match: COLMAP's on CUDA.
clouds: what comes out.
"""
