"""What importing a foreign head model promises."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from headworks import headfiles
from headworks.headfiles import HeadFileError
from headworks.heads import HeadModel, HeadPose, load_head
from headworks.heads.base import REGIONS
from headworks.heads.importers import Imported, import_head
from headworks.heads.importers.atlas import make_atlas
from headworks.heads.importers.flame import flame_pose
from headworks.heads.importers.landmarks import read_landmarks
from headworks.heads.importers.unpickle import read_npy, read_pickle
from headworks.mesh import rasterize_uv
from tests.heads import standins


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def flame(folder: Path) -> Imported:
    (folder / "official").mkdir()
    standins.write_flame_pickle(folder / "official" / "generic_model.pkl")
    standins.write_flame_neighbours(folder / "official")
    return import_head("flame", folder / "official" / "generic_model.pkl", "f20", folder / "heads")


@pytest.fixture(scope="module")
def bare_flame(folder: Path) -> Imported:
    (folder / "bare").mkdir()
    standins.write_flame_npz(folder / "bare" / "flame2023.npz")
    return import_head("flame", folder / "bare" / "flame2023.npz", "f23", folder / "heads")


@pytest.fixture(scope="module")
def bfm_2009(folder: Path) -> Imported:
    standins.write_bfm_2009(folder / "01_MorphableModel.mat")
    return import_head("bfm", folder / "01_MorphableModel.mat", "b09", folder / "heads")


@pytest.fixture(scope="module")
def bfm_front(folder: Path) -> Imported:
    standins.write_bfm_front(folder / "BFM_model_front.mat")
    return import_head("bfm", folder / "BFM_model_front.mat", "front", folder / "heads")


@pytest.fixture(scope="module")
def bfm_2017(folder: Path) -> Imported:
    pytest.importorskip("h5py", reason="HDF5 needs the optional package h5py")
    standins.write_bfm_2017(folder / "model2017-1_bfm_nomouth.h5")
    return import_head("bfm", folder / "model2017-1_bfm_nomouth.h5", "b17", folder / "heads")


EVERY = pytest.mark.parametrize(
    "which", ["flame", "bare_flame", "bfm_2009", "bfm_front", "bfm_2017"]
)


def _get(request: pytest.FixtureRequest, which: str) -> Imported:
    return request.getfixturevalue(which)


def _marks(head: HeadModel) -> np.ndarray:
    return head.landmarks(head.template[None])[0].double().numpy()


@EVERY
def test_axes_units_and_origin_are_ours(request: pytest.FixtureRequest, which: str) -> None:
    made = _get(request, which)
    marks = _marks(made.head)
    left, right = marks[42:48].mean(0), marks[36:42].mean(0)
    assert 0.060 < left[0] - right[0] < 0.068  # of the stand-in: 63.9 mm
    np.testing.assert_allclose(left[1:], right[1:], atol=2e-3)
    assert marks[30, 2] > marks[[0, 16], 2].max() + 0.08
    assert marks[27, 1] > marks[8, 1] + 0.08
    np.testing.assert_allclose(made.record.origin, standins.SHIFT, atol=5e-3)
    normals = torch.linalg.cross(
        *(made.head.template[made.head.faces[:, i]] - made.head.template[made.head.faces[:, 0]]
          for i in (1, 2))
    )  # fmt: skip
    front = made.head.faces[made.head.landmark_faces[30]]
    assert normals[made.head.landmark_faces[30], 2] > 0, front


@EVERY
def test_landmarks_lie_where_the_source_has_them(
    request: pytest.FixtureRequest, which: str
) -> None:
    made = _get(request, which)
    truth = standins.somebody().landmarks(standins.somebody().template[None])[0].double().numpy()
    error = np.linalg.norm(_marks(made.head) + made.record.origin - standins.SHIFT - truth, axis=1)
    if which == "flame":
        assert error.max() < 1e-5
    elif which == "bfm_front":  # its keypoints are vertices, up to half an edge away
        assert np.median(error) < 0.002
    else:
        assert error[17:].mean() < 0.002
        assert error.max() < 0.006
    derived = [n for n in made.record.notes if "derived from geometry" in n]
    assert bool(derived) == (which not in ("flame", "bfm_front"))


@EVERY
def test_imported_heads_are_whole(request: pytest.FixtureRequest, which: str) -> None:
    head = _get(request, which).head
    wanted = {"skin", "scalp", "lips", "eyelids", "eyes", "ears", "neck"}
    assert wanted <= {REGIONS[i] for i in head.face_regions.unique().tolist()}
    assert len(head.dense_names) == 296
    assert head.mirror_vertices is not None
    torch.testing.assert_close(head.skin_weights.sum(1), torch.ones(len(head.template)))
    torch.manual_seed(0)
    identity = (0.5 * torch.randn(2, len(head.identity_basis))).requires_grad_()
    expression = torch.zeros(2, len(head.expression_names)).requires_grad_()
    pose = HeadPose.zeros(2)
    pose.neck[:, 1] = 0.3
    head.landmarks(head.vertices(identity, expression, pose)).square().sum().backward()
    assert identity.grad is not None
    assert (identity.grad != 0).any(0).sum() >= 5
    assert expression.grad is not None
    assert len(head.expression_names) == 0 or expression.grad.abs().max() > 0


@EVERY
def test_a_stored_head_is_found_by_its_name(
    request: pytest.FixtureRequest, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _get(request, which)
    monkeypatch.setenv("HEADWORKS_HEADS", str(made.path.parent))
    load_head.cache_clear()
    head = load_head(made.record.name)
    assert (head.name, head.digest) == (made.record.name, made.head.digest)
    assert head.signed() == made.head.signed()
    assert headfiles.head_assets(head.name) == {f"head {head.name}": made.path}
    assert made.path.stem == made.record.file
    load_head.cache_clear()


def test_flame_moves_as_its_own_equations_say(flame: Imported, folder: Path) -> None:
    model = standins.flame_arrays()
    head, origin = flame.head, torch.tensor(flame.record.origin)
    rng = np.random.default_rng(1)
    for _ in range(3):
        betas = np.concatenate([rng.normal(size=5), rng.normal(size=100)])
        angles = 0.4 * rng.normal(size=(5, 3))
        shift = 0.1 * rng.normal(size=3)

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.asarray(array, np.float32))[None]

        pose = HeadPose(
            tensor(angles[0]), tensor(shift), tensor(angles[1]), torch.zeros(1, 3),
            tensor(angles[2]), tensor(angles[3:]),
        )  # fmt: skip
        identity, expression = tensor(betas[:5]), tensor(betas[5:])
        ours = head.vertices(
            identity, expression, flame_pose(head, identity, expression, pose, origin)
        )
        # Their axes are ours; where the root joint's rotation is applied, the origins differ.
        expected = standins.flame_forward(model, betas, angles, shift)
        np.testing.assert_allclose(ours[0].double().numpy(), expected, atol=2e-6)


def test_pickle_and_npz_give_the_same_flame(folder: Path, flame: Imported) -> None:
    (folder / "again").mkdir()
    standins.write_flame_npz(folder / "again" / "model.npz")
    standins.write_flame_neighbours(folder / "again")
    again = import_head("flame", folder / "again", "again", folder / "heads")
    torch.testing.assert_close(again.head.template, flame.head.template)
    torch.testing.assert_close(again.head.joints, flame.head.joints)
    assert torch.equal(again.head.uvs, flame.head.uvs)


def test_flame_takes_the_uvs_and_masks_beside_it(flame: Imported, bare_flame: Imported) -> None:
    assert torch.allclose(flame.head.uvs, standins.somebody().uvs, atol=1e-6)
    assert torch.equal(flame.head.faces_uv, standins.somebody().faces_uv)
    ours = standins.somebody().face_regions
    for name in ("scalp", "ears", "lips"):
        mine = flame.head.region_faces(name) == standins.somebody().region_faces(name)
        assert mine.float().mean() > 0.99, name
    eyes = standins.somebody().region_faces("eyes")
    assert bare_flame.head.region_faces("eyes")[eyes].all()
    assert len(ours) == len(flame.head.faces)
    used = {source["file"] for source in flame.record.sources}
    assert used == {
        "generic_model.pkl", "flame_static_embedding.pkl", "flame_dynamic_embedding.npy",
        "FLAME_masks.pkl", "head_template_mesh.obj",
    }  # fmt: skip


@pytest.mark.parametrize("which", ["bfm_2009", "bfm_2017", "bfm_front"])
def test_basel_modes_are_in_standard_deviations_and_metres(
    request: pytest.FixtureRequest, which: str
) -> None:
    head = _get(request, which).head
    _, _, used = standins.skin_only()
    own = standins.somebody()
    torch.testing.assert_close(
        head.identity_basis[:6], own.identity_basis[:6, used], atol=1e-7, rtol=1e-3
    )
    if which != "bfm_2009":
        torch.testing.assert_close(
            head.expression_basis[:4], own.expression_basis[:4, used], atol=1e-7, rtol=1e-3
        )
        assert all(head.signed())
    else:
        assert head.expression_names == ()  # the 2009 file has none, and none lie beside it
    turned = HeadPose.zeros(1)
    turned.neck[0, 1] = 0.4
    zero = torch.zeros(1, len(head.identity_basis)), torch.zeros(1, len(head.expression_names))
    moved = (head.vertices(*zero, turned) - head.vertices(*zero))[0].norm(dim=-1)
    assert moved[head.faces[head.landmark_faces[30]]].min() > 0.03


@pytest.mark.parametrize("which", ["bfm_2017", "bare_flame"])
def test_derived_inner_lips_go_with_their_own_lip(
    request: pytest.FixtureRequest, which: str
) -> None:
    head = _get(request, which).head
    expression, pose = torch.zeros(1, len(head.expression_names)), HeadPose.zeros(1)
    if which == "bfm_2017":
        expression[0, 0] = 0.7  # the stand-in's first mode opens the jaw
    else:
        pose.jaw[0, 0] = 0.2
    zero = torch.zeros(1, len(head.identity_basis))
    opened = head.landmarks(head.vertices(zero, expression, pose))[0]
    gaps = opened[[61, 62, 63], 1] - opened[[67, 66, 65], 1]
    assert gaps.min() > 0.005


def test_basel_2009_takes_the_expressions_beside_it(folder: Path) -> None:
    from scipy.io import savemat

    own = folder / "expressive"
    own.mkdir()
    vertices, used = standins.write_bfm_2009(own / "01_MorphableModel.mat")
    trimmed = np.arange(5, len(vertices) - 5)
    basis = standins.somebody().expression_basis[:3].double().numpy()[:, used][:, trimmed] * 1e6
    std = np.array([2.0, 3.0, 0.5])
    values = np.concatenate([np.zeros(3 * len(trimmed)), (basis / std[:, None, None]).ravel()])
    (own / "Exp_Pca.bin").write_bytes(np.int32(3).tobytes() + values.astype("<f4").tobytes())
    np.savetxt(own / "std_exp.txt", std)
    savemat(own / "BFM_exp_idx.mat", {"trimIndex": trimmed[:, None] + 1})
    made = import_head("bfm", own / "01_MorphableModel.mat", "e09", folder / "heads")
    expected = standins.somebody().expression_basis[:3, used]
    got = made.head.expression_basis
    torch.testing.assert_close(got[:, trimmed], expected[:, trimmed], atol=1e-7, rtol=1e-3)
    assert len(made.record.sources) == 4


def test_importing_again_gives_the_same_bytes(folder: Path, bare_flame: Imported) -> None:
    again = import_head("flame", folder / "bare" / "flame2023.npz", "f23", folder / "other")
    assert again.record == bare_flame.record
    assert again.path.read_bytes() == bare_flame.path.read_bytes()


def test_a_damaged_store_is_noticed(
    bare_flame: Imported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWORKS_HEADS", str(tmp_path))
    load_head.cache_clear()
    with pytest.raises(HeadFileError, match="headworks heads import"):
        load_head("f23")
    headfiles.write_record(tmp_path, bare_flame.record)
    with pytest.raises(HeadFileError, match="import it again"):
        load_head("f23")
    with np.load(bare_flame.path) as archive:
        data = dict(archive)
    data["template"] = data["template"] + 1e-3
    np.savez(tmp_path / bare_flame.path.name, **data)
    with pytest.raises(HeadFileError, match="digest"):
        load_head("f23")
    load_head.cache_clear()


class _Run:
    """A pickle that would run a command when read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    witness = tmp_path / "ran"
    model = tmp_path / "model.pkl"
    model.write_bytes(pickle.dumps({"v_template": _Run(f"touch {witness}")}, protocol))
    with pytest.raises(HeadFileError, match="refused"):
        import_head("flame", model, "evil", tmp_path / "heads")
    npy = tmp_path / "flame_dynamic_embedding.npy"
    np.save(npy, np.array({"lmk_face_idx": _Run(f"touch {witness}")}), allow_pickle=True)
    with pytest.raises(HeadFileError, match="refused"):
        read_npy(npy)
    assert not witness.exists()
    assert not (tmp_path / "heads").exists()


@pytest.mark.parametrize(
    "named",
    [
        b"cbuiltins\neval\n(V1+1\ntR.", b"c__builtin__\ngetattr\n(cnumpy\nndarray\nVtofile\ntR.",
        b"cnumpy\nload\n.", b"cnumpy.testing\nmeasure\n.", b"cfunctools\npartial\n.",
        b"cchumpy.utils\nos.system\n.", b"cscipy.sparse._csc\nnp\n.",
        b"ccopyreg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.", b"Pid\n.", b"(lp0", b"",
    ],
)  # fmt: skip
def test_pickles_of_anything_but_arrays_are_refused(tmp_path: Path, named: bytes) -> None:
    path = tmp_path / "foreign.pkl"
    path.write_bytes(named)
    with pytest.raises(HeadFileError, match=r"foreign\.pkl"):
        read_pickle(path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_come_back_from_pickles_as_they_were(tmp_path: Path, protocol: int) -> None:
    from scipy import sparse

    dense = np.array([[0, 2.5, 0], [1, 0, -3]])
    content = {
        "a": np.arange(6, dtype=np.uint32).reshape(2, 3), "f": np.asfortranarray(dense),
        "csc": sparse.csc_matrix(dense), "csr": sparse.csr_matrix(dense),
        "s": np.float64(0.5), "text": "ü", "list": [np.zeros(2), (1, b"x")],
        "objects": np.array([np.ones(2), 3], object),
    }  # fmt: skip
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    back = read_pickle(path)
    np.testing.assert_array_equal(back["a"], content["a"])
    for name in ("f", "csc", "csr"):
        np.testing.assert_array_equal(back[name], dense)
    assert back["s"] == 0.5
    assert back["text"] == "ü"
    assert back["list"][1] == (1, b"x")
    np.testing.assert_array_equal(back["objects"][0], [1, 1])


def test_wrong_files_say_what_was_expected(tmp_path: Path) -> None:
    heads = tmp_path / "heads"
    np.savez(tmp_path / "no.npz", v_template=np.zeros((3, 3)))
    with pytest.raises(HeadFileError, match="no FLAME model: it has no f, shapedirs"):
        import_head("flame", tmp_path / "no.npz", folder=heads)
    arrays = standins.flame_arrays()
    np.savez(tmp_path / "cm.npz", **{**arrays, "v_template": arrays["v_template"] * 100})
    with pytest.raises(HeadFileError, match="unit"):
        import_head("flame", tmp_path / "cm.npz", folder=heads)
    np.savez(tmp_path / "shape.npz", **{**arrays, "weights": arrays["weights"][:, :4]})
    with pytest.raises(HeadFileError, match="weights is"):
        import_head("flame", tmp_path / "shape.npz", folder=heads)
    (tmp_path / "x.mat").write_bytes(b"no")
    with pytest.raises(HeadFileError, match="not a readable Basel Face Model"):
        import_head("bfm", tmp_path / "x.mat", folder=heads)
    with pytest.raises(HeadFileError, match="no importer for 'obj'"):
        import_head("obj", tmp_path / "x.mat", folder=heads)
    with pytest.raises(HeadFileError, match="not 'procedural'"):
        import_head("flame", tmp_path / "x.mat", "procedural", heads)
    with pytest.raises(HeadFileError, match=r"vertex_indices\.json"):
        import_head("ict", tmp_path, folder=heads)
    assert not heads.exists()


def test_landmark_files_of_every_form_are_read(tmp_path: Path) -> None:
    faces = np.array([[0, 1, 2], [2, 3, 4], [4, 5, 6]])
    (tmp_path / "eos.txt").write_text("[landmark_mappings] # from 1\n31 = 5 # nose\n 9 = 3\n#1 =\n")
    marks = read_landmarks(tmp_path / "eos.txt", faces)
    assert sorted(marks) == [8, 30]
    assert marks[30][0] == 2
    np.testing.assert_array_equal(marks[30][1], [0, 1, 0])
    (tmp_path / "list.txt").write_text(" ".join(["6"] * 68))
    assert len(read_landmarks(tmp_path / "list.txt", faces)) == 68
    ids, bary = np.full((1, 70), 1), np.full((1, 70, 3), 1 / 3)
    full = {"full_lmk_faces_idx": ids, "full_lmk_bary_coords": bary}
    np.save(tmp_path / "landmark_embedding.npy", np.array(full), allow_pickle=True)
    assert sorted(read_landmarks(tmp_path / "landmark_embedding.npy", faces)) == list(range(68))
    (tmp_path / "short.json").write_text("[1, 2, 3]")
    with pytest.raises(HeadFileError, match=r"short\.json.*68"):
        read_landmarks(tmp_path / "short.json", faces)
    (tmp_path / "far.json").write_text(str([99] * 68))
    with pytest.raises(HeadFileError, match="vertex 99"):
        read_landmarks(tmp_path / "far.json", faces)


def test_a_generated_atlas_has_no_overlaps_and_holds_every_face() -> None:
    head = standins.somebody()
    uvs, faces_uv = make_atlas(head.template.double().numpy(), head.faces.numpy())
    assert 0 <= uvs.min() <= uvs.max() <= 1
    first = rasterize_uv(uvs, faces_uv, 512)[0]
    last = len(faces_uv) - 1 - rasterize_uv(uvs, faces_uv[::-1].copy(), 512)[0]
    covered = first >= 0
    assert (first != last)[covered].mean() < 0.002
    assert covered.mean() > 0.4
    corner = uvs[faces_uv].astype(np.float64)
    e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = (e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]) / 2
    assert (area > 0).mean() > 0.995
    assert area.sum() == pytest.approx(covered.mean(), rel=0.02)
