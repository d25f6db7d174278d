"""GaussianAvatars on a toy head: densification, losses, rigid motion, fits that resume."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from headworks.avatars import Avatar, load_avatar_file, load_bound_avatar
from headworks.avatars.gaussian_avatars import (
    GaussianAvatar,
    GaussianAvatarsConfig,
    fit_gaussian_avatars,
)
from headworks.avatars.gaussian_avatars.density import (
    GradientRecord,
    carry_moments,
    densify,
    per_face,
    prunable,
    reset_opacities,
    spare_faces,
)
from headworks.avatars.gaussian_avatars.losses import position_loss, scale_loss
from headworks.avatars.gaussian_avatars.model import (
    FaceGaussians,
    face_frames,
    initial_gaussians,
    world_gaussians,
)
from headworks.avatars.views import splat_view
from headworks.cameras import intrinsics, orbit
from headworks.errors import ArtifactError
from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import HeadPose
from headworks.splat.sh import SH_C0
from tests.paintedtoy import painted_views
from tests.toyhead import toy_head

FIT = GaussianAvatarsConfig(
    steps=40, rate=4.0, densify_from=0.3, densify_every=0.2, checkpoint_every=15
)


def many(head, per: int = 3, seed: int = 0) -> tuple[FaceGaussians, torch.Tensor]:
    """`per` random Gaussians on every face."""
    n = per * len(head.faces)
    g = torch.Generator().manual_seed(seed)
    local = FaceGaussians(
        means=0.3 * torch.randn(n, 3, generator=g),
        log_scales=0.3 * torch.randn(n, 3, generator=g) - 1,
        quats=torch.randn(n, 4, generator=g),
        sh_dc=torch.randn(n, 1, 3, generator=g),
        sh_rest=0.1 * torch.randn(n, 15, 3, generator=g),
        opacities=torch.randn(n, generator=g) + 1,
    )
    return local, torch.arange(n) % len(head.faces)


def no_progress(done: float, message: str) -> None:
    pass


@pytest.fixture(scope="module")
def views():
    return painted_views([0.0, 0.5, -0.5], 3)


@pytest.fixture(scope="module")
def fitted(views, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("scratch")
    return fit_gaussian_avatars(toy_head(), views, "monocular", FIT, 0, no_progress, scratch)


def test_gaussians_start_on_the_centroids_one_per_face():
    head = toy_head()
    local, binding = initial_gaussians(head, 3, seed=0)
    assert torch.equal(per_face(binding, len(head.faces)), torch.ones(len(head.faces)).long())
    frames = face_frames(head.template, head.faces)
    world = world_gaussians(local, binding, frames, None, 3)
    assert torch.allclose(world.means, head.template[head.faces].mean(1), atol=1e-7)
    assert torch.allclose(world.scales, frames.sizes[:, None].expand(-1, 3))
    assert torch.allclose(world.opacities, torch.tensor(0.1))
    assert (world.colors - 0.5).abs().max() < SH_C0 / 255 + 1e-6


def test_moving_the_mesh_equals_moving_the_camera():
    head = toy_head()
    local, binding = many(head)
    rotation = axis_angle_to_matrix(torch.tensor([0.2, 0.5, -0.1]))
    shift = torch.tensor([0.02, -0.01, 0.03])
    motion = torch.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation, shift
    viewmat = torch.from_numpy(orbit(0.2, 0.1, 0.5).astype(np.float32))
    K = torch.from_numpy(intrinsics(60, 48, 48).astype(np.float32))

    def picture(vertices, view):
        gaussians = world_gaussians(local, binding, face_frames(vertices, head.faces), None, 0)
        return splat_view(gaussians, view, K, (48, 48), torch.ones(3))[0]

    moved = picture(head.template @ rotation.T + shift, viewmat)
    still = picture(head.template, viewmat @ motion)
    assert still.std() > 0.02
    assert (moved - still).square().mean() < 1e-6  # 60 dB


def test_colours_change_with_the_view_from_degree_one_on():
    head = toy_head()
    local, binding = many(head)
    frames = face_frames(head.template, head.faces)
    front, side = torch.tensor([0.0, 0.0, 0.5]), torch.tensor([0.5, 0.0, 0.0])

    def colours(centre, degree):
        return world_gaussians(local, binding, frames, centre, degree).colors

    assert torch.equal(colours(front, 0), colours(side, 0))
    assert (colours(front, 3) - colours(side, 3)).abs().max() > 0.05
    assert torch.equal(colours(front, 0), (0.5 + SH_C0 * local.sh_dc[:, 0]).clamp_min(0))


def test_clones_and_children_live_on_their_parents_face():
    head = toy_head()
    faces = len(head.faces)
    local, binding = many(head)
    sizes = face_frames(head.template, head.faces).sizes
    world = sizes[binding] * local.log_scales.exp().max(1).values
    limit = float(world.median())
    gradient = torch.zeros(len(binding))
    gradient[::2] = 1.0
    rng = torch.Generator().manual_seed(0)
    after = densify(local, binding, sizes, gradient, 0.5, limit, 10**6, rng)
    hot = gradient >= 0.5
    clones, splits = hot & (world <= limit), hot & (world > limit)
    assert clones.sum() > 50
    assert splits.sum() > 50
    expected = (
        per_face(binding, faces) + per_face(binding[clones], faces)
        + per_face(binding[splits], faces)
    )  # fmt: skip
    assert torch.equal(per_face(after.binding, faces), expected)
    assert len(after.binding) == int(expected.sum()) == len(after.local.means)
    old = after.origin >= 0
    assert torch.equal(after.binding[old], binding[after.origin[old]])
    assert not torch.isin(splits.nonzero()[:, 0], after.origin).any()
    copies = after.local.means[(~old).nonzero()[: int(clones.sum()), 0]]
    assert torch.equal(copies, local.means[clones])


def test_children_spread_as_wide_as_their_parent_in_local_units():
    head = toy_head()
    local, binding = initial_gaussians(head, 0, seed=0)
    shape = torch.tensor([0.5, 0.2, 1.0])
    local = local._replace(log_scales=shape.log().expand(len(binding), 3))
    sizes = face_frames(head.template, head.faces).sizes
    rng = torch.Generator().manual_seed(0)
    every = torch.ones(len(binding))
    after = densify(local, binding, sizes, every, 0.5, 0.0, 10**6, rng)
    assert len(after.binding) == 2 * len(binding)
    assert (after.origin < 0).all()
    assert torch.allclose(after.local.means.std(0), shape, rtol=0.15)
    assert torch.allclose(after.local.log_scales, (shape / 1.6).log())


def test_no_more_gaussians_than_there_is_room_for():
    head = toy_head()
    local, binding = many(head)
    sizes = face_frames(head.template, head.faces).sizes
    gradient = torch.rand(len(binding), generator=torch.Generator().manual_seed(1)) + 1
    rng = torch.Generator().manual_seed(0)
    after = densify(local, binding, sizes, gradient, 0.5, 1.0, 17, rng)
    assert len(after.binding) == len(binding) + 17
    strongest = gradient.topk(17).indices
    assert set(after.binding[after.origin < 0].tolist()) == set(binding[strongest].tolist())


def test_pruning_never_empties_a_face():
    head = toy_head()
    faces = len(head.faces)
    _local, binding = many(head)
    prune = torch.rand(len(binding), generator=torch.Generator().manual_seed(0)) < 0.7
    spared = spare_faces(prune, binding, faces)
    before, after = per_face(binding, faces), per_face(binding[~spared], faces)
    assert (before > 0).all()
    assert (after > 0).all()
    doomed = per_face(binding[prune], faces) == before
    assert doomed.any()
    assert (after[doomed] == before[doomed]).all()
    assert torch.equal(spared[~doomed[binding]], prune[~doomed[binding]])


def test_faint_gaussians_are_pruned_and_large_ones_where_asked():
    head = toy_head()
    local, binding = many(head)
    sizes = face_frames(head.template, head.faces).sizes
    opacities = torch.full((len(binding),), 2.0)
    opacities[5] = torch.tensor(0.004).logit()
    local = local._replace(opacities=opacities)
    assert prunable(local, binding, sizes, 0.005, None).nonzero().tolist() == [[5]]
    largest = sizes[binding] * local.log_scales.exp().max(1).values
    found = prunable(local, binding, sizes, 0.005, float(largest.median()))
    assert int(found.sum()) == pytest.approx(len(binding) / 2, abs=2)


def test_moments_follow_their_gaussians_and_new_ones_start_at_zero():
    parameter = torch.nn.Parameter(torch.randn(4, 3))
    adam = torch.optim.Adam([{"params": [parameter], "name": "means", "lr": 0.1}])
    (parameter * torch.arange(12.0).reshape(4, 3)).sum().backward()
    adam.step()
    before = adam.state[parameter]["exp_avg"].clone()
    new = torch.nn.Parameter(torch.randn(3, 3))
    carry_moments(adam, "means", new, torch.tensor([2, -1, 0]))
    state = adam.state[new]
    assert torch.equal(state["exp_avg"], torch.stack([before[2], 0 * before[0], before[0]]))
    assert adam.param_groups[0]["params"] == [new]
    assert parameter not in adam.state
    new.grad = torch.ones(3, 3)
    adam.step()  # the optimiser goes on with the new parameter


def test_reset_opacities_are_faint_and_forget_their_moments():
    parameter = torch.nn.Parameter(torch.tensor([3.0, -8.0]))
    adam = torch.optim.Adam([{"params": [parameter], "name": "opacities", "lr": 0.1}])
    parameter.sum().backward()
    adam.step()
    reset_opacities(adam, parameter, 0.01)
    assert torch.sigmoid(parameter)[0].item() == pytest.approx(0.01)
    assert torch.sigmoid(parameter)[1].item() < 0.001
    assert not adam.state[parameter]["exp_avg"].any()


def test_gradients_are_counted_in_device_coordinates_of_the_pictures_that_saw_them():
    record = GradientRecord.of(2)
    seen = torch.tensor([True, False])
    record.add(torch.tensor([[3.0, 4.0], [1.0, 1.0]]), seen, (2, 2))
    record.add(torch.tensor([[0.3, 0.0], [1.0, 1.0]]), seen, (4, 2))
    assert record.mean().tolist() == pytest.approx([(5.0 + 0.6) / 2, 0.0])


def test_the_position_loss_is_free_within_one_face_size_and_linear_beyond():
    visible = torch.tensor([True, True, False])
    means = torch.tensor([[0.6, 0.8, 0.0], [0.0, 3.0, 4.0], [9.0, 0, 0]], requires_grad=True)
    loss = position_loss(means, visible)
    assert loss.item() == pytest.approx((0 + 4) / 2)
    loss.backward()
    assert torch.allclose(means.grad[1], torch.tensor([0.0, 0.3, 0.4]))
    assert not means.grad[[0, 2]].any()
    assert position_loss(means, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_the_scale_loss_is_free_up_to_six_tenths_of_a_face():
    visible = torch.ones(2, dtype=torch.bool)
    small = torch.tensor([[0.6, 0.1, 0.3]] * 2).log()
    assert scale_loss(small, visible).item() < 1e-6
    large = torch.tensor([[0.9, 1.0, 0.1], [0.6, 0.6, 0.6]]).log()
    assert scale_loss(large, visible).item() == pytest.approx(0.5 / 2, abs=1e-6)


def test_a_fit_gets_better_and_adds_gaussians_under_a_single_static_camera(fitted, views):
    avatar, curves = fitted
    assert isinstance(avatar, GaussianAvatar)
    assert isinstance(avatar, Avatar)
    assert curves[-1].step == FIT.steps
    assert curves[-1].psnr > curves[0].psnr + 2
    faces = len(avatar.head.faces)
    photo = replace(
        views, rgb=views.rgb[:1], alpha=views.alpha[:1], viewmats=views.viewmats[:1],
        Ks=views.Ks[:1], times=views.times[:1], cameras=views.cameras[:1],
    )  # fmt: skip
    alone, _ = fit_gaussian_avatars(avatar.head, photo, "photo", FIT, 0, no_progress)
    for one in (avatar, alone):
        counts = per_face(one.binding, faces)
        assert counts.sum() > faces
        assert (counts > 0).all()
        assert one.local.means.norm(dim=1).max() > 0.05


def test_equal_seeds_give_equal_avatars_also_after_an_interruption(fitted, views, tmp_path):
    class KilledError(RuntimeError):
        pass

    def until_half(done: float, message: str) -> None:
        if done > 0.5:
            raise KilledError

    head = toy_head()
    with pytest.raises(KilledError):
        fit_gaussian_avatars(head, views, "monocular", FIT, 0, until_half, tmp_path)
    assert list(tmp_path.iterdir())
    resumed, curves = fit_gaussian_avatars(head, views, "monocular", FIT, 0, no_progress, tmp_path)
    resumed.save(tmp_path / "a")
    fitted[0].save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert curves == fitted[1]
    short = replace(FIT, steps=4)
    _, curves = fit_gaussian_avatars(head, views, "monocular", short, 0, no_progress, tmp_path)
    assert [c.step for c in curves] == [4], "another recipe does not take up the checkpoint"


def test_an_avatar_file_gives_the_avatar_back(fitted, tmp_path):
    avatar, path = fitted[0], tmp_path / "avatar.safetensors"
    facts = avatar.save(path)
    assert facts["method"] == "gaussian_avatars"
    assert facts["gaussians"] == len(avatar.binding)
    with patch("headworks.avatars.avatar.load_exact", lambda *_: toy_head()):
        loaded = load_avatar_file(path)
        with pytest.raises(ArtifactError, match="bary"):
            load_bound_avatar(path)
    assert isinstance(loaded, GaussianAvatar)
    assert loaded.sh_degree == avatar.sh_degree
    for a, b in zip(loaded.local, avatar.local):
        assert torch.equal(a, b)
    assert np.array_equal(loaded.tuned.times, avatar.tuned.times)


def test_training_times_are_refined_and_all_others_stay_as_tracked(fitted, views):
    avatar, tracking = fitted[0], views.tracking
    for time in range(len(tracking)):
        expression, pose = avatar.state(tracking, time)
        moved = (expression - tracking.expression[time]).abs().max()
        assert 0 < moved < 0.1
        assert (pose.rotation - tracking.pose.rotation[time]).abs().max() < 1e-2
    untuned = replace(avatar, tuned=avatar.tuned.of(np.array([7]), avatar.tuned.tensors()))
    expression, pose = untuned.state(tracking, 1)
    assert torch.equal(expression, tracking.expression[1])
    assert torch.equal(pose.translation, tracking.pose.translation[1:2])


def test_another_persons_motion_moves_the_avatar_with_its_own_identity(fitted):
    avatar = replace(fitted[0], identity=torch.tensor([1.5, -0.5]))
    expression, pose = torch.tensor([0.2, 0.9]), HeadPose.zeros(1)
    own = avatar.head.vertices(avatar.identity[None], expression[None], pose)[0]
    assert torch.equal(avatar.vertices(expression, pose), own)
    camera = painted_views([0.0], 1).tracking.camera(0, 0, 48, 48)
    here = avatar.render(expression, pose, camera)[0]
    elsewhere = fitted[0].render(expression, pose, camera)[0]
    assert np.abs(here - elsewhere).max() > 0.05
