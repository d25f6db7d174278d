"""What the ICT-FaceKit adapter promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from headworks.errors import WeightsError
from headworks.headfiles import HeadFileError
from headworks.heads.base import REGIONS, HeadModel, HeadPose
from headworks.heads.ict import arkit_name, load_ict
from headworks.heads.importers import import_head


@pytest.fixture(scope="module")
def ict_path(shared: Path) -> Path:
    path = shared / "data" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip(f"no ICT-FaceKit file at {path}")
    return path


@pytest.fixture(scope="module")
def ict(ict_path: Path) -> HeadModel:
    return load_ict(ict_path)


def test_landmarks_are_the_files_vertices_in_metres_about_the_ear_canals(
    ict: HeadModel, ict_path: Path
) -> None:
    data = np.load(ict_path, allow_pickle=False)
    file_cm = data["vertices"][data["lmk68_vertices"]]
    ours = ict.landmarks(ict.template[None])[0].numpy() * 100
    shift = file_cm - ours
    np.testing.assert_allclose(shift, shift[:1].repeat(68, 0), atol=1e-4)
    assert abs(shift[0, 0]) < 1e-5
    # the canals lie behind and below the outer eye corners, above the chin
    eye, chin = ours[45], ours[8]
    assert eye[1] > 0 > chin[1]
    assert 6 < eye[2] < 9


def test_identity_modes_and_expressions_are_those_of_the_file(
    ict: HeadModel, ict_path: Path
) -> None:
    data = np.load(ict_path, allow_pickle=False)
    k = [str(n) for n in data["expression_names"]].index("eyeBlink_L")
    a = torch.zeros(1, 100)
    a[0, 3], a[0, 50] = 1.5, -1.0
    b = torch.zeros(1, len(ict.expression_names))
    b[0, ict.expression_index("eyeBlinkLeft")] = 0.7
    rest = ict.landmarks(ict.rest_vertices(a, b))[0] - ict.landmarks(ict.template[None])[0]
    lm = data["lmk68_vertices"]
    basis, blink = data["identity_basis"].astype(np.float32), data["expression_basis"]
    expected = 1.5 * basis[3, lm] - basis[50, lm] + 0.7 * blink[k, lm].astype(np.float32)
    np.testing.assert_allclose(rest.numpy() * 100, expected, atol=2e-4)


def test_names_are_arkits(ict: HeadModel) -> None:
    assert arkit_name("mouthSmile_R") == "mouthSmileRight"
    assert {"jawOpen", "jawLeft", "mouthRight", "eyeBlinkRight", "browInnerUpLeft"} <= set(
        ict.expression_names
    )
    assert not any(n.endswith(("_L", "_R")) for n in ict.expression_names)


def test_atlas_lies_in_the_unit_square_without_overlaps(ict: HeadModel) -> None:
    uv = ict.uvs[ict.faces_uv].double()
    assert uv.min() >= 0
    assert uv.max() <= 1
    a, b, c = uv.unbind(1)
    area = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs() / 2
    # Count how many triangles own each sample: the sum of areas equals the covered area.
    size = 512
    owners = np.zeros((size, size), np.int32)
    px = uv.numpy() * size
    for tri in px:
        x0, y0 = np.floor(tri.min(0)).astype(int).clip(0, size - 1)
        x1, y1 = np.ceil(tri.max(0)).astype(int).clip(1, size)
        gy, gx = np.mgrid[y0:y1, x0:x1] + 0.5
        e = [
            (q[0] - p[0]) * (gy - p[1]) - (q[1] - p[1]) * (gx - p[0])
            for p, q in ((tri[0], tri[1]), (tri[1], tri[2]), (tri[2], tri[0]))
        ]
        inside = np.all([s > 0 for s in e], 0) | np.all([s < 0 for s in e], 0)
        owners[y0:y1, x0:x1] += inside
    # The source layout itself folds over on a few small places (ears).
    assert (owners > 1).sum() < 0.005 * (owners > 0).sum()
    assert float(area.sum()) == pytest.approx((owners > 0).mean(), rel=0.02)


def test_neck_turns_the_head_and_leaves_the_shoulders(ict: HeadModel) -> None:
    pose = HeadPose.zeros(1)
    pose.neck[0, 1] = 0.4
    zero = torch.zeros(1, 100), torch.zeros(1, len(ict.expression_names))
    moved = (ict.vertices(*zero, pose) - ict.vertices(*zero))[0].norm(dim=-1)
    low = ict.template[:, 1] < ict.template[:, 1].min() + 0.02
    assert moved[low].max() < 1e-5
    tip = ict.faces[ict.landmark_faces[30]][0]
    assert moved[tip] > 0.04
    torch.testing.assert_close(ict.skin_weights.sum(1), torch.ones(len(ict.template)))
    assert float(ict.skin_weights[:, 2].abs().max()) == 0


def test_eyes_turn_about_their_own_centres(ict: HeadModel) -> None:
    torch.manual_seed(0)
    identity, expression = torch.randn(1, 100) * 0.8, torch.zeros(1, len(ict.expression_names))
    pose = HeadPose.zeros(1)
    pose.eyes[0, 0, 1] = 0.3
    rest, turned = (
        ict.vertices(identity, expression)[0],
        ict.vertices(identity, expression, pose)[0],
    )
    own = ict.skin_weights[:, 3] == 1
    torch.testing.assert_close(turned[~own], rest[~own])
    centre = (ict.joints + torch.einsum("k,kjc->jc", identity[0], ict.joint_identity))[3]
    radius = [(v[own] - centre).norm(dim=-1) for v in (rest, turned)]
    torch.testing.assert_close(*radius)
    assert 0.011 < float(radius[0].mean()) < 0.02
    assert (turned[own] - rest[own])[:, 0].sum() != 0


def test_regions_are_where_they_belong(ict: HeadModel) -> None:
    centre = ict.template[ict.faces].mean(1)
    for name in REGIONS:
        assert ict.region_faces(name).any(), name
    marks = ict.landmarks(ict.template[None])[0]
    lips = centre[ict.region_faces("lips")]
    assert lips[:, 1].max() < marks[33, 1]
    assert lips[:, 1].min() > marks[8, 1]
    assert centre[ict.region_faces("ears")][:, 0].abs().min() > 0.06
    tongue, teeth = centre[ict.region_faces("tongue")], centre[ict.region_faces("teeth")]
    assert tongue[:, 0].abs().max() < teeth[:, 0].abs().max()


def test_an_absent_or_foreign_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="ict-facekit-npz/1"):
        load_ict(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", format=np.array("something/2"))
    with pytest.raises(WeightsError, match="something/2"):
        load_ict(tmp_path / "other.npz")


@pytest.fixture(scope="module")
def checkout(ict_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's folder in its own layout, with two identities and three expressions."""
    folder = tmp_path_factory.mktemp("ICT-FaceKit") / "FaceXModel"
    folder.mkdir()
    data = np.load(ict_path, allow_pickle=False)
    neutral = data["vertices"].astype(np.float64)

    def lines(kind: str, rows: np.ndarray) -> list[str]:
        return [kind + " " + " ".join(map(repr, row)) for row in rows.tolist()]

    faces = ["# a comment"]
    material = -1
    for poly, corner, now in zip(
        data["polys"].tolist(), data["polys_uv"].tolist(), data["poly_material"].tolist()
    ):
        if now != material:
            faces.append(f"usemtl {data['material_names'][now]}")
            material = now
        pairs = [f"{a + 1}/{b + 1}" for a, b in zip(poly, corner) if a >= 0]
        faces.append("f " + " ".join(pairs))
    (folder / "generic_neutral_mesh.obj").write_text(
        "\n".join([*lines("v", neutral), *lines("vt", data["uv"].astype(np.float64)), *faces])
    )
    names = [str(n) for n in data["expression_names"]]
    shown = ["eyeBlink_L", "eyeBlink_R", "jawOpen"]
    shapes = {f"identity{k:03d}": data["identity_basis"][k] for k in range(2)}
    shapes |= {n: data["expression_basis"][names.index(n)] for n in shown}
    for name, offset in shapes.items():
        moved = neutral + offset.astype(np.float64)
        (folder / f"{name}.obj").write_text("\n".join(lines("v", moved)))
    table = {"expressions": shown, "idx_to_landmark_verts": data["lmk68_vertices"].tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(table))
    return folder.parent


def test_a_checkout_gives_the_same_head_as_the_converted_file(
    checkout: Path, ict: HeadModel, ict_path: Path, tmp_path: Path
) -> None:
    made = import_head("ict", checkout, "mine", tmp_path)
    head = made.head
    for name in ("template", "faces", "face_regions", "uvs", "faces_uv", "landmark_faces",
                 "landmark_bary", "skin_weights"):  # fmt: skip
        assert torch.equal(getattr(head, name), getattr(ict, name)), name
    assert torch.equal(head.identity_basis, ict.identity_basis[:2])
    assert head.expression_names == ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen")
    index = [ict.expression_index(n) for n in head.expression_names]
    assert torch.equal(head.expression_basis, ict.expression_basis[index])
    # The spheres of the eyes and the hinge of the jaw are measured anew: to a tenth of a mm.
    torch.testing.assert_close(head.joints, ict.joints, atol=1e-4, rtol=0)
    assert len(made.record.sources) == 7
    assert "MIT" in made.record.licence


def test_a_checkout_that_is_not_whole_says_what_is_missing(checkout: Path, tmp_path: Path) -> None:
    import shutil

    model = tmp_path / "FaceXModel"
    shutil.copytree(checkout / "FaceXModel", model)
    (model / "identity000.obj").unlink()
    with pytest.raises(HeadFileError, match="identity"):
        import_head("ict", tmp_path, folder=tmp_path / "heads")
    (model / "jawOpen.obj").write_text("v 0 0 0\n")
    shutil.copy(model / "identity001.obj", model / "identity000.obj")
    with pytest.raises(HeadFileError, match=r"jawOpen\.obj: 1 vertices, expected 26719"):
        import_head("ict", tmp_path, folder=tmp_path / "heads")
    (model / "generic_neutral_mesh.obj").write_text("v 0 0 0\nf 1 1 1\n")
    with pytest.raises(HeadFileError, match="expected 26719, 28911, 26384"):
        import_head("ict", tmp_path, folder=tmp_path / "heads")
