"""Promises of the matting networks: published layouts load, same outputs, frame by frame."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from headworks.artifacts import read_array, read_meta, write_arrays, write_meta
from headworks.errors import CaptureError, WeightsError
from headworks.matting import background_matting, choose_backend, estimate_alpha, rvm
from headworks.matting.background_matting.network import BackgroundMatting
from headworks.matting.background_matting.network import build as build_bgm
from headworks.matting.background_matting.refiner import Selection
from headworks.matting.rvm.decoder import ConvGRU
from headworks.matting.rvm.network import FRESH, RobustVideoMatting, portrait_ratio
from headworks.matting.rvm.network import build as build_rvm
from headworks.networks.checkpoints import load_state, read_checkpoint
from headworks.networks.files import file_digest
from stages.contract import Context
from stages.matting import MattingParams, run
from tests.rulefill import fingerprint, rule_rows, rule_state


@cache
def rvm_state(variant: str = "mobilenetv3") -> dict[str, torch.Tensor]:
    return rule_state(rule_rows(build_rvm(variant)))


def rvm_network(variant: str = "mobilenetv3") -> RobustVideoMatting:
    return load_state(build_rvm(variant), rvm_state(variant), "rule")


@cache
def bgm_state() -> dict[str, torch.Tensor]:
    return rule_state(rule_rows(build_bgm("mobilenetv2")))


def bgm_network() -> BackgroundMatting:
    """BackgroundMattingV2 that doubts every pixel, a little more here than there."""
    state = dict(bgm_state())
    weight, bias = state["decoder.conv4.weight"].clone(), state["decoder.conv4.bias"].clone()
    weight[4] *= 1e-6
    bias[4] = 0.5
    state |= {"decoder.conv4.weight": weight, "decoder.conv4.bias": bias}
    return load_state(build_bgm("mobilenetv2"), state, "rule")


def clip(times: int, height: int, width: int) -> NDArray[np.uint8]:
    """A bright disc that moves before noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    frames = rng.integers(0, 90, (times, height, width, 3), np.uint8)
    for t, frame in enumerate(frames):
        frame[(x - width / 2 - 2 * t) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2] += 140
    return frames


def video(frames: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255


def relative(value: torch.Tensor, reference: NDArray[np.floating]) -> float:
    difference = np.abs(value.numpy() - reference).max()
    return float(difference / max(1.0, float(np.abs(reference).max())))


@pytest.mark.parametrize("variant", ["mobilenetv3", "resnet50"])
def test_rvm_with_weights_by_rule_gives_the_published_networks_outputs(
    shared: Path, variant: str
) -> None:
    data = np.load(shared / "conformance" / "rvm.npz")
    rows = json.loads((shared / "conformance" / "rvm_state.json").read_text())
    names = [(name, tuple(shape)) for module, name, shape, _ in rows if module == variant]
    assert rule_rows(build_rvm(variant)) == names
    np.testing.assert_allclose(
        fingerprint(rvm_state(variant)), data[f"fingerprint/{variant}"], rtol=1e-12
    )
    network = rvm_network(variant)
    frames, odd = video(data["in/frames"]), video(data["in/frames_odd"])

    def error(name: str, value: torch.Tensor) -> float:
        return relative(value, data[f"out/{variant}/{name}"])

    with torch.inference_mode():
        features = network.features(frames[0, :1])
        assert error("aspp", features[3][:, ::2]) < 1e-4
        hidden, _ = network.hidden(frames[:, :1], FRESH)
        assert error("hid", hidden[0, ..., ::2, ::2]) < 1e-4
        logits, _ = network.segment(frames[:, :1])
        assert error("seg", logits[0, ..., ::2, ::2]) < 1e-4
        for name, ratio in (("r1", 1.0), ("r05", 0.5)):
            mattes = network(frames, ratio=ratio)
            assert error(f"{name}_pha", mattes.alpha[:, -1]) < 1e-4
            assert error(f"{name}_fgr", mattes.foreground[:, -1, :, ::2, ::2]) < 1e-4
            if ratio == 1:
                for i, state in enumerate(mattes.states):
                    # Values of some hundreds pass through the gates: the number of threads alone
                    # moves the states by 1e-4.
                    assert error(f"r1_rec{i + 1}_sub", state[:, ::4, ::2, ::2]) < 5e-4
        # Odd sizes: rounding moves single pixels by 2e-4, and by how much depends on the number of
        # threads. Without rounding (float64) only that of the reference, in float32, is left.
        alpha = network.double()(odd.double(), ratio=0.75).alpha[0, -1:]
        assert error("odd_pha", alpha) < {"mobilenetv3": 1e-4, "resnet50": 1.5e-4}[variant]
        reference = data[f"out/{variant}/odd_pha"]
        assert (np.abs(alpha.numpy() - reference) > 1e-4).mean() < 0.01
        alpha = network.float()(odd, ratio=0.75).alpha[0, -1:]
        assert error("odd_pha", alpha) < 5e-4
        assert np.abs(alpha.numpy() - reference).mean() < 2e-5


def test_rvm_frame_by_frame_is_the_sequence_and_the_state_matters() -> None:
    network, frames = rvm_network(), clip(4, 64, 64)
    with torch.inference_mode():
        whole = network(video(frames)).alpha[0, :, 0].numpy()
        fresh = network(video(frames[-1:])).alpha[0, 0, 0].numpy()
    streamed = np.stack([alpha for _, alpha in rvm.stream(network, iter(frames))])
    np.testing.assert_allclose(streamed, whole, atol=1e-4)
    assert np.abs(fresh - streamed[-1]).max() > 0.01


def test_rvm_starts_anew_where_the_size_changes() -> None:
    network = rvm_network()
    first, second = clip(2, 64, 64), clip(2, 48, 80)
    *_, (_, last) = rvm.stream(network, [*first, *second])
    *_, (_, alone) = rvm.stream(network, second)
    np.testing.assert_array_equal(last, alone)


def test_rvm_keeps_odd_sizes_and_refines_only_below_full_size() -> None:
    network, frames = rvm_network(), video(clip(1, 53, 71))
    with torch.inference_mode():
        assert network(frames, ratio=0.75).alpha.shape == (1, 1, 1, 53, 71)
        network.refiner.conv[6].bias.fill_(torch.nan)
        assert network(frames).alpha.isfinite().all()
        assert not network(frames, ratio=0.75).alpha.isfinite().any()
    assert portrait_ratio(512, 400) == 1
    assert portrait_ratio(720, 1280) == pytest.approx(0.4)


@pytest.mark.parametrize(("bias", "keeps"), [(-100.0, True), (100.0, False)])
def test_the_gate_keeps_the_state_or_takes_the_candidate(bias: float, keeps: bool) -> None:
    torch.manual_seed(0)
    gru = ConvGRU(3)
    x, h = torch.rand(2, 1, 3, 5, 5).unbind(0)
    with torch.no_grad():
        gru.ih[0].weight.zero_()
        gru.ih[0].bias[:3], gru.ih[0].bias[3:] = 100.0, bias
        after = gru.step(x, h)
        candidate = torch.tanh(gru.hh[0](torch.cat([x, h], 1)))
    torch.testing.assert_close(after, h if keeps else candidate)


def test_background_matting_without_doubt_is_the_coarse_matte_enlarged() -> None:
    network, frame = bgm_network(), video(clip(1, 64, 96))[0]
    with torch.inference_mode():
        out = network(frame, frame.roll(3, -1), 0.5, Selection("thresholding", threshold=1.1))
    assert not out.refined.any()
    enlarged = torch.nn.functional.interpolate(
        out.alpha_small, (64, 96), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(out.alpha, enlarged)


def test_background_matting_refines_patches_as_it_would_the_whole_picture() -> None:
    network, frame = bgm_network(), video(clip(1, 64, 96))[0]
    background = frame.roll(3, -1)
    with torch.inference_mode():
        full = network(frame, background, 0.5, Selection("full"))
        sampled = network(frame, background, 0.5, Selection("sampling", 10**6))
        some = network(frame, background, 0.5, Selection("sampling", 1600))
        refiner = network.refiner
        # The same convolutions over the padded picture, without patches.
        pair = torch.cat([frame, background], 1)
        small = torch.nn.functional.interpolate(pair, scale_factor=0.5, mode="bilinear")
        f1, f2, f3, f4 = network.backbone(small)
        coarse = network.decoder(network.aspp(f4), (f3, f2, f1, small))
        parts = [coarse[:, 5:].relu(), coarse[:, :1].clamp(0, 1), coarse[:, 1:4], small]
        x = torch.nn.functional.pad(torch.cat(parts, 1), (3,) * 4)
        x = refiner.bn2(refiner.conv2(refiner.bn1(refiner.conv1(x)).relu())).relu()
        x = torch.cat([x.repeat_interleave(2, -1).repeat_interleave(2, -2),
                       torch.nn.functional.pad(pair, (2,) * 4)], 1)  # fmt: skip
        whole = refiner.conv4(refiner.bn3(refiner.conv3(x)).relu())
    assert sampled.refined.all()
    torch.testing.assert_close(full.alpha, whole[:, :1].clamp(0, 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sampled.alpha, full.alpha)
    assert int(some.refined.sum()) == 100
    inside = some.refined.repeat_interleave(4, -1).repeat_interleave(4, -2) > 0
    torch.testing.assert_close(some.alpha[inside], full.alpha[inside])


def test_background_matting_wants_sizes_that_it_can_halve_twice() -> None:
    network = bgm_network()
    with pytest.raises(ValueError, match="multiples of 4"):
        network(torch.zeros(1, 3, 62, 64), torch.zeros(1, 3, 62, 64))
    with pytest.raises(ValueError, match="scale"):
        network(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), 0.75)
    assert background_matting.backbone_scale(1080, 1920) == 0.25
    assert background_matting.backbone_scale(2160, 3840) == 0.125
    assert background_matting.backbone_scale(256, 256) == 0.5


@pytest.mark.parametrize(
    ("variant", "parameters"), [("mobilenetv2", 5_006_839), ("resnet50", 40_247_703)]
)
def test_background_matting_has_the_published_number_of_parameters(
    variant: str, parameters: int
) -> None:
    assert sum(p.numel() for p in build_bgm(variant).parameters()) == parameters


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_both_kinds_of_file_give_the_same_mattes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rvm_mobilenetv3{suffix}"
    (torch.save if suffix == ".pth" else save_file)(rvm_state(), path)
    frames = clip(2, 48, 48)
    expected = np.stack([a for _, a in rvm.stream(rvm_network(), frames)])
    got = rvm.estimate(frames, tmp_path)
    np.testing.assert_array_equal(got, np.rint(expected * 255).astype(np.uint8))


def test_a_checkpoint_of_another_layout_names_what_is_missing(tmp_path: Path) -> None:
    state = dict(rvm_state())
    del state["project_mat.conv.bias"]
    state["decoder.gru.extra"] = torch.zeros(1)
    state["project_seg.conv.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "rvm_mobilenetv3.pth")
    with pytest.raises(WeightsError) as error:
        rvm.estimate(clip(1, 32, 32), tmp_path)
    message = str(error.value)
    assert "rvm_mobilenetv3.pth" in message
    assert "missing project_mat.conv.bias" in message
    assert "unknown decoder.gru.extra" in message
    assert "project_seg.conv.bias (7,) instead of (1,)" in message


class Trap:
    """An object whose reading would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"weights": Trap(tmp_path / "touched")}, tmp_path / "rvm_mobilenetv3.pth")
    with pytest.raises(WeightsError, match="plain tensors"):
        rvm.estimate(clip(1, 32, 32), tmp_path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_checkpoints_are_named(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=path.name):
        read_checkpoint(path)
    with pytest.raises(WeightsError, match="no such checkpoint"):
        read_checkpoint(tmp_path / f"absent{suffix}")


def test_the_backend_follows_from_what_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "rembg"))
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "u2net"))
    frames = clip(2, 32, 32)
    assert choose_backend([frames], tmp_path)[0] == "plain"
    with pytest.raises(WeightsError, match=r"rvm_resnet50\.pth"):
        estimate_alpha(frames, np.zeros((2, 4)), "rvm", weights=tmp_path)
    torch.save(rvm_state(), tmp_path / "rvm_mobilenetv3.pth")
    name, reason = choose_backend([frames], tmp_path)
    assert name == "rvm"
    assert "mobilenetv3" in reason
    assert choose_backend([frames], tmp_path, plates=True)[0] == "rvm"
    torch.save(bgm_state(), tmp_path / "pytorch_mobilenetv2.pth")
    assert choose_backend([frames], tmp_path)[0] == "rvm"
    assert choose_backend([frames], tmp_path, plates=True)[0] == "background_matting"
    (tmp_path / "u2net").mkdir()
    (tmp_path / "u2net" / "u2netp.onnx").write_bytes(b"weights")
    assert choose_backend([frames[:1]], tmp_path)[0] == "rembg"
    assert choose_backend([frames], tmp_path)[0] == "rvm"
    with pytest.raises(CaptureError, match="clean picture"):
        estimate_alpha(frames, np.zeros((2, 4)), "background_matting", weights=tmp_path)


def test_the_stage_uses_plates_and_says_which_weights(tmp_path: Path) -> None:
    frames = clip(3, 50, 54)
    capture, weights = tmp_path / "in", tmp_path / "weights"
    weights.mkdir()
    plate = frames.min(0)
    write_arrays(capture / "frames.zarr", {"rgb": frames[:, None]})
    write_arrays(capture / "background.zarr", {"rgb": plate[None]})
    times = np.arange(3)
    boxes = {name: np.full(3, 20.0) for name in ("face_x0", "face_y0", "face_x1", "face_y1")}
    table = {"sequence": ["s"] * 3, "t": times, "c": 0 * times, **boxes}
    pl.DataFrame(table).write_parquet(capture / "frames.parquet")
    write_meta(capture, "capture", {"subject_kind": "clip", "setting": "monocular"})
    torch.save(bgm_state(), weights / "pytorch_mobilenetv2.pth")
    torch.save(rvm_state(), weights / "rvm_mobilenetv3.pth")
    for backend, file in (
        ("background_matting", "pytorch_mobilenetv2.pth"),
        ("rvm", "rvm_mobilenetv3.pth"),
    ):
        wanted = "auto" if backend == "background_matting" else backend
        out = tmp_path / backend
        params = MattingParams(backend=wanted, weights=str(weights))
        run({"ingest": capture}, params, out, Context())
        meta = read_meta(out, "mattes")
        assert meta["backend"] == backend
        assert meta["weights_sha256"] == file_digest(weights / file)
        alpha = read_array(out / "mattes.zarr", "alpha", (3, 1, 50, 54))
        given = {"weights": weights, "plate": plate}
        expected = estimate_alpha(frames, np.zeros((3, 4)), backend, **given)
        np.testing.assert_array_equal(alpha[:, 0], expected)
