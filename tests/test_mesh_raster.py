"""The triangle rasteriser against a slow reference and against the cameras."""

import numpy as np
import pytest

from headworks.cameras import Camera, intrinsics, look_at, orbit
from headworks.mesh import interpolate, rasterize_mesh, rasterize_uv


def sphere(n: int = 12, radius: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Closed sphere, faces counter-clockwise seen from outside."""
    azimuth, polar = np.meshgrid(
        np.arange(n) * 2 * np.pi / n, np.linspace(0.0, np.pi, n), indexing="ij"
    )
    points = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.cos(polar), np.sin(polar) * np.sin(azimuth)], -1
    )
    index = np.arange(n * n).reshape(n, n)
    index[:, 0], index[:, -1] = 0, n - 1  # one vertex per pole
    faces = []
    for i in range(n):
        for j in range(n - 1):
            (a, d), (b, c) = index[i, j : j + 2], index[(i + 1) % n, j : j + 2]
            faces += [f for f in ([a, b, c], [a, c, d]) if len(set(f)) == 3]
    return radius * points.reshape(-1, 3), np.array(faces)


def reference(vertices, faces, camera, near=0.01):
    """Cast one ray per pixel against every triangle, by solving for the weights."""
    points = vertices @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    ids = np.full((camera.height, camera.width), -1)
    depth = np.full(ids.shape, np.inf)
    weights = np.zeros((*ids.shape, 3))
    inverse = np.linalg.inv(camera.K)
    for y in range(camera.height):
        for x in range(camera.width):
            ray = inverse @ [x + 0.5, y + 0.5, 1.0]
            for f, face in enumerate(faces):
                corners = points[face].T
                if abs(np.linalg.det(corners)) < 1e-14:
                    continue
                w = np.linalg.solve(corners, ray)  # corners @ (w z) = z ray
                if w.sum() <= 0:
                    continue
                z = 1 / w.sum()
                w = w * z
                if w.min() >= 0 and near <= z < depth[y, x]:
                    ids[y, x], depth[y, x], weights[y, x] = f, z, w
    return ids, weights, depth


@pytest.mark.parametrize("distance", [0.4, 0.12], ids=["outside", "through the near plane"])
def test_buffers_equal_slow_reference(distance):
    vertices, faces = sphere(8)
    if distance < 0.2:  # the camera sits inside a box of large faces, some behind it
        vertices = vertices * 1.5
    K = np.array([[40.0, 0.3, 13.2], [0, 44.0, 9.1], [0, 0, 1]])
    camera = Camera(orbit(0.4, 0.2, distance), K, 26, 19)
    buffers = rasterize_mesh(vertices, faces, camera)
    ids, weights, depth = reference(vertices, faces, camera)
    assert (ids >= 0).sum() > 100
    np.testing.assert_array_equal(buffers.face_ids, ids)
    np.testing.assert_allclose(buffers.barycentric, weights, atol=1e-6)
    np.testing.assert_allclose(buffers.depth, depth, rtol=1e-6)


def test_face_behind_and_through_the_near_plane():
    vertices = np.array(
        [[-1.0, 0, -1], [1, 0, -1], [0, 0.5, 3], [0, 0, -3], [1, 0, -3], [0, 1, -3]]
    )
    camera = Camera(np.eye(4), intrinsics(20.0, 32, 32), 32, 32)
    buffers = rasterize_mesh(vertices, np.array([[3, 4, 5], [0, 1, 2]]), camera, near=0.05)
    assert set(np.unique(buffers.face_ids)) == {-1, 1}
    seen = buffers.face_ids == 1
    assert buffers.depth[seen].min() >= 0.05
    ids, _, depth = reference(vertices, np.array([[3, 4, 5], [0, 1, 2]]), camera, near=0.05)
    np.testing.assert_array_equal(buffers.face_ids, ids)
    np.testing.assert_allclose(buffers.depth, depth, rtol=1e-5)


def test_interpolated_positions_project_to_their_pixels():
    vertices, faces = sphere(24)
    camera = Camera(orbit(-0.5, 0.3, 0.5), intrinsics(150.0, 96, 80), 96, 80)
    buffers = rasterize_mesh(vertices, faces, camera)
    seen = buffers.face_ids >= 0
    pixels = camera.project(interpolate(buffers, vertices, faces)[seen])
    y, x = np.nonzero(seen)
    np.testing.assert_allclose(pixels[:, 0], x + 0.5, atol=1e-4)
    np.testing.assert_allclose(pixels[:, 1], y + 0.5, atol=1e-4)
    np.testing.assert_allclose(pixels[:, 2], buffers.depth[seen], rtol=1e-6)
    per_corner = interpolate(buffers, vertices[faces], faces)
    np.testing.assert_array_equal(per_corner, interpolate(buffers, vertices, faces))


def test_closed_surface_has_no_holes_and_hides_its_back():
    vertices, faces = sphere(40)
    camera = Camera(look_at(np.array([0.03, 0.01, 0.3]), np.zeros(3)), intrinsics(120, 128, 128),
                    128, 128)  # fmt: skip
    front = rasterize_mesh(vertices, faces, camera, cull_backfaces=True)
    both = rasterize_mesh(vertices, faces, camera)
    back = rasterize_mesh(vertices, faces[:, ::-1], camera, cull_backfaces=True)
    np.testing.assert_array_equal(front.face_ids, both.face_ids)
    seen = front.face_ids >= 0
    assert seen[seen.any(1).argmax() :][:1].any()
    for row in seen:  # a convex outline: every row is one run of pixels
        assert np.abs(np.diff(row.astype(int))).sum() in (0, 2)
    inner = seen & (back.face_ids >= 0)
    assert inner.sum() > 0.98 * seen.sum()
    assert (back.depth[inner] > front.depth[inner]).all()


def test_shared_edge_belongs_to_the_lower_face_index():
    vertices = np.array([[-1.0, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2]])
    camera = Camera(np.eye(4), intrinsics(8.0, 9, 9), 9, 9)  # odd size: centres on the diagonal
    for faces in ([[0, 1, 2], [0, 2, 3]], [[0, 2, 3], [0, 1, 2]]):
        ids = rasterize_mesh(vertices, np.array(faces), camera).face_ids
        assert (ids[np.arange(1, 8), np.arange(1, 8)] == 0).all()
        assert (ids[1:8, 1:8] >= 0).all()


def test_uv_texels_follow_the_centre_rule_with_v_up():
    uvs = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    ids, weights = rasterize_uv(uvs, np.array([[0, 1, 2], [0, 2, 3]]), 16)
    rows, columns = np.mgrid[:16, :16]
    u, v = (columns + 0.5) / 16, 1 - (rows + 0.5) / 16
    np.testing.assert_array_equal(ids, np.where(v <= u, 0, 1))  # the diagonal: lowest index
    corner = np.where((ids == 0)[..., None, None], uvs[[0, 1, 2]], uvs[[0, 2, 3]])
    back = (weights[..., None] * corner).sum(-2)
    np.testing.assert_allclose(back, np.stack([u, v], -1), atol=1e-6)


def test_uv_counts_grow_as_the_square_of_the_size():
    rng = np.random.default_rng(0)
    uvs = rng.random((30, 2))
    faces = np.array([[3 * i, 3 * i + 1, 3 * i + 2] for i in range(10)])
    counts = [(rasterize_uv(uvs, faces, size)[0] >= 0).sum() for size in (128, 256, 512)]
    assert counts[1] / counts[0] == pytest.approx(4, rel=0.02)
    assert counts[2] / counts[1] == pytest.approx(4, rel=0.01)


def test_bad_input_is_named():
    vertices, faces = sphere(6)
    camera = Camera(orbit(0, 0, 0.5), intrinsics(50, 8, 8), 8, 8)
    with pytest.raises(ValueError, match="faces point at vertices"):
        rasterize_mesh(vertices, faces + len(vertices), camera)
    with pytest.raises(ValueError, match=r"vertices\[3\] is not finite"):
        rasterize_mesh(np.where(np.arange(len(vertices))[:, None] == 3, np.nan, vertices), faces,
                       camera)  # fmt: skip
    buffers = rasterize_mesh(vertices, faces[:0], camera)
    assert (buffers.face_ids == -1).all()
    with pytest.raises(ValueError, match="attributes must be"):
        interpolate(buffers, np.zeros((2, 3, 4)), faces)
