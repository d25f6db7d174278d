"""GASP: Gaussian Avatars with Synthetic Priors (CVPR 2025).

`decoder` the auto-decoder, `prior` its training, `fit` a subject's three stages, `unseen` what no
picture shows, `file` the prior on disk. Import the part that you need: whoever trains the prior
does not depend on the code that fits.
"""
