"""NeRSemble's folders: what is written is read back, in all layouts that are about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from headworks.cameras import Camera, intrinsics, orbit
from headworks.errors import CaptureError
from headworks.formats import nersemble
from headworks.formats.media import read_clip
from headworks.formats.nersemble_colour import TERMS, corrected, decoded, encoded, expanded

SERIALS = nersemble.SERIALS[:3]


def rig(width: int = 44, height: int = 64) -> dict[str, Camera]:
    K = intrinsics(150.0, width, height)
    return {
        serial: Camera(orbit(0.2 * i - 0.2, 0.1 * i, 1.0), K, width, height)
        for i, serial in enumerate(SERIALS)
    }


def frames(seed: int, count: int = 3, width: int = 44, height: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    low = rng.integers(40, 200, (count, 4, 4, 3), dtype=np.uint8)
    return [np.kron(f, np.ones((height // 4, width // 4, 1), np.uint8)) for f in low]


@pytest.fixture
def second_release(tmp_path: Path) -> Path:
    root = tmp_path / "nersemble"
    folder = root / "017"
    nersemble.write_calibration(folder, rig())
    for i, serial in enumerate(SERIALS):
        nersemble.write_recording(folder, "EMO-1-shout+laugh", serial, frames(i), crf=4)
        nersemble.write_recording(folder, "FREE", serial, frames(10 + i), crf=4)
        nersemble.write_plate(folder, serial, frames(20 + i)[0])
    nersemble.write_metadata(root, {"017": (True, ["EMO-1-shout+laugh", "FREE"])})
    return root


def test_what_is_written_is_read_back(second_release):
    person = nersemble.read_participant(second_release / "017")
    assert person.name == "017"
    assert set(person.sequences) == {"EMO-1-shout+laugh", "FREE"}
    for serial, camera in rig().items():
        assert np.array_equal(person.cameras[serial].viewmat, camera.viewmat)
        assert np.array_equal(person.cameras[serial].K, camera.K)
    for i, serial in enumerate(SERIALS):
        decoded_frames = [f.rgb for f in read_clip(person.sequences["FREE"].videos[serial])]
        wanted = frames(10 + i)
        assert len(decoded_frames) == len(wanted)
        assert np.abs(np.stack(decoded_frames).astype(int) - np.stack(wanted)).mean() < 6
    assert set(person.plates) == set(SERIALS)
    # No correction is the identity, and an image comes through it unchanged.
    image = frames(3)[0]
    assert np.array_equal(corrected(image, person.colour[SERIALS[0]]), image)
    # The same from the root, since it holds one participant only.
    assert nersemble.read_participant(second_release).files == person.files


def test_the_first_release_and_the_flat_layout_give_the_same_recordings(second_release, tmp_path):
    wanted = nersemble.read_participant(second_release)
    first, flat = tmp_path / "first", tmp_path / "flat"
    for folder in (first / "camera_params" / "017", flat / "017"):
        folder.mkdir(parents=True)
        shutil.copy(second_release / "017/calibration/camera_params.json", folder)
    affine = np.concatenate([np.eye(3) * 0.5, np.full((3, 1), 0.1)], 1)
    (first / "color_correction" / "017").mkdir(parents=True)
    np.save(first / "color_correction" / "017" / f"{SERIALS[0]}.npy", affine)
    for sequence in wanted.sequences.values():
        for serial, file in sequence.videos.items():
            for target in (
                first / f"sequence_{sequence.name}_part-1" / "017" / sequence.name,
                flat / "017" / sequence.name,
            ):
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target / f"cam_{serial}.mp4")
    for root in (first, flat):
        found = nersemble.read_participant(root)
        assert found.cameras.keys() == wanted.cameras.keys()
        for name, sequence in wanted.sequences.items():
            for serial, file in sequence.videos.items():
                assert found.sequences[name].videos[serial].read_bytes() == file.read_bytes()
    colour = nersemble.read_participant(first).colour
    grey = np.full((2, 2, 3), 100, np.uint8)
    assert corrected(grey, colour[SERIALS[0]])[0, 0].tolist() == [round(50 + 25.5)] * 3


def test_intrinsics_per_camera_and_missing_sizes_are_read_as_the_tools_do(tmp_path):
    cameras = rig()
    other = Camera(cameras[SERIALS[1]].viewmat, intrinsics(99.0, 44, 64), 44, 64)
    nersemble.write_calibration(tmp_path / "002", {**cameras, SERIALS[1]: other})
    path = tmp_path / "002/calibration/camera_params.json"
    assert nersemble.read_cameras(path)[SERIALS[1]].K[0, 0] == 99.0
    assert nersemble.read_cameras(path)[SERIALS[0]].K[0, 0] == 150.0
    body = json.loads(path.read_text())
    del body["width"], body["height"]
    path.write_text(json.dumps(body))
    camera = nersemble.read_cameras(path)[SERIALS[0]]
    assert (camera.width, camera.height) == nersemble.FULL_SIZE
    half = nersemble.scaled_camera(camera, 1100, 1604)
    assert np.allclose(half.K, np.diag([0.5, 0.5, 1]) @ camera.K)
    with pytest.raises(CaptureError, match="cropped"):
        nersemble.scaled_camera(camera, 1100, 1100)


@pytest.mark.parametrize("count", sorted(TERMS))
def test_colour_polynomials_have_as_many_distinct_terms_as_they_say(count):
    rng = np.random.default_rng(count)
    values = expanded(rng.uniform(0.1, 1, (200, 3)), count)
    assert values.shape == (200, count)
    assert np.linalg.matrix_rank(values) == count, "no term twice"
    # A matrix that keeps the linear terms and drops the rest changes nothing.
    matrix = np.eye(3, count)
    image = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    assert np.array_equal(corrected(image, matrix), image)


def test_colour_is_corrected_in_linear_light():
    values = np.linspace(0, 1, 11)
    assert np.allclose(encoded(decoded(values)), values, atol=1e-12)
    grey = np.full((1, 1, 3), 188, np.uint8)
    half = corrected(grey, 0.5 * np.eye(3))[0, 0, 0]
    assert half == round(255 * float(encoded(np.array(0.5 * decoded(np.array(188 / 255))))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.pop("intrinsics"), "intrinsics"),
        (lambda b: b["world_2_cam"].update({SERIALS[0]: np.eye(3).tolist()}), SERIALS[0]),
        (lambda b: b["world_2_cam"].update({SERIALS[0]: np.diag([1, 1, -1, 1]).tolist()}),
         "OpenCV"),
    ],
)  # fmt: skip
def test_a_broken_calibration_is_a_clear_error(second_release, change, words):
    path = second_release / "017/calibration/camera_params.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(CaptureError, match=words):
        nersemble.read_participant(second_release)


def test_several_participants_need_a_name(second_release):
    nersemble.write_calibration(second_release / "018", rig())
    with pytest.raises(CaptureError, match="017, 018"):
        nersemble.read_participant(second_release)
    assert nersemble.participants(second_release) == ["017", "018"]
    assert nersemble.read_participant(second_release, "017").name == "017"
    with pytest.raises(CaptureError, match="no recordings"):
        nersemble.read_participant(second_release, "018")
    assert not nersemble.is_nersemble(second_release / "017" / "sequences")
