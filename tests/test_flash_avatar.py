"""FlashAvatar on a toy head: its network, what it does to Gaussians, its losses, its fit."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from headworks.avatars import Avatar, load_avatar_file
from headworks.avatars.flash_avatar import FlashAvatar, FlashAvatarConfig, fit_flash_avatar
from headworks.avatars.flash_avatar.losses import huber, mouth_mask, picture_loss
from headworks.avatars.flash_avatar.model import (
    canonical_points,
    carry,
    head_weights,
    initial_gaussians,
    sample,
    world_gaussians,
)
from headworks.avatars.flash_avatar.network import (
    ENCODED,
    OffsetNetwork,
    condition,
    condition_size,
    encode,
)
from headworks.avatars.views import splat_view
from headworks.cameras import Camera, intrinsics, orbit
from headworks.errors import ArtifactError
from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import REGIONS, HeadPose
from tests.paintedtoy import painted_views
from tests.toyhead import toy_head

FIT = FlashAvatarConfig(steps=40, uv_size=20, width=16, checkpoint_every=15)


def flame_shaped():
    """A head with FLAME's 100 expressions and FlashAvatar's two lids."""
    head = toy_head()
    names = (*tuple(f"expression_{k}" for k in range(100)), "lid_left", "lid_right")
    basis = torch.zeros(102, *head.template.shape)
    return replace(head, expression_basis=basis, expression_names=names)


def no_progress(done: float, message: str) -> None:
    pass


@pytest.fixture(scope="module")
def views():
    return painted_views([0.0, 0.5, -0.5], 3)


@pytest.fixture(scope="module")
def fitted(views):
    return fit_flash_avatar(toy_head(), views, "multiview", FIT, 0, no_progress)


def test_at_flames_sizes_the_network_is_the_published_one():
    head = flame_shaped()
    assert condition_size(head) == 120
    assert len(condition(torch.zeros(102), HeadPose.zeros(1))) == 120
    network = OffsetNetwork(120, 256, seed=0)
    assert network.layers[0].in_features == 171
    assert sum(p.numel() for p in network.parameters()) == 375_562


def test_a_point_is_encoded_by_itself_and_eight_octaves():
    points = torch.tensor([[0.1, -0.2, 0.05]])
    encoded = encode(points)[0]
    assert len(encoded) == ENCODED == 51
    assert torch.equal(encoded[:3], points[0])
    for octave in range(8):
        block = encoded[3 + 6 * octave : 9 + 6 * octave]
        angles = 2**octave * points[0]
        assert torch.allclose(block, torch.cat([angles.sin(), angles.cos()]), atol=1e-6)


def test_the_condition_once_equals_the_condition_at_every_gaussian():
    network = OffsetNetwork(20, 32, seed=1)
    encoded, cond = torch.randn(7, ENCODED), torch.randn(20)
    x = torch.cat([encoded, cond.expand(7, -1)], 1)
    for layer in network.layers[:-1]:
        x = torch.relu(layer(x))
    expected = torch.tanh(network.layers[-1](x))
    assert torch.allclose(network(encoded, cond), expected, atol=1e-6)


def test_the_condition_leaves_out_where_the_head_is():
    expression = torch.tensor([0.2, 0.7])
    still, moved = HeadPose.zeros(1), HeadPose.zeros(1)
    moved.rotation[:], moved.translation[:], moved.neck[:] = 0.4, 0.1, 0.2
    assert torch.equal(condition(expression, still), condition(expression, moved))
    for name, axis in (("jaw", 0), ("eyes", 1)):
        other = HeadPose.zeros(1)
        getattr(other, name)[..., axis] = 0.3
        assert not torch.allclose(condition(expression, still), condition(expression, other))


def state_of(head, pose: HeadPose, expression=None):
    binding = sample(head, 20)
    identity = torch.zeros(2)
    vertices = head.vertices(
        identity[None], torch.zeros(1, 2) if expression is None else expression, pose
    )[0]
    raw = initial_gaussians(canonical_points(head, identity, binding), 3)
    carried = carry(head, identity, pose, vertices, binding, head_weights(head, binding))
    points = (vertices[head.faces[binding.faces]] * binding.bary[..., None]).sum(1)
    return raw, carried, points


@pytest.mark.parametrize("mode", ["additive", "log_mult"])
def test_a_silent_network_leaves_gaussians_on_the_mesh_as_they_are(mode):
    g = torch.Generator().manual_seed(0)
    raw, carried, points = state_of(toy_head(), HeadPose.zeros(1), torch.tensor([[0.5, 0.8]]))
    raw = raw._replace(quats=torch.randn(len(points), 4, generator=g))
    world = world_gaussians(raw, torch.zeros(len(points), 10), carried, None, 3, mode)
    assert torch.allclose(world.means, points, atol=1e-7)
    assert torch.allclose(world.scales, raw.log_scales.exp())
    assert torch.allclose(world.quats, torch.nn.functional.normalize(raw.quats, dim=-1), atol=1e-6)


def test_the_two_scale_modes_add_to_and_multiply_the_log_scale():
    raw, carried, points = state_of(toy_head(), HeadPose.zeros(1))
    outputs = torch.zeros(len(points), 10)
    outputs[:, 7:] = 0.3
    added = world_gaussians(raw, outputs, carried, None, 0, "additive").scales
    multiplied = world_gaussians(raw, outputs, carried, None, 0, "log_mult").scales
    assert torch.allclose(added.log(), raw.log_scales + 0.3, atol=1e-5)
    assert torch.allclose(multiplied.log(), raw.log_scales * torch.tensor(0.3).exp(), atol=1e-4)


def test_moving_the_head_equals_moving_the_camera_with_view_dependent_colours():
    head = toy_head()
    g = torch.Generator().manual_seed(0)
    pose, moved = HeadPose.zeros(1), HeadPose.zeros(1)
    moved.rotation[:] = torch.tensor([0.2, 0.5, -0.1])
    moved.translation[:] = torch.tensor([0.02, -0.01, 0.03])
    motion = torch.eye(4)
    motion[:3, :3] = axis_angle_to_matrix(moved.rotation[0])
    motion[:3, 3] = moved.translation[0]
    viewmat = torch.from_numpy(orbit(0.2, 0.1, 0.5).astype(np.float32))
    K = torch.from_numpy(intrinsics(60, 48, 48).astype(np.float32))
    raw, carried, points = state_of(head, pose)
    outputs = torch.tanh(0.3 * torch.randn(len(points), 10, generator=g))
    outputs[:, :3] *= 0.05
    raw = raw._replace(
        sh_dc=torch.randn(raw.sh_dc.shape, generator=g),
        sh_rest=0.2 * torch.randn(raw.sh_rest.shape, generator=g),
        opacities=torch.ones(len(points)),
    )

    def picture(carried, view):
        centre = -view[:3, :3].T @ view[:3, 3]
        gaussians = world_gaussians(raw, outputs, carried, centre, 3, "additive")
        return splat_view(gaussians, view, K, (48, 48), torch.ones(3))[0]

    a = picture(state_of(head, moved)[1], viewmat)
    b = picture(carried, viewmat @ motion)
    assert b.std() > 0.02
    assert (a - b).square().mean() < 1e-6  # 60 dB


def test_offsets_turn_with_the_neck_where_the_head_does():
    head = toy_head()
    pose = HeadPose.zeros(1)
    pose.neck[0, 1] = 0.8
    raw, carried, points = state_of(head, pose)
    follows = head_weights(head, sample(head, 20))
    outputs = torch.zeros(len(points), 10)
    outputs[:, 2] = 0.05
    moved = world_gaussians(raw, outputs, carried, None, 0, "additive").means - points
    turn = axis_angle_to_matrix(pose.neck[0])
    ahead = torch.tensor([0.0, 0.0, 0.05])
    assert torch.allclose(moved[follows > 0.999], turn @ ahead, atol=1e-6)
    assert torch.allclose(moved[follows < 0.001], ahead, atol=1e-6)


def test_huber_is_square_below_a_tenth_and_linear_above():
    zero = torch.zeros(1, 1, 3)
    assert huber(zero + 0.05, zero).item() == pytest.approx(0.5 * 0.05**2)
    assert huber(zero + 0.5, zero).item() == pytest.approx(0.1 * (0.5 - 0.05))


def test_a_residual_costs_41_times_as_much_in_the_mouth():
    target = torch.full((8, 8, 3), 0.5)
    mouth = torch.zeros(8, 8)
    mouth[5, 5] = 1
    outside, inside = target.clone(), target.clone()
    outside[2, 2] += 0.06
    inside[5, 5] += 0.06
    ratio = picture_loss(inside, target, mouth) / picture_loss(outside, target, mouth)
    assert ratio.item() == pytest.approx(41, rel=1e-4)


def test_the_mouths_mask_is_where_lips_are_in_sight():
    head = toy_head()
    centre = head.template[head.faces].mean(1)
    regions = head.face_regions.clone()
    lips = (centre[:, 2] > 0.05) & (centre[:, 1].abs() < 0.03)
    regions[lips] = REGIONS.index("lips")
    head = replace(head, face_regions=regions)
    K = intrinsics(60, 48, 48)
    front = mouth_mask(head, head.template, Camera(orbit(0.0, 0.0, 0.5), K, 48, 48))
    back = mouth_mask(head, head.template, Camera(orbit(np.pi, 0.0, 0.5), K, 48, 48))
    rows, columns = np.nonzero(front)
    assert front.any()
    assert not back.any()
    assert abs(rows.mean() - 23.5) < 2
    assert abs(columns.mean() - 23.5) < 2


def test_a_fit_gets_better_without_changing_the_number_of_gaussians(fitted):
    avatar, curves = fitted
    assert isinstance(avatar, FlashAvatar)
    assert isinstance(avatar, Avatar)
    assert curves[-1].step == FIT.steps
    assert curves[-1].psnr > curves[0].psnr + 2
    assert len(avatar.raw.opacities) == len(sample(avatar.head, FIT.uv_size).faces)
    assert avatar.sh_degree == 3
    assert avatar.raw.sh_rest.abs().max() > 0


def test_equal_seeds_give_equal_avatars_also_after_an_interruption(fitted, views, tmp_path):
    class KilledError(RuntimeError):
        pass

    def until_half(done: float, message: str) -> None:
        if done > 0.5:
            raise KilledError

    head = toy_head()
    with pytest.raises(KilledError):
        fit_flash_avatar(head, views, "multiview", FIT, 0, until_half, tmp_path)
    assert list(tmp_path.iterdir())
    resumed, curves = fit_flash_avatar(head, views, "multiview", FIT, 0, no_progress, tmp_path)
    resumed.save(tmp_path / "a")
    fitted[0].save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert curves == fitted[1]


def test_the_perceptual_term_joins_in_late_and_is_asked_with_the_head_alone(views):
    asked = []

    def distance(pred, target):
        asked.append(float(target[0, :, 0, 0].sum()))
        return (pred - target).abs().mean()

    config = replace(FIT, steps=10, lambda_lpips=0.05, lpips_from=0.6)
    fit_flash_avatar(toy_head(), views, "multiview", config, 0, no_progress, None, distance)
    assert asked == [0.0] * 4, "four steps of ten, the white corner blackened"


def test_an_avatar_file_gives_the_avatar_with_its_network_back(fitted, views, tmp_path):
    avatar, path = fitted[0], tmp_path / "avatar.safetensors"
    facts = avatar.save(path)
    assert facts["method"] == "flash_avatar"
    assert facts["gaussians"] == len(avatar.raw.opacities)
    with patch("headworks.avatars.avatar.load_exact", lambda *_: toy_head()):
        loaded = load_avatar_file(path)
    expression, pose = avatar.state(views.tracking, 1)
    camera = views.tracking.camera(1, 0, 48, 48)
    a, b = (x.render(expression, pose, camera)[0] for x in (avatar, loaded))
    assert np.array_equal(a, b)
    with (
        patch("headworks.avatars.avatar.load_exact", lambda *_: flame_shaped()),
        pytest.raises(ArtifactError, match="network"),
    ):
        load_avatar_file(path)


def test_another_persons_motion_moves_the_avatar_with_its_own_identity(fitted, views):
    avatar = replace(fitted[0], identity=torch.tensor([1.5, -0.5]))
    expression, pose = torch.tensor([0.2, 0.9]), HeadPose.zeros(1)
    own = avatar.head.vertices(avatar.identity[None], expression[None], pose)[0]
    assert torch.equal(avatar.vertices(expression, pose), own)
    camera = views.tracking.camera(0, 0, 48, 48)
    here = avatar.render(expression, pose, camera)[0]
    assert np.abs(here - fitted[0].render(expression, pose, camera)[0]).max() > 0.05
