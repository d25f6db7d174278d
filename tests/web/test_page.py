"""The page of an avatar is one file that shows what our renderer shows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headworks.avatars.avatar import Avatar, BoundAvatar
from headworks.avatars.binding import bind_uv, initial_gaussians
from headworks.avatars.flash_avatar.avatar import FlashAvatar
from headworks.avatars.flash_avatar.model import canonical_points
from headworks.avatars.flash_avatar.model import initial_gaussians as flash_gaussians
from headworks.avatars.flash_avatar.network import OffsetNetwork, condition_size
from headworks.avatars.gaussian_avatars.avatar import GaussianAvatar
from headworks.avatars.gaussian_avatars.model import initial_gaussians as face_gaussians
from headworks.cameras import Camera, intrinsics, orbit
from headworks.driving.performance import bare_head
from headworks.errors import HeadworksError
from headworks.heads.base import HeadModel, HeadPose
from headworks.metrics.pixel import psnr
from headworks.pictures import portrait_camera
from headworks.tracks import Tracking
from headworks.web import Sequence, pack, resting_row, tracked_sequence, unpack, write_page
from headworks.web.bake import bake
from headworks.web.browser import Browser, find_chromium
from headworks.web.check import our_picture, page_picture
from tests.toyhead import toy_head

NAME = "someone <b>&1"


def rich_head() -> HeadModel:
    """A toy head with everything that a head model may have, signed expressions but one."""
    head = toy_head()
    rng = np.random.default_rng(1)
    x, y, z = head.template.T

    def smooth(count: int, metres: float) -> torch.Tensor:
        phase = torch.from_numpy(rng.uniform(0, 6, (count, 3, 1)).astype(np.float32))
        return metres * torch.sin(20 * (x + 2 * y - z) + phase).transpose(1, 2)

    weights = head.skin_weights.clone()
    chin = ((y < -0.02) & (y > -0.06) & (z > 0.03)).float() * 0.6
    eye = ((y > 0.02) & (z > 0.06)).float()
    weights = weights * (1 - chin - eye)[:, None]
    weights[:, 2] += chin
    weights[:, 3] += eye * (x > 0)
    weights[:, 4] += eye * (x <= 0)
    return replace(
        head,
        skin_weights=weights,
        expression_basis=torch.cat([head.expression_basis, smooth(1, 0.004)]),
        expression_names=(*head.expression_names, "mode"),
        expression_signed=(False, False, True),
        corrective_basis=smooth(3, 0.006),
        corrective_terms=torch.tensor([[0, 1], [1, 3], [2, 4]]),
        pose_basis=smooth(36, 0.003),
        joint_expression=torch.from_numpy(rng.normal(0, 0.004, (3, 5, 3)).astype(np.float32)),
        joint_identity=torch.from_numpy(rng.normal(0, 0.004, (2, 5, 3)).astype(np.float32)),
    )


def small_avatar() -> BoundAvatar:
    """A few hundred Gaussians of all shapes, some turned, one invisible."""
    head = rich_head()
    binding = bind_uv(head, 24)
    local = initial_gaussians(head, binding)
    torch.manual_seed(3)
    local = local._replace(
        means=0.3 * torch.randn_like(local.means),
        log_scales=local.log_scales + 0.4 * torch.randn_like(local.log_scales),
        quats=torch.randn_like(local.quats),
        colors=2 * torch.randn_like(local.colors),
        opacities=2 * torch.randn_like(local.opacities),
    )
    local.opacities[7] = -9.0
    return BoundAvatar(head, torch.tensor([0.8, -1.2]), local, binding, "gasp", "monocular")


def lively_row(avatar: Avatar) -> np.ndarray:
    """A driving row with every number in use."""
    pose = HeadPose(
        *(torch.tensor([v]) for v in (
            [0.1, -0.3, 0.05], [0.01, -0.02, 0.015], [0.1, 0.3, -0.1], [0.004, 0.0, 0.003],
            [0.2, 0.05, 0.0],
        )),
        torch.tensor([[[0.1, 0.2, 0.0], [-0.1, 0.15, 0.05]]]),
    )  # fmt: skip
    return pack(torch.tensor([[0.7, 0.9, -1.3]]), pose)[0]


@pytest.fixture(scope="module")
def avatar() -> BoundAvatar:
    return small_avatar()


@pytest.fixture(scope="module")
def page(avatar: BoundAvatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    still, lively = resting_row(avatar.head), lively_row(avatar)
    motion = Sequence("a nod", 5.0, np.stack([still, lively, still]))
    write_page(avatar, path, motion, {"subject": NAME, "lineage": "abc123"})
    return path


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("no Chromium on the path; set HEADWORKS_CHROMIUM to its program")
    with Browser(600, 500) as started:
        started.open(page, "#still")
        yield started


def test_the_page_is_complete_in_itself(page: Path) -> None:
    html = page.read_text()
    visible = re.sub(r'<script type="text/plain".*?</script>', "", html, flags=re.S)
    assert "default-src &#39;none&#39;" in visible
    for reference in re.findall(r"""(?:src|href)=["']([^"']*)""", visible):
        assert reference.startswith("data:"), reference
    assert "Synthetic" in visible
    assert "someone &lt;b&gt;&amp;1" in visible
    assert "<b>&1" not in visible
    assert "abc123" in visible


def test_equal_avatars_give_equal_pages(avatar: BoundAvatar, page: Path, tmp_path: Path) -> None:
    again = tmp_path / "page.html"
    still, lively = resting_row(avatar.head), lively_row(avatar)
    motion = Sequence("a nod", 5.0, np.stack([still, lively, still]))
    write_page(avatar, again, motion, {"subject": NAME, "lineage": "abc123"})
    assert again.read_bytes() == page.read_bytes()


def test_invisible_gaussians_are_left_out(avatar: BoundAvatar) -> None:
    alpha = torch.sigmoid(avatar.local.opacities)
    arrays, facts = bake(avatar)
    assert facts["gaussians"] == int((alpha >= 1 / 255).sum()) < len(alpha)
    assert (arrays["skin"].astype(int).sum(1) == 65535).all()


def test_rows_hold_expression_and_pose(avatar: BoundAvatar) -> None:
    row = lively_row(avatar)
    expression, pose = unpack(row[None])
    assert np.array_equal(pack(expression, pose)[0], row)
    assert pose.eyes.shape == (1, 2, 3)
    assert torch.allclose(pose.neck[0], torch.tensor([0.1, 0.3, -0.1]))


def test_the_browser_poses_the_mesh_as_the_head_model_does(
    avatar: BoundAvatar, browser: Browser
) -> None:
    row = lively_row(avatar)
    posed = np.array(browser.run(f"window.headworks.pose({row.tolist()})")).reshape(-1, 3)
    expression, pose = unpack(row[None])
    with torch.no_grad():
        ours = avatar.vertices(expression[0], pose).numpy()
    alpha = torch.sigmoid(avatar.local.opacities) >= 1 / 255
    used = np.unique(avatar.head.faces[avatar.binding.faces[alpha]].numpy())
    assert np.abs(posed - ours[used]).max() < 5e-6  # metres


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (0.8, 0.3)])
@pytest.mark.parametrize("lively", [False, True])
def test_the_page_shows_what_our_renderer_shows(
    avatar: BoundAvatar, browser: Browser, azimuth: float, elevation: float, lively: bool
) -> None:
    row = lively_row(avatar) if lively else resting_row(avatar.head)
    camera = Camera(orbit(azimuth, elevation, 0.6), intrinsics(300.0, 128, 112), 128, 112)
    ours = our_picture(avatar, row, camera, (0.9, 0.6, 0.2))
    theirs = page_picture(browser, row, camera, (0.9, 0.6, 0.2))
    assert ours.std() > 20
    assert psnr(theirs / 255, ours / 255) > 42


def test_playing_moves_the_face_and_a_slider_stops_it(browser: Browser) -> None:
    before = browser.run("window.headworks.row()")
    wait = "new Promise((done) => setTimeout(done, 200))"
    browser.run("window.headworks.play()")
    moved, deadline = before, time.monotonic() + 20
    while np.abs(np.subtract(moved, before)).max() <= 0.05 and time.monotonic() < deadline:
        moved = browser.run(f"{wait}.then(() => window.headworks.row())")
    assert np.abs(np.subtract(moved, before)).max() > 0.05
    browser.run(
        "(() => { const s = document.querySelector('[data-group=face] input'); s.value = 0.6;"
        "s.dispatchEvent(new Event('input')); })()"
    )
    assert browser.run("document.querySelector('#play').dataset.state") == "paused"
    assert browser.run("window.headworks.row()[1]") == pytest.approx(0.6)


def test_keys_turn_the_avatar(browser: Browser) -> None:
    browser.run("document.querySelector('canvas').focus()")
    before = browser.run("window.headworks.stage.azimuth")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight")
    assert browser.run("window.headworks.stage.azimuth") != before


def test_the_console_stays_clean_and_nothing_is_requested(browser: Browser, page: Path) -> None:
    assert browser.problems == []
    assert browser.requests == [page.as_uri() + "#still"] or browser.requests == [page.as_uri()]


def test_without_webgl_a_still_picture_and_a_sentence_remain(page: Path) -> None:
    if find_chromium() is None:
        pytest.skip("no Chromium on the path; set HEADWORKS_CHROMIUM to its program")
    with Browser(600, 500) as plain:
        plain.call(
            "Page.addScriptToEvaluateOnNewDocument",
            source="HTMLCanvasElement.prototype.getContext = () => null;",
        )
        plain.open(page)
        assert "WebGL2" in plain.run("document.querySelector('#message').textContent")
        assert plain.run("getComputedStyle(document.querySelector('#poster')).visibility") == (
            "visible"
        )
        assert plain.run("document.querySelector('#poster').naturalWidth") > 0


def face_bound_avatar(degree: int) -> GaussianAvatar:
    """A GaussianAvatar with bold harmonics: from the side its colours are others."""
    head = rich_head()
    torch.manual_seed(4)
    local, binding = face_gaussians(head, degree, 0)
    local = local._replace(
        means=0.2 * torch.randn_like(local.means),
        log_scales=0.4 * torch.randn_like(local.log_scales) - 0.5,
        quats=torch.randn_like(local.quats),
        sh_dc=0.8 * torch.randn_like(local.sh_dc),
        sh_rest=0.3 * torch.randn_like(local.sh_rest),
        opacities=2 * torch.randn_like(local.opacities),
    )
    return GaussianAvatar(head, torch.tensor([0.8, -1.2]), local, binding, "monocular")


def network_avatar(degree: int, scale_mode: str) -> FlashAvatar:
    """A FlashAvatar whose network moves, turns and stretches its Gaussians visibly."""
    head, identity = rich_head(), torch.tensor([0.8, -1.2])
    binding = bind_uv(head, 24)
    raw = flash_gaussians(canonical_points(head, identity, binding), degree)
    torch.manual_seed(5)
    raw = raw._replace(
        quats=torch.randn_like(raw.quats),
        sh_dc=0.8 * torch.randn_like(raw.sh_dc),
        sh_rest=0.3 * torch.randn_like(raw.sh_rest),
        opacities=2 * torch.randn_like(raw.opacities),
    )
    network = OffsetNetwork(condition_size(head), 17, seed=3)
    with torch.no_grad():
        last = network.layers[-1]
        last.weight[:3] *= 0.05  # offsets are metres
        last.bias[:3] = 0.0
    return FlashAvatar(head, identity, raw, binding, network, scale_mode, "monocular")


OTHERS = {
    "gaussian_avatars, degree 0": lambda: face_bound_avatar(0),
    "gaussian_avatars, degree 1": lambda: face_bound_avatar(1),
    "gaussian_avatars, degree 3": lambda: face_bound_avatar(3),
    "flash_avatar, degree 0": lambda: network_avatar(0, "log_mult"),
    "flash_avatar, degree 2": lambda: network_avatar(2, "additive"),
}


@pytest.mark.parametrize("method", OTHERS)
def test_pages_of_the_other_methods_show_what_our_renderer_shows(
    method: str, browser: Browser, tmp_path: Path
) -> None:
    other = OTHERS[method]()
    write_page(other, tmp_path / "page.html")
    browser.open(tmp_path / "page.html", "#still")
    pictures = []
    for azimuth, row in ((0.0, resting_row(other.head)), (0.8, lively_row(other))):
        camera = Camera(orbit(azimuth, 0.3, 0.6), intrinsics(300.0, 128, 112), 128, 112)
        ours = our_picture(other, row, camera, (0.9, 0.6, 0.2))
        theirs = page_picture(browser, row, camera, (0.9, 0.6, 0.2))
        assert ours.std() > 20
        assert psnr(theirs / 255, ours / 255) > 42
        pictures.append(theirs)
    assert psnr(pictures[0] / 255, pictures[1] / 255) < 30
    assert browser.problems == []


def test_a_method_without_a_page_is_named(avatar: BoundAvatar, tmp_path: Path) -> None:
    class Other:
        head, identity, method = avatar.head, avatar.identity, "nearest_frame"

    with pytest.raises(HeadworksError, match="not of nearest_frame"):
        write_page(Other(), tmp_path / "page.html")  # type: ignore[arg-type]


def test_a_tracked_sequence_moves_as_a_whole(avatar: BoundAvatar) -> None:
    head, count = avatar.head, 6
    rng = np.random.default_rng(0)

    def some(scale: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(0, scale, shape).astype(np.float32))

    pose = HeadPose(
        some(0.2, count, 3) + torch.tensor([0.0, 2.0, 0.0]), some(0.02, count, 3) + 1.0,
        some(0.1, count, 3), some(0.01, count, 3), some(0.05, count, 3), some(0.1, count, 2, 3),
    )  # fmt: skip
    tracking = Tracking(
        "toy", "", avatar.identity, some(0.5, count, 3), pose, np.ones(count, bool),
        np.eye(4)[None], np.tile(np.eye(3), (count, 1, 1, 1)),
    )  # fmt: skip
    expression, moved = unpack(tracked_sequence(head, tracking, range(count), 25.0, "clip").rows)
    identity = avatar.identity[None].expand(count, -1)
    with torch.no_grad():
        ours = bare_head(head, avatar.identity)
    before = head.vertices(identity, tracking.expression, pose)
    after = head.vertices(identity, expression, moved)
    # One rigid motion carries every frame: distances between frames stay as they were.
    for t in range(1, count):
        a, b = (before[t] - before[0]).norm(dim=1), (after[t] - after[0]).norm(dim=1)
        assert torch.allclose(a, b, atol=2e-5)
    # Seen from the front it is turned as the clip's camera saw it, and stands in the usual place.
    front = torch.from_numpy(portrait_camera(ours, 64).viewmat[:3, :3]).float()
    seen, _ = head.joint_transforms(identity, pose)
    shown, places = head.joint_transforms(identity, moved)
    assert torch.allclose(front @ shown[:, 1], seen[:, 1], atol=1e-5)
    assert float(places[:, 1].median(0).values.norm()) < 0.01


def test_a_sequence_of_another_head_is_refused(avatar: BoundAvatar, tmp_path: Path) -> None:
    with pytest.raises(HeadworksError, match="numbers per frame"):
        write_page(avatar, tmp_path / "p.html", Sequence("x", 25.0, np.zeros((2, 9), np.float32)))
