"""Metrics, each with its exact protocol.

ssim       SSIM as reported, SSIM as trained (3DGS), MS-SSIM: torch, differentiable
pixel      PSNR, SSIM family on NumPy images, alpha errors, flicker
flip       FLIP error maps
identity   FD, distance of dlib's 128-d face encodings
protocol   quantisation, background, scopes, named scores with reasons
aggregate  means over frames, sequences and subjects; bootstrap intervals
study      results of a study of several methods, as files
"""
