"""Bound Gaussians and GASP's decoder, prior and fit, on a toy head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from headworks.avatars.avatar import BoundAvatar, load_bound_avatar
from headworks.avatars.binding import (
    LocalGaussians,
    bind_uv,
    gaussian_frames,
    inherit,
    initial_gaussians,
    place,
    refine,
)
from headworks.avatars.gasp.config import FitConfig, PriorConfig
from headworks.avatars.gasp.decoder import FEATURE_DIM, GaussianDecoder, GaussianPrior
from headworks.avatars.gasp.file import load_prior, save_prior
from headworks.avatars.gasp.fit import fit_avatar
from headworks.avatars.gasp.prior import train_prior
from headworks.avatars.gasp.training import displacement_weights
from headworks.avatars.losses import prior_distance
from headworks.avatars.views import splat_view
from headworks.cameras import intrinsics, orbit
from headworks.errors import ArtifactError
from headworks.geometry import axis_angle_to_matrix, quat_to_matrix
from headworks.heads.base import HeadPose
from stages.fit import FitParams, fit_config
from stages.prior import PriorParams, prior_config
from tests.toyhead import toy_head
from tests.toypeople import SIZE, capture, painted

PRIOR = PriorConfig(
    uv_size=24, code_dim=4, width=16, depth=2, steps=120, views_per_step=2, rate=5e-3,
)  # fmt: skip
FIT = FitConfig(
    uv_size=32, inversion_steps=60, decoder_steps=20, refine_steps=60, decoder_rate=5e-4,
)  # fmt: skip


def random_local(n: int, seed: int = 0) -> LocalGaussians:
    g = torch.Generator().manual_seed(seed)
    return LocalGaussians(
        0.3 * torch.randn(n, 3, generator=g),
        0.3 * torch.randn(n, 3, generator=g) - 0.5,
        torch.randn(n, 4, generator=g),
        torch.randn(n, 3, generator=g),
        torch.randn(n, generator=g) + 1,
    )


def test_bound_gaussians_sit_on_the_surface_and_follow_similarities():
    head = toy_head()
    binding = bind_uv(head, 24)
    assert torch.allclose(binding.bary.sum(1), torch.ones(len(binding.faces)), atol=1e-5)
    local = random_local(len(binding.faces))
    rotation = axis_angle_to_matrix(torch.tensor([0.4, -0.3, 1.0]))
    before = place(local, gaussian_frames(head.template, head.faces, binding))
    moved = 2 * head.template @ rotation.T + torch.tensor([0.3, 0.0, 1.0])
    after = place(local, gaussian_frames(moved, head.faces, binding))
    expected = 2 * before.means @ rotation.T + torch.tensor([0.3, 0.0, 1.0])
    assert torch.allclose(after.means, expected, atol=1e-5)
    assert torch.allclose(after.scales, 2 * before.scales, rtol=1e-4)

    def covariance(g):
        m = quat_to_matrix(g.quats) * g.scales[:, None]
        return m @ m.mT

    assert torch.allclose(
        covariance(after), 4 * rotation @ covariance(before) @ rotation.T, atol=1e-7
    )


def test_moving_the_mesh_equals_moving_the_camera():
    head = toy_head()
    binding = bind_uv(head, 24)
    local = random_local(len(binding.faces))
    rotation = axis_angle_to_matrix(torch.tensor([0.2, 0.5, -0.1]))
    shift = torch.tensor([0.02, -0.01, 0.03])
    viewmat = torch.from_numpy(orbit(0.2, 0.1, 0.5).astype(np.float32))
    motion = torch.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation, shift
    K = torch.from_numpy(intrinsics(60, SIZE, SIZE).astype(np.float32))
    white = torch.ones(3)
    a = place(local, gaussian_frames(head.template @ rotation.T + shift, head.faces, binding))
    b = place(local, gaussian_frames(head.template, head.faces, binding))
    moved, _ = splat_view(a, viewmat, K, (SIZE, SIZE), white)
    turned, _ = splat_view(b, viewmat @ motion, K, (SIZE, SIZE), white)
    assert float((moved - turned).square().mean()) < 1e-6, "PSNR above 60 dB"


def test_a_finer_binding_inherits_the_same_surface():
    head = toy_head()
    coarse, fine = bind_uv(head, 24), bind_uv(head, 48)
    local = random_local(len(coarse.faces))
    link = refine(head, coarse, fine)
    child = inherit(local, *link)
    parents = link[0]
    a = place(local, gaussian_frames(head.template, head.faces, coarse))
    b = place(child, gaussian_frames(head.template, head.faces, fine))
    offset_a = a.means - gaussian_frames(head.template, head.faces, coarse).origins
    offset_b = b.means - gaussian_frames(head.template, head.faces, fine).origins
    assert torch.allclose(offset_b, offset_a[parents], atol=1e-6)
    dot = (quat_to_matrix(b.quats) - quat_to_matrix(a.quats[parents])).abs().max()
    assert float(dot) < 1e-3
    assert float((b.scales / a.scales[parents]).median()) < 0.8, "smaller, for there are more"


def test_the_paper_sized_decoder_has_the_published_parameter_count():
    decoder = GaussianDecoder(512, 256, 6)
    gains = sum(p.numel() for n, p in decoder.named_parameters() if "original0" in n)
    assert sum(p.numel() for p in decoder.parameters()) - gains == 794_894


def test_the_split_first_layer_equals_the_concatenated_one():
    decoder = GaussianDecoder(4, 16, 2)
    features, code = torch.randn(5, FEATURE_DIM), torch.randn(4)
    x = torch.relu(decoder.first(torch.cat([features, code.expand(5, 4)], 1)))
    x = torch.relu(decoder.trunk[0](x))
    expected = decoder.head["means"](torch.relu(decoder.branch["means"](x)))
    assert torch.allclose(decoder(features, code).means, expected, atol=1e-6)


def test_each_gaussian_depends_on_its_own_feature_only():
    head = toy_head()
    prior = GaussianPrior(initial_gaussians(head, bind_uv(head, 24)), 2, 4, 16, 2, 0)
    before = prior.decode(prior.codes[0]).detach()
    with torch.no_grad():
        prior.features[7] += 1
    after = prior.decode(prior.codes[0]).detach()
    changed = (before.colors != after.colors).any(1).nonzero()[:, 0].tolist()
    assert changed == [7]


def test_hair_may_leave_the_scalp_a_hundred_times_more_freely():
    head = toy_head()
    binding = bind_uv(head, 24)
    weights = displacement_weights(head, binding)
    scalp = head.region_faces("scalp")[binding.faces]
    assert float(weights[scalp].max() / weights[~scalp].min()) == pytest.approx(0.01)


@pytest.fixture(scope="module")
def trained():
    head = toy_head()
    people = [capture(painted(head, hue), (0.0, 1.5, 3.1, -1.5)) for hue in (0.1, 0.5, 0.9)]
    prior, binding, curves = train_prior(head, people, PRIOR, 3, lambda done, text: None)
    return head, prior, binding, curves


def test_training_the_prior_learns_the_people(trained):
    _, _, _, curves = trained
    assert curves[-1].psnr > curves[0].psnr + 6


def test_training_is_deterministic(trained):
    head, _, _, _ = trained
    people = [capture(painted(head, 0.3), (0.0, 2.0))]
    short = replace(PRIOR, steps=6)
    a, _, _ = train_prior(head, people, short, 3, lambda done, text: None)
    b, _, _ = train_prior(head, people, short, 3, lambda done, text: None)
    for x, y in zip(a.state_dict().values(), b.state_dict().values()):
        assert torch.equal(x, y)


def test_one_photo_and_the_prior_give_the_unseen_back(trained, tmp_path):
    """From a frontal picture of a new person the back must come out near the truth."""
    head, prior, binding, _ = trained
    person = painted(head, 0.7)
    photo = capture(person, (0.0,), count=1)
    avatar, curves = fit_avatar(
        head, prior, binding, photo, "photo", FIT, 1, lambda done, text: None
    )
    assert {c.stage for c in curves} == {"inversion", "decoder", "refinement"}
    back = photo.tracking.camera(0, 0, SIZE, SIZE)
    back = replace(back, viewmat=orbit(np.pi, 0.1, 0.45))
    expression, pose = torch.zeros(2), HeadPose.zeros(1)
    truth, mask = person.render(expression, pose, back)
    seen, _ = avatar.render(expression, pose, back)
    mean = BoundAvatar(
        head, torch.zeros(2), prior.decode(prior.codes.mean(0)).detach(), binding, "mean", ""
    )
    guess, _ = mean.render(expression, pose, back)
    inside = mask > 0.9

    def error(image):
        return float(np.abs(image - truth)[inside].mean())

    assert error(seen) < 0.7 * error(guess)

    path = tmp_path / "avatar.safetensors"
    avatar.save(path)
    first = path.read_bytes()
    avatar.save(path)
    assert path.read_bytes() == first


def test_the_prior_survives_a_round_trip_to_disk(trained, tmp_path):
    _, prior, binding, _ = trained
    save_prior(tmp_path / "p.safetensors", prior, binding)
    again, same = load_prior(tmp_path / "p.safetensors")
    assert torch.equal(same.bary, binding.bary)
    for a, b in zip(prior.decode(prior.codes[1]), again.decode(again.codes[1])):
        assert torch.equal(a, b)


def test_the_pull_to_the_prior_vanishes_at_the_anchor_and_grows_away_from_it():
    local = random_local(10)
    assert float(prior_distance(local, local)) == 0
    away = local._replace(means=local.means + 1)
    assert float(prior_distance(away, local)) == pytest.approx(5.0, rel=1e-5)


def test_a_foreign_file_is_not_an_avatar(tmp_path):
    path = tmp_path / "avatar.safetensors"
    path.write_bytes(b"not an avatar at all")
    with pytest.raises(ArtifactError, match="not a readable avatar"):
        load_bound_avatar(path)


def test_the_library_and_params_yaml_have_the_same_defaults():
    assert prior_config(PriorParams()) == PriorConfig()
    assert fit_config(FitParams(), "monocular") == FitConfig(lambda_prior=0.002)
    assert fit_config(FitParams(), "photo") == FitConfig(refine_steps=400)
    assert fit_config(FitParams(), "multiview") == fit_config(FitParams(), "monocular")


def test_a_rig_has_numbers_of_its_own_where_they_are_given():
    own = FitParams(
        multiview_uv_size=96, multiview_refine_steps=7, multiview_lambda_prior=0.0,
        multiview_refine_rate=2.0, photo_refine_steps=3,
    )  # fmt: skip
    rig, clip, photo = (fit_config(own, s) for s in ("multiview", "monocular", "photo"))
    assert (rig.uv_size, rig.refine_steps, rig.lambda_prior) == (96, 7, 0.0)
    assert (rig.refine_rate, clip.refine_rate) == (2.0, 1.0)
    assert clip == FitConfig(lambda_prior=0.002)
    assert photo == FitConfig(refine_steps=3)
