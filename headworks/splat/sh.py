"""View-dependent colour: real spherical harmonics to degree 3, signs as in 3DGS."""

from __future__ import annotations

import torch
from torch import Tensor

SH_C0 = 0.28209479177387814
_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
_C3 = (
    0.5900435899266435,
    2.890611442640554,
    0.4570457994644658,
    0.3731763325901154,
    1.445305721320277,
)


def degree_of_coefficients(count: int) -> int:
    """Degree, 0 to 3, of so many coefficients per channel.

    Raises:
        ValueError: no degree has so many.
    """
    degrees = {coefficients_of_degree(degree): degree for degree in range(4)}
    if count not in degrees:
        raise ValueError(f"{count} coefficients per channel; there are {sorted(degrees)}")
    return degrees[count]


def coefficients_of_degree(degree: int) -> int:
    """Coefficients per channel up to and with `degree`: 1, 4, 9, 16.

    Raises:
        ValueError: for a degree outside 0 to 3.
    """
    if not 0 <= degree <= 3:
        raise ValueError(f"degree must be 0 to 3, got {degree}")
    return (degree + 1) ** 2


def basis(directions: Tensor, degree: int) -> Tensor:
    """Basis functions with the Condon-Shortley signs of 3DGS.

    Args:
        directions: [..., 3], any norm but zero. degree: 0 to 3.

    Returns:
        [..., (degree + 1)^2].
    """
    count = coefficients_of_degree(degree)
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    values = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        values += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        a, b, c = _C2
        values += [a * x * y, -a * y * z, b * (2 * zz - xx - yy), -a * x * z, c * (xx - yy)]
    if degree >= 3:
        a, b, c, d, e = _C3
        values += [
            -a * y * (3 * xx - yy),
            b * x * y * z,
            -c * y * (4 * zz - xx - yy),
            d * z * (2 * zz - 3 * xx - 3 * yy),
            -c * x * (4 * zz - xx - yy),
            e * z * (xx - yy),
            -a * x * (xx - 3 * yy),
        ]
    return torch.stack(values[:count], -1)


def spherical_harmonics(coefficients: Tensor, directions: Tensor, degree: int) -> Tensor:
    """Value of the expansion, without the 3DGS offset of one half.

    Args:
        coefficients: [..., K, D] with K >= (degree + 1)^2. directions: [..., 3], any norm.

    Returns:
        [..., D]; differentiable in both.

    Raises:
        ValueError: fewer coefficients than the degree needs.
    """
    count = coefficients_of_degree(degree)
    if coefficients.shape[-2] < count:
        raise ValueError(f"degree {degree} needs {count} coefficients, got {coefficients.shape}")
    return (basis(directions, degree)[..., None] * coefficients[..., :count, :]).sum(-2)


def colors_seen_from(
    coefficients: Tensor, means: Tensor, camera_centre: Tensor, degree: int
) -> Tensor:
    """Colours of 3DGS for one camera: max(0, 0.5 + expansion towards each Gaussian).

    Args:
        coefficients: [N, K, 3]. means: [N, 3] metres. camera_centre: [3] metres, world.

    Returns:
        [N, 3], >= 0.
    """
    value = spherical_harmonics(coefficients, means - camera_centre, degree)
    return (value + 0.5).clamp_min(0.0)
