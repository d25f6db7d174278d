"""Spherical harmonics and 3DGS files against gsplat's own, and against themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headworks.errors import ArtifactError
from headworks.formats.ply import Splats, from_activated, read_splats, to_activated, write_splats
from headworks.splat.sh import basis, colors_seen_from, spherical_harmonics


def directions(n: int) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_equal_gsplat(degree):
    torch_impl = pytest.importorskip("gsplat.cuda._torch_impl")
    d = directions(50)
    coefficients = torch.randn(50, 16, 3, dtype=torch.float64)
    theirs = torch_impl._spherical_harmonics(degree, d, coefficients)
    assert torch.allclose(spherical_harmonics(coefficients, d, degree), theirs, atol=1e-12)


def test_harmonics_are_orthonormal():
    z, weight = np.polynomial.legendre.leggauss(8)
    azimuth = np.arange(16) * 2 * np.pi / 16
    r = np.sqrt(1 - z[:, None] ** 2)
    grid = np.stack(
        [r * np.cos(azimuth), r * np.sin(azimuth), np.broadcast_to(z[:, None], (8, 16))], -1
    )
    values = basis(torch.tensor(grid), 3).numpy().reshape(-1, 16)
    area = (weight[:, None] * np.full(16, 2 * np.pi / 16)).reshape(-1, 1)
    np.testing.assert_allclose(values.T @ (area * values), np.eye(16), atol=1e-12)


def test_harmonics_have_gradients_and_colours_are_not_negative():
    coefficients = torch.randn(5, 16, 3, dtype=torch.float64, requires_grad=True)
    d = directions(5).requires_grad_()
    assert torch.autograd.gradcheck(lambda c, x: spherical_harmonics(c, x, 3), (coefficients, d))
    seen = colors_seen_from(coefficients - 3, d, torch.zeros(3, dtype=torch.float64), 0)
    assert (seen == 0).any()
    assert (seen >= 0).all()


def random_splats(rest: int, binding: bool) -> Splats:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return Splats(
        normal(7, 3), normal(7, 3), normal(7, rest, 3), normal(7), normal(7, 3), normal(7, 4),
        np.arange(7, dtype=np.int32) if binding else None,
    )  # fmt: skip


@pytest.mark.parametrize(("rest", "binding"), [(0, True), (3, False), (15, True)])
def test_ply_round_trip_is_exact(tmp_path, rest, binding):
    splats = random_splats(rest, binding)
    write_splats(tmp_path / "a.ply", splats)
    back = read_splats(tmp_path / "a.ply")
    for name, value in splats._asdict().items():
        if value is None:
            assert getattr(back, name) is None
        else:
            np.testing.assert_array_equal(getattr(back, name), value)


def test_ply_header_has_the_standard_order(tmp_path):
    write_splats(tmp_path / "a.ply", random_splats(3, True))
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")[0].decode().split("\n")
    names = [line.split()[-1] for line in header if line.startswith("property float ")]
    expected = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 " + " ".join(f"f_rest_{k}" for k in range(9))
    expected += " opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3 binding_0"
    assert names == expected.split()


def test_files_of_gsplat_are_read(tmp_path):
    gsplat = pytest.importorskip("gsplat")
    splats = random_splats(15, False)
    means, sh0, rest, logits, log_scales, quats, _ = (
        None if v is None else torch.from_numpy(v) for v in splats
    )
    data = gsplat.export_splats(means, log_scales, quats, logits, sh0[:, None], rest, format="ply")
    (tmp_path / "g.ply").write_bytes(data)
    back = read_splats(tmp_path / "g.ply")
    for name in ("means", "sh0", "sh_rest", "opacity_logits", "log_scales", "quats"):
        np.testing.assert_allclose(getattr(back, name), getattr(splats, name), atol=1e-6)


def test_activated_values_survive(tmp_path):
    rng = np.random.default_rng(1)
    quats = rng.normal(size=(9, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    values = (
        rng.normal(size=(9, 3)), quats, rng.random((9, 3)) + 0.01, rng.random(9), rng.random((9, 3))
    )  # fmt: skip
    write_splats(tmp_path / "a.ply", from_activated(*values))
    for got, want in zip(to_activated(read_splats(tmp_path / "a.ply")), values):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_damaged_files_are_refused_with_a_reason(tmp_path):
    path = tmp_path / "a.ply"
    write_splats(path, random_splats(0, False))
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    with pytest.raises(ArtifactError, match="cut short"):
        read_splats(path)
    path.write_bytes(data.replace(b"opacity", b"opaciti"))
    with pytest.raises(ArtifactError, match="no property opacity"):
        read_splats(path)
    path.write_bytes(b"solid stl")
    with pytest.raises(ArtifactError, match="not a PLY"):
        read_splats(path)
    path.write_bytes(data.replace(b"binary_little_endian", b"ascii"))
    with pytest.raises(ArtifactError, match="only binary"):
        read_splats(path)
    bad = random_splats(0, False)
    bad.means[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"means\[4\] is not finite"):
        write_splats(path, bad)
