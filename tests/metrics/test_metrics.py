"""Metrics hold the published golden numbers and the properties that make them metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.metrics import pixel
from headworks.metrics import ssim as torch_ssim
from headworks.metrics.flip import flip_map
from headworks.metrics.identity import face_distance, face_encoding
from headworks.metrics.protocol import displayed, face_mask, identity_score, image_scores

SIDE = 256
Y, X, C = np.meshgrid(np.arange(SIDE), np.arange(SIDE), np.arange(3), indexing="ij")
A = 0.5 + 0.4 * np.sin(2 * np.pi * ((3 + C) * X / SIDE + (2 + 2 * C) * Y / SIDE)) * np.cos(
    2 * np.pi * 5 * (X + Y) / (2 * SIDE)
)
B = np.clip(0.95 * A + 0.02 + 0.03 * np.cos(2 * np.pi * (17 * X / SIDE - 11 * Y / SIDE)), 0, 1)
RADIUS = np.hypot(X[..., 0] - 128, Y[..., 0] - 128)
M = RADIUS < 0.35 * SIDE


def over_white(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return image * alpha[..., None] + (1 - alpha[..., None])


def test_golden_pair_is_the_published_one() -> None:
    assert M.sum() == 25233
    assert A.mean() == pytest.approx(0.50024697, abs=5e-9)
    assert B.mean() == pytest.approx(0.49523462, abs=5e-9)


def test_psnr_hits_the_golden_numbers() -> None:
    assert pixel.psnr(A, B) == pytest.approx(32.401562, abs=1e-6)
    assert pixel.psnr(displayed(A), displayed(B)) == pytest.approx(32.392992, abs=1e-5)
    assert pixel.psnr(A, B, M) == pytest.approx(32.412572, abs=1e-6)
    hard = M.astype(float)
    assert pixel.psnr(over_white(A, hard), over_white(B, hard)) == pytest.approx(
        36.557682, abs=1e-6
    )
    soft = np.clip((89.6 - RADIUS) / 8 + 0.5, 0, 1)
    assert pixel.psnr(over_white(A, soft), over_white(B, soft)) == pytest.approx(
        36.688376, abs=1e-6
    )


def test_ssim_family_hits_the_golden_numbers() -> None:
    assert pixel.ssim(A, B) == pytest.approx(0.944282, abs=1e-6)
    assert pixel.ssim_3dgs(A, B) == pytest.approx(0.947092, abs=1e-6)
    assert pixel.ms_ssim(A, B) == pytest.approx(0.982463, abs=1e-6)


def test_ssim_equals_scikit_image_with_its_gaussian_window() -> None:
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    first = rng.random((40, 52, 3))
    second = np.clip(first + rng.normal(0, 0.1, first.shape), 0, 1)
    expected, full = structural_similarity(
        first, second, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        channel_axis=-1, data_range=1.0, full=True,
    )  # fmt: skip
    assert pixel.ssim(first, second) == pytest.approx(expected, abs=1e-6)
    mask = np.zeros((40, 52), bool)
    mask[10:20, 15:30] = True
    assert pixel.ssim(first, second, mask) == pytest.approx(full[mask].mean(), abs=1e-6)


def test_flip_hits_the_golden_numbers() -> None:
    assert flip_map(B, A).mean() == pytest.approx(0.146721, abs=2e-6)
    assert flip_map(B, A, pixels_per_degree=30).mean() == pytest.approx(0.144989, abs=2e-6)
    hard = M.astype(float)
    errors = flip_map(over_white(B, hard), over_white(A, hard))
    assert errors.mean() == pytest.approx(0.056057, abs=2e-6)
    assert pixel.masked_mean(errors, M) == pytest.approx(0.143275, abs=2e-6)


@pytest.mark.parametrize("loss", [torch_ssim.ssim, torch_ssim.ssim_3dgs])
def test_ssim_gradient_is_the_derivative(loss) -> None:
    rng = torch.Generator().manual_seed(0)
    pair = [
        torch.rand(2, 3, 13, 14, generator=rng, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    ]
    assert torch.autograd.gradcheck(loss, pair, fast_mode=True)  # along random directions


def test_identical_images_are_perfect() -> None:
    assert pixel.psnr(A, A) == pixel.PSNR_CAP
    assert pixel.ssim(A, A) == pytest.approx(1, abs=1e-6)
    assert pixel.ms_ssim(A, A) == pytest.approx(1, abs=1e-6)
    assert flip_map(A, A).max() == pytest.approx(0, abs=1e-6)
    alpha = M.astype(float)
    assert pixel.alpha_mae(alpha, alpha) == 0
    assert pixel.alpha_iou(alpha, alpha) == 1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(12, 40), width=st.integers(12, 40))
def test_swapping_or_mirroring_both_images_changes_nothing(
    seed: int, height: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, height, width, 3))
    for metric in (pixel.psnr, pixel.ssim, pixel.ssim_3dgs):
        value = metric(first, second)
        assert metric(second, first) == pytest.approx(value, abs=1e-6)
        assert metric(first[:, ::-1], second[:, ::-1]) == pytest.approx(value, abs=1e-6)


def test_more_noise_is_worse() -> None:
    noise = np.random.default_rng(1).standard_normal(A.shape)
    noisy = [displayed(A + sigma * noise) for sigma in (0.01, 0.02, 0.05)]
    for metric, better in (
        (pixel.psnr, 1), (pixel.ssim, 1), (pixel.ms_ssim, 1),
        (lambda p, t: float(flip_map(p, t).mean()), -1),
    ):  # fmt: skip
        values = [better * metric(image, A) for image in noisy]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 3


def test_a_nan_pixel_raises() -> None:
    broken = A.copy()
    broken[3, 4, 1] = np.nan
    for metric in (pixel.psnr, pixel.ssim, pixel.ms_ssim, flip_map):
        with pytest.raises(ValueError, match="non-finite"):
            metric(broken, A)
    with pytest.raises(ValueError, match="non-finite"):
        displayed(broken)


def test_alpha_metrics_of_shifted_squares() -> None:
    first, second = np.zeros((20, 20)), np.zeros((20, 20))
    first[:10], second[5:15] = 1, 1
    assert pixel.alpha_iou(first, second) == pytest.approx(1 / 3)
    assert pixel.alpha_mae(first, second) == pytest.approx(0.5)


def test_flicker_ignores_motion_that_the_target_has() -> None:
    rng = np.random.default_rng(2)
    targets = list(rng.random((4, 16, 16, 3)))
    masks = [np.ones((16, 16), bool)] * 4
    assert pixel.flicker([t + 0.1 for t in targets], targets, masks) == pytest.approx(0, abs=1e-12)
    blinking = [t + 0.1 * (i % 2) for i, t in enumerate(targets)]
    assert pixel.flicker(blinking, targets, masks) == pytest.approx(0.1)


def test_missing_metrics_say_why() -> None:
    small, other = A[:64, :64], B[:64, :64]
    scores = {
        (s.metric, s.scope): s for s in image_scores(small, other, {"fg": None, "face": None})
    }
    assert scores["ms_ssim", "full"].value is None
    assert "160" in (scores["ms_ssim", "full"].reason or "")
    assert scores["psnr", "face"].value is None
    assert "landmarks" in (scores["psnr", "face"].reason or "")
    assert scores["psnr", "full"].value == pytest.approx(pixel.psnr(small, other))


def test_face_mask_is_the_hull_grown_by_a_twentieth_of_its_height() -> None:
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([50.5 + 20 * np.cos(angle), 60.5 + 40 * np.sin(angle)], -1)
    mask = face_mask(points, 120, 130)
    assert mask is not None
    assert mask.shape == (130, 120)
    rows = np.flatnonzero(mask.any(1))
    assert rows[0] == 60 - 40 - 4
    assert rows[-1] == 60 + 40 + 4
    assert face_mask(np.full((68, 3), np.nan), 10, 10) is None


def test_identity_distance_knows_a_face_from_a_wall() -> None:
    from skimage.data import astronaut

    face = astronaut()[0:256, 96:352]
    encoding = face_encoding(face)
    assert encoding is not None
    assert 1.2 < np.linalg.norm(encoding) < 1.6  # not a unit vector
    assert face_distance(encoding, encoding) == 0
    image = face / np.float32(255)
    softer = displayed(image * 0.9 + 0.05)
    score = identity_score(softer, image)
    assert score.value is not None
    assert 0 < score.value < 0.3
    blank = np.ones_like(image)
    failed = identity_score(blank, image)
    assert failed.value == 1.0
    assert "failed" in (failed.reason or "")
    assert identity_score(image, blank).value is None
