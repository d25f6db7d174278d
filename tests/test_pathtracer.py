"""Mitsuba's pictures lie where the z-buffer's do and are the same every time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion

from headworks.artifacts import open_arrays, read_meta
from headworks.cameras import Camera, intrinsics, orbit
from headworks.errors import HeadworksError
from headworks.heads import HeadPose, load_head
from headworks.mesh import rasterize_mesh
from headworks.seeds import generator
from headworks.synthetic import make_person
from headworks.synthetic.annotations import LABELS, annotate
from headworks.synthetic.pathtracer import Lighting, Tracer, Variant, choose_variant, variants
from headworks.synthetic.pathtracer.lights import panorama, read_panorama
from headworks.synthetic.pathtracer.materials import absorption, shades
from headworks.synthetic.pathtracer.shapes import split
from headworks.synthetic.pathtracer.tracer import developed, lock_size
from headworks.synthetic.render import Stage, pose_person, render_stage
from headworks.synthetic.traits import draw_traits
from stages.contract import Context
from stages.synthesis import SynthesisParams, run

pytest.importorskip("mitsuba")
SIZE = 72


def off_centre(size: int = SIZE) -> Camera:
    """A camera whose principal point lies well off the middle."""
    K = intrinsics(size / 0.40, size, size)
    K[:2, 2] += [0.11 * size, -0.07 * size]
    return Camera(orbit(0.3, 0.1, 1.0, (0.02, -0.02, 0)), K, size, size)


@pytest.fixture(scope="module")
def scalar() -> Variant:
    return choose_variant("scalar_rgb")


@pytest.fixture(scope="module")
def stage() -> Stage:
    looks = ((s, draw_traits(generator(s, "person"))) for s in range(100))
    person = make_person(next(s for s, look in looks if look.hair_style == "short"), 128)
    head = load_head("procedural")
    return pose_person(person, torch.zeros(len(head.expression_names)), HeadPose.zeros(1))


def test_traced_pictures_register_with_the_annotations_to_a_pixel(stage, scalar):
    camera = off_centre()
    # Wisps of hair are thinner than a pixel; skin, clothes and glasses are solid.
    shaved = replace(stage, scene=replace(stage.scene, strands=()), strands_lit=())
    traced = Tracer(scalar, Lighting("uniform"), 2).picture(shaved.scene, camera, 9, 1)
    solid = annotate(shaved.scene, load_head("procedural"), camera).regions > 0
    assert (traced.alpha[binary_erosion(solid, np.ones((3, 3)))] > 0.8).all()
    preview = render_stage(shaved, camera, 3).alpha
    assert (traced.alpha[~binary_dilation(solid | (preview > 0))] == 0).all()
    assert np.abs(traced.alpha - preview).max() < 0.6
    apart = np.abs(traced.alpha - preview).mean()
    assert apart < 0.003
    # A quarter of a pixel would show.
    for dx, dy in ((0.25, 0), (-0.25, 0), (0, 0.25), (0, -0.25)):
        K = camera.K + np.array([[0, 0, dx], [0, 0, dy], [0, 0, 0]])
        moved = render_stage(shaved, Camera(camera.viewmat, K, SIZE, SIZE), 3).alpha
        assert np.abs(traced.alpha - moved).mean() > 1.7 * apart


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(stage, scalar):
    camera = off_centre(40)
    pictures = [
        Tracer(scalar, Lighting("studio"), threads).picture(stage.scene, camera, 20, 5)
        for threads in (1, 2)
    ]
    assert np.array_equal(pictures[0].rgb, pictures[1].rgb)
    assert np.array_equal(pictures[0].alpha, pictures[1].alpha)
    other = Tracer(scalar, Lighting("studio"), 2).picture(stage.scene, camera, 20, 6)
    assert not np.array_equal(pictures[0].rgb, other.rgb)


def test_skin_hair_and_eyes_have_their_colours(stage, scalar):
    camera = off_centre()
    traced = Tracer(scalar, Lighting("uniform"), 2).picture(stage.scene, camera, 16, 2)
    seen = annotate(stage.scene, load_head("procedural"), camera)
    preview = render_stage(stage, camera, 2).rgb

    def mean(rgb: np.ndarray, name: str) -> np.ndarray:
        return rgb[
            binary_erosion(seen.regions == LABELS.index(name)) & (traced.alpha > 0.999)
        ].mean(0)

    for name in ("skin", "clothes"):
        ours, theirs = mean(traced.rgb, name), mean(preview, name)
        assert np.corrcoef(ours, theirs)[0, 1] > 0.8 or np.ptp(theirs) < 0.05
        assert 0.6 < ours.mean() / theirs.mean() < 1.6
    assert mean(traced.rgb, "hair").mean() < 0.95 * mean(traced.rgb, "skin").mean() + 0.1
    assert np.isfinite(traced.rgb).all()
    assert traced.rgb.max() <= 1


def test_lamps_shine_through_lenses(scalar):
    looks = ((s, draw_traits(generator(s, "person"))) for s in range(100))
    person = make_person(next(s for s, look in looks if look.glasses is not None), 128)
    expression = torch.zeros(len(person.space.head.expression_names))
    scene = pose_person(person, expression, HeadPose.zeros(1)).scene
    lens = next(surface for surface in scene.surfaces if surface.name == "lenses")
    bare = replace(scene, surfaces=tuple(s for s in scene.surfaces if s is not lens))
    camera = Camera(orbit(0, 0, 0.8, (0, 0.02, 0)), intrinsics(220.0, 48, 48), 48, 48)
    behind = rasterize_mesh(lens.vertices, lens.faces, camera).face_ids >= 0
    behind = binary_erosion(behind)
    assert behind.sum() > 20
    tracer = Tracer(scalar, Lighting("studio"), 2)
    through, straight = (tracer.picture(s, camera, 32, 3) for s in (scene, bare))
    means = [picture.rgb[behind].mean() for picture in (through, straight)]
    assert 0.85 < means[0] / means[1] < 1.2
    assert np.array_equal(through.alpha, straight.alpha), "clear glass covers nothing"


def test_lamps_give_the_light_that_the_preview_has(stage):
    light = stage.scene.light
    image = panorama(light, 96).astype(np.float64)
    polar = (np.arange(96) + 0.5) / 96 * np.pi
    turn = (np.arange(192) + 0.5) / 192 * 2 * np.pi
    way = np.stack([np.sin(polar)[:, None] * np.sin(turn),
                    np.cos(polar)[:, None] + 0 * turn,
                    -np.sin(polar)[:, None] * np.cos(turn)], -1)  # fmt: skip
    area = np.sin(polar)[:, None] * (np.pi / 96) ** 2
    normal = light.directions[0] / np.linalg.norm(light.directions[0])
    facing = np.clip(way @ normal, 0, None) * area
    received = (image * facing[..., None]).sum((0, 1)) / np.pi
    sky = light.below + (light.above - light.below) * (0.5 + 0.5 * way[..., 1:2])
    ambient = (sky * facing[..., None]).sum((0, 1)) / np.pi
    others = (received - ambient) - light.intensities[0]
    assert (others > -0.02).all(), "at least the first lamp in full"
    assert (others <= light.intensities[1:].sum(0) + 0.02).all()


def test_darker_hair_absorbs_more_and_locks_keep_their_width():
    light, dark = absorption(np.array([0.6, 0.5, 0.3])), absorption(np.array([0.05, 0.04, 0.03]))
    assert (dark > light).all()
    assert (np.diff(light) > 0).all(), "blond hair absorbs blue the most"
    points = np.cumsum(np.ones((5, 4, 3)), 1) * 0.01
    radius = np.full(5, 4e-4)
    thin, thinner = split(points, radius, 4)
    assert thin.shape == (20, 4, 3)
    assert thinner.sum() == pytest.approx(radius.sum())
    assert np.abs(thin.reshape(5, 4, 4, 3) - points[:, None]).max() < 1.3 * 4e-4
    assert lock_size(radius, 1.0) == 1
    assert lock_size(radius, 4e-4) == 4


def test_every_strand_is_drawn_once_in_a_colour_near_its_own(stage):
    strands = stage.scene.strands[0]
    groups = shades(strands, 12)
    assert sorted(np.concatenate([g for g, _ in groups])) == list(range(len(strands.points)))
    off = np.concatenate([np.abs(strands.colour[g] - c).max(1) for g, c in groups])
    assert np.median(off) < 0.02


def test_pictures_are_straight_and_displayed_exactly():
    raw = np.zeros((1, 3, 4), np.float32)
    raw[0, 0] = [0.25, 0.25, 0.25, 0.5]
    raw[0, 1] = [9.0, np.nan, 0.0, 1.0]
    picture = developed(raw)
    assert picture.rgb[0, 0, 0] == pytest.approx(1.055 * 0.5 ** (1 / 2.4) - 0.055, abs=1e-6)
    assert np.allclose(picture.rgb[0, 1], [1, 0, 0], atol=1e-6)
    assert picture.rgb.max() <= 1
    assert picture.rgb[0, 2].max() == 0


def test_a_variant_that_does_not_run_is_passed_over_and_named(monkeypatch):
    monkeypatch.setenv(variants.LIBRARY, "/nowhere/libLLVM.so")
    monkeypatch.setattr(variants, "_trial", lambda name, library: f"no {name} here")
    variants._choose.cache_clear()
    chosen = choose_variant()
    assert chosen.name == "scalar_rgb"
    assert "no cuda_ad_rgb here" in chosen.reason
    assert "/nowhere/libLLVM.so: no llvm_ad_rgb here" in chosen.reason
    with pytest.raises(HeadworksError, match="auto"):
        choose_variant("llvm_ad_rgb")
    variants._choose.cache_clear()


def test_a_library_that_kills_the_process_only_kills_its_trial(tmp_path):
    broken = tmp_path / "libLLVM-99.so"
    broken.write_bytes(b"no library")
    trouble = variants._trial("llvm_ad_rgb", str(broken))
    assert trouble is not None
    assert len(trouble) > 10


def test_what_is_missing_is_said_with_what_to_do(monkeypatch, tmp_path, scalar):
    with pytest.raises(HeadworksError, match="cuda_ad_rgb"):
        Tracer(scalar, Lighting(), denoise=True)
    with pytest.raises(HeadworksError, match="panorama"):
        Lighting("environment", tmp_path / "photo.jpg")
    with pytest.raises(HeadworksError, match="no such"):
        Lighting("environment", tmp_path / "sky.exr")
    monkeypatch.setattr(variants, "installed", lambda: None)
    variants._choose.cache_clear()
    with pytest.raises(HeadworksError, match="pip install"):
        choose_variant()
    variants._choose.cache_clear()


def test_the_stage_traces_paths_before_the_users_panorama(tmp_path):
    import drjit
    import mitsuba as mi

    mi.set_variant("scalar_rgb")
    drjit.set_thread_count(2)
    sky, narrow = tmp_path / "sky.exr", tmp_path / "narrow.hdr"
    values = np.full((16, 32, 3), 0.7, np.float32)
    mi.Bitmap(values).write(str(sky))
    mi.Bitmap(values[:, :20]).write(str(narrow))
    assert np.allclose(read_panorama(mi, sky), values, atol=1e-3)
    with pytest.raises(HeadworksError, match="twice as wide"):
        read_panorama(mi, narrow)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "subject.json").write_text(json.dumps({"kind": "synthetic", "files": [], "seed": 5}))
    params = SynthesisParams(
        renderer="mitsuba", variant="scalar_rgb", samples=2, light="environment",
        environment=str(sky), annotations=True, size=40, expressions=2, cameras=1, test_cameras=0,
        texture=128,
    )  # fmt: skip
    digests = []
    for name in ("a", "b"):
        out = tmp_path / name
        run({"raw": raw}, params, out, Context())
        files = sorted(p for p in out.rglob("*") if p.is_file())
        digests.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in files])
    assert digests[0] == digests[1]
    rendering = read_meta(tmp_path / "a", "synthesis")["rendering"]
    assert rendering["variant"] == "scalar_rgb"
    assert rendering["environment_sha256"] == hashlib.sha256(sky.read_bytes()).hexdigest()
    truth = open_arrays(tmp_path / "a" / "truth" / "truth.zarr")
    assert truth["depth"].shape == (2, 1, 40, 40)
    assert json.loads((tmp_path / "a/truth/truth.json").read_text())["regions"] == list(LABELS)
    rgb, alpha = open_arrays(tmp_path / "a" / "frames.zarr")["rgb"][...], truth["alpha"][...]
    assert (rgb[alpha == 0] == 255).all()
    assert rgb[alpha == 255].std() > 10
    assert Path(params.environment) in {*_assets(params).values()}


def _assets(params: SynthesisParams) -> dict[str, Path | None]:
    from stages.synthesis import assets

    return assets(params)
