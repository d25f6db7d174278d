"""Promises of LivePortrait's networks: published layouts load, same outputs, expression alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from headworks.errors import WeightsError
from headworks.expressions.liveportrait import BASE, RETARGETING, weights_files
from headworks.expressions.liveportrait.config import Config
from headworks.expressions.liveportrait.generator import Spade, SpadeResidual, fold_spectral_norm
from headworks.expressions.liveportrait.keypoints import (
    EYES,
    LIPS,
    absolute_expression,
    compose,
    degrees_of,
    expression_mask,
    rotation_matrix,
)
from headworks.expressions.liveportrait.model import LivePortrait, build, load
from headworks.expressions.liveportrait.motion import Motion
from headworks.expressions.liveportrait.stitching import retarget, stitch
from headworks.expressions.liveportrait.warping import identity_grid
from headworks.networks.checkpoints import load_state
from tests.rulefill import fingerprint, rule_rows, rule_state

TINY = Config(
    width=8, features=32, depth=4, residuals=2, motion_depths=(1, 1, 1, 1),
    motion_widths=(8, 16, 32, 64), dense_width=4, dense_features=16, dense_blocks=2, middle=2,
    shared=8,
)  # fmt: skip
MODULES = {
    "appearance_feature_extractor": "appearance",
    "motion_extractor": "motion",
    "warping_module": "warping",
    "spade_generator": "generator",
    "retarget_shoulder": "stitching",
    "retarget_mouth": "lips",
    "retarget_eye": "eyes",
}


def spectral_rows(network: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """The published rows of the generator: its residual convolutions carry spectral vectors."""
    rows = []
    for name, shape in rule_rows(network):
        if ".conv_" in name and name.endswith("weight"):
            v = int(np.prod(shape[1:]))
            rows += [(f"{name}_orig", shape), (f"{name}_u", shape[:1]), (f"{name}_v", (v,))]
        else:
            rows.append((name, shape))
    return rows


def published_rows(networks: LivePortrait, module: str) -> list[tuple[str, tuple[int, ...]]]:
    network = getattr(networks, MODULES[module])
    return spectral_rows(network) if module == "spade_generator" else rule_rows(network)


def tiny_states(config: Config = TINY) -> dict[str, dict[str, torch.Tensor]]:
    empty = build(config)
    return {module: rule_state(published_rows(empty, module)) for module in MODULES}


def write_weights(folder: Path, states: dict[str, dict[str, torch.Tensor]]) -> Path:
    """Checkpoints in the published folders and layout."""
    base = folder / "liveportrait" / "base_models"
    small = folder / "liveportrait" / "retargeting_models"
    base.mkdir(parents=True)
    small.mkdir()
    for name in BASE:
        torch.save(states[name], base / f"{name}.pth")
    retargeting = {
        name: {f"module.{n}": t for n, t in state.items()}
        for name, state in states.items()
        if name.startswith("retarget_")
    }
    torch.save(retargeting, small / f"{RETARGETING}.pth")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LivePortrait:
    return load(write_weights(tmp_path_factory.mktemp("weights"), tiny_states()), TINY)


@pytest.fixture(scope="module")
def published(shared: Path) -> Any:
    """Conformance arrays and (name, shape) rows per module."""
    folder = shared / "conformance"
    rows: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for module, name, shape, _ in json.loads((folder / "liveportrait_state.json").read_text()):
        rows.setdefault(module, []).append((name, tuple(shape)))
    return np.load(folder / "liveportrait.npz"), rows


def filled(networks: LivePortrait, module: str, rows: Any, data: Any) -> Any:
    state = rule_state(rows[module])
    np.testing.assert_allclose(fingerprint(state), data[f"fingerprint/{module}"], rtol=1e-12)
    if module == "spade_generator":
        state = fold_spectral_norm(state, "rule")
    return load_state(getattr(networks, MODULES[module]), state, "rule")


def assert_close(value: torch.Tensor, reference: NDArray[np.floating], tolerance: float = 1e-4):
    scale = max(1.0, float(np.abs(reference).max()))
    np.testing.assert_allclose(value.numpy(), reference, rtol=0, atol=tolerance * scale)


def picture(data: Any, name: str) -> torch.Tensor:
    return torch.from_numpy(data[f"in/{name}"]).permute(2, 0, 1)[None].float() / 255


def test_names_and_shapes_are_the_published_ones(published: Any) -> None:
    _, rows = published
    networks = build()
    for module in MODULES:
        assert sorted(published_rows(networks, module)) == sorted(rows[module]), module


def test_motion_and_appearance_by_rule_give_the_published_outputs(published: Any) -> None:
    data, rows = published
    networks = build()
    motion, appearance = (filled(networks, name, rows, data) for name in (BASE[1], BASE[0]))
    with torch.inference_mode():
        volume = appearance(picture(data, "source"))
        assert_close(volume[:, ::4, ::4, ::4, ::4], data["out/F_sub"])
        raw = motion.raw(picture(data, "source"))
        for name, value in raw.items():
            assert_close(value, data[f"out/M_raw_{name}"])
        for key, name in (("s", "source"), ("d0", "driving0"), ("d1", "driving1")):
            face = motion(picture(data, name))
            assert_close(face.rotation, data[f"out/R_{key}"])
            assert_close(face.keypoints(), data[f"out/x_{key}"])
            assert_close(face.exp, data[f"out/M_{key}_exp"])
        for angle in ("pitch", "yaw", "roll"):
            np.testing.assert_allclose(
                degrees_of(raw[angle]), data[f"out/M_s_{angle}"][:, 0], atol=1e-3
            )


def test_keypoints_and_perceptrons_by_rule_give_the_published_outputs(published: Any) -> None:
    data, rows = published

    def given(name: str) -> torch.Tensor:
        return torch.from_numpy(data[f"in/{name}"])

    angles = (torch.deg2rad(given(f"free_{a}")[:, 0]) for a in ("pitch", "yaw", "roll"))
    rotation = rotation_matrix(*angles)
    assert_close(rotation, data["out/free_R"])
    points = compose(
        given("free_kp"), given("free_exp"), rotation, given("free_scale"), given("free_t")
    )
    assert_close(points, data["out/free_x"])
    np.testing.assert_allclose(degrees_of(given("bins")), data["out/bins_degree"], atol=1e-3)
    networks = build()
    source, driving = given("kp_source"), given("kp_driving")
    stitching, lips, eyes = (
        filled(networks, f"retarget_{name}", rows, data) for name in ("shoulder", "mouth", "eye")
    )
    assert_close(stitch(stitching, source, driving), data["out/stitching"])
    assert_close(retarget(lips, source, given("lip_ratio")), data["out/retarget_lip"])
    assert_close(retarget(eyes, source, given("eye_ratio")), data["out/retarget_eye"])


@pytest.mark.slow
def test_warping_and_drawing_by_rule_give_the_published_outputs(published: Any) -> None:
    data, rows = published
    networks = build()
    for module in MODULES:
        filled(networks, module, rows, data)

    def enlarged(name: str, axes: tuple[int, ...]) -> torch.Tensor:
        value = torch.from_numpy(data[f"in/{name}"])
        for axis in axes:
            value = value.repeat_interleave(4, axis)
        return value

    source, driving = (torch.from_numpy(data[f"in/kp_{k}"][:1]) for k in ("source", "driving"))
    with torch.inference_mode():
        warped = networks.warping(enlarged("W_feature_small", (2, 3, 4)), driving, source)
        assert_close(warped.mask[:, :, ::4, ::8, ::8], data["out/W_mask_sub"])
        assert_close(warped.deformation[:, ::2, ::4, ::4], data["out/W_deformation_sub"])
        assert_close(warped.occlusion, data["out/W_occlusion"])
        assert_close(warped.features[:, ::8, ::2, ::2], data["out/W_out_sub"])
        drawn = networks.generator(enlarged("G_feature_small", (2, 3)))
        assert_close(drawn[:, :, ::4, ::4], data["out/G_sub4"])
        looks = networks.lend(picture(data, "source"))
        rest, moved = (networks.read(picture(data, f"driving{i}")) for i in (0, 1))
        points = networks.keypoints(looks.motion, moved, "relative", rest)
        assert_close(points, data["out/anim_x_new"])
        stitched = networks.keypoints(looks.motion, moved, "relative", rest, stitched=True)
        assert_close(stitched, data["out/anim_x_stitched"])
        difference = np.abs(
            networks.draw(looks, points)[:, :, ::4, ::4].numpy() - data["out/anim_image_sub4"]
        )
    # Keypoints by rule reach far beyond the picture, where sampling is ill-conditioned.
    assert difference.mean() < 1e-5
    assert difference.max() < 2e-3


def test_published_layout_loads_and_draws_twice_the_size(tiny: LivePortrait) -> None:
    faces = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    looks = tiny.lend(faces[:1])
    driving = tiny.read(faces[1:])
    assert looks.volume.shape == (1, 8, 4, 16, 16)
    points = tiny.keypoints(looks.motion, driving)
    drawn = tiny.draw(looks, points)
    assert drawn.shape == (1, 3, 128, 128)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    still = tiny.draw(looks, looks.motion.keypoints())
    assert (drawn - still).abs().max() > 1e-3


def test_only_the_expression_is_taken_from_the_driver(tiny: LivePortrait) -> None:
    faces = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    source, driving = (tiny.read(face[None]) for face in faces)
    elsewhere = replace(
        driving,
        kp=driving.kp + 1,
        rotation=driving.rotation.transpose(1, 2),
        scale=driving.scale * 2,
        t=driving.t + 0.5,
    )
    points = tiny.keypoints(source, driving)
    torch.testing.assert_close(tiny.keypoints(source, elsewhere), points, rtol=0, atol=0)
    assert not torch.allclose(points, source.keypoints())
    back = tiny.keypoints(source, driving, "relative", driving)
    torch.testing.assert_close(back, source.keypoints())
    with pytest.raises(ValueError, match="neutral"):
        tiny.keypoints(source, driving, "relative")
    with pytest.raises(ValueError, match="stitching"):
        replace(tiny, stitching=None).keypoints(source, driving, stitched=True)


def test_absolute_transfer_leaves_what_is_no_expression() -> None:
    source, driving = torch.rand(2, 1, 21, 3, generator=torch.Generator().manual_seed(0)).unbind(0)
    out, mask = absolute_expression(source, driving), expression_mask()
    assert torch.equal(out[:, ~mask], source[:, ~mask])
    assert torch.equal(out[:, mask], driving[:, mask])
    assert not mask[[0, 7, 10]].any()
    assert mask[[*LIPS, *EYES]].all()
    assert int(mask.sum()) == 3 * 13 + 6


def test_angles() -> None:
    zero, quarter = torch.zeros(1), torch.full((1,), np.pi / 2)
    torch.testing.assert_close(rotation_matrix(zero, zero, zero)[0], torch.eye(3))
    turned = rotation_matrix(torch.tensor([0.3]), torch.tensor([-0.7]), torch.tensor([1.1]))
    torch.testing.assert_close(torch.det(turned), torch.ones(1))
    sideways = torch.tensor([[0.0, 0, 1]]) @ rotation_matrix(zero, quarter, zero)[0]
    torch.testing.assert_close(sideways, torch.tensor([[1.0, 0, 0]]), atol=1e-6, rtol=0)
    logits = 1000 * torch.eye(66)
    torch.testing.assert_close(degrees_of(logits), 3 * torch.arange(66.0) - 97.5)
    t = torch.tensor([[0.1, 0.2, 0.9]])
    face = Motion(torch.rand(1, 21, 3), torch.rand(1, 21, 3), torch.eye(3)[None],
                  torch.full((1, 1), 1.5), t)  # fmt: skip
    expected = 1.5 * (face.kp + face.exp) + torch.tensor([0.1, 0.2, 0.0])
    torch.testing.assert_close(face.keypoints(), expected)


def test_keypoints_that_do_not_move_leave_every_voxel_in_place(tiny: LivePortrait) -> None:
    volume = torch.rand(1, 8, 4, 16, 16)
    points = torch.rand(1, 21, 3) - 0.5
    with torch.inference_mode():
        warped = tiny.warping(volume, points, points)
    torch.testing.assert_close(warped.deformation[0], identity_grid((4, 16, 16)))
    torch.testing.assert_close(warped.mask.sum(1), torch.ones(1, 4, 16, 16))


def test_folded_spectral_norm_is_the_published_form() -> None:
    torch.manual_seed(0)
    ours = SpadeResidual(6, 4, 5, 3)
    theirs = SpadeResidual(6, 4, 5, 3)
    for name in ("conv_0", "conv_1", "conv_s"):
        setattr(theirs, name, torch.nn.utils.spectral_norm(getattr(theirs, name)))
    theirs.eval()
    load_state(ours, fold_spectral_norm(theirs.state_dict(), "x"), "x")
    x, condition = torch.rand(1, 6, 9, 9), torch.rand(1, 5, 9, 9)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x, condition), theirs(x, condition))


def test_modulation_by_nothing_is_instance_normalisation() -> None:
    spade = Spade(3, 5, 4)
    for layer in (spade.mlp_gamma, spade.mlp_beta):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        y = spade(x, torch.rand(1, 5, 4, 4))
    torch.testing.assert_close(y.mean((2, 3)), torch.zeros(1, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((2, 3), correction=0), torch.ones(1, 3), atol=1e-3, rtol=0)


def test_missing_files_and_names_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"motion_extractor\.pth, warping_module\.pth"):
        weights_files(tmp_path)
    states = tiny_states()
    del states["spade_generator"]["up_0.conv_s.weight_u"]
    folder = write_weights(tmp_path / "a", states)
    with pytest.raises(WeightsError, match=r"spade_generator.pth: missing up_0.conv_s.weight_u"):
        load(folder, TINY)
    states = tiny_states()
    del states["warping_module"]["fourth.bias"]
    del states["warping_module"]["third.norm.weight"]
    folder = write_weights(tmp_path / "b", states)
    with pytest.raises(WeightsError, match=r"missing third.norm.weight, fourth.bias"):
        load(folder, TINY)
    states = tiny_states()
    del states["retarget_eye"]
    folder = write_weights(tmp_path / "c", states)
    with pytest.raises(WeightsError, match=r"retarget_eye: missing"):
        load(folder, TINY)
    (folder / "liveportrait" / "retargeting_models" / f"{RETARGETING}.pth").unlink()
    assert load(folder, TINY).stitching is None
