"""Refinement by rendering, and what becomes of parts that no picture shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from headworks.avatars.avatar import BoundAvatar
from headworks.avatars.binding import bind_uv, initial_gaussians
from headworks.avatars.gasp.unseen import fill_unseen, visible_pixels
from headworks.avatars.views import make_views
from headworks.cameras import intrinsics, orbit
from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import HeadPose
from headworks.images import to_uint8
from headworks.tracking.checkpoints import Checkpoints
from headworks.tracking.photometric import Shots, refine_photometric
from headworks.tracks import Tracking
from tests.toyhead import toy_head

SIZE, FRAMES = 48, 10
K = intrinsics(1.3 * SIZE, SIZE, SIZE)


def spotted(head) -> BoundAvatar:
    """A toy person whose skin has spots, so that every turn shows."""
    binding = bind_uv(head, 48)
    x, y, z = (head.template[head.faces[binding.faces]].mean(1) / 0.1).T
    colors = 2 * torch.stack([torch.sin(9 * x), torch.sin(8 * y + 1), torch.sin(7 * (x + z))], 1)
    local = initial_gaussians(head, binding)
    opaque = torch.full_like(local.opacities, 7.0)
    local = local._replace(colors=colors, opacities=opaque, log_scales=local.log_scales + 0.5)
    return BoundAvatar(head, torch.zeros(2), local, binding, "toy", "toy")


def filmed(seed: int = 0):
    """Pictures of the person under a known motion: (head, tracking, rgb, alpha)."""
    head = toy_head()
    person = spotted(head)
    rng = np.random.default_rng(seed)
    pose = HeadPose.zeros(FRAMES)
    phase = torch.linspace(0, 2 * np.pi, FRAMES)
    pose = replace(pose, neck=torch.stack([0.1 * phase.sin(), 0.25 * phase.cos(), 0 * phase], 1))
    expression = torch.from_numpy(rng.random((FRAMES, 2)).astype(np.float32))
    tracking = Tracking(
        "toy", head.digest, torch.zeros(2), expression, pose, np.ones(FRAMES, bool),
        orbit(0, 0, 0.45)[None], K[None, None].repeat(FRAMES, 0),
    )  # fmt: skip
    camera = tracking.camera(0, 0, SIZE, SIZE)
    shots = [person.render(expression[t], pose[[t]], camera, (0, 0, 0)) for t in range(FRAMES)]
    alpha = np.stack([to_uint8(a) for _, a in shots])
    rgb = np.stack([to_uint8(c / np.maximum(a, 1e-3)[..., None]) for c, a in shots])
    return head, tracking, rgb, alpha


def refined(head, tracking, rgb, alpha, passes: int, seed: int = 0, store=None):
    shots = Shots(
        rgb[:, None], alpha[:, None], tracking.Ks, tracking.viewmats, np.ones((FRAMES, 1), bool)
    )
    return refine_photometric(
        head, tracking.identity, tracking.expression, tracking.pose, shots,
        np.ones(FRAMES - 1, bool), passes, seed, lambda done, text: None, store,
    )  # fmt: skip


def turn_error(pose: HeadPose, truth: HeadPose) -> float:
    """Mean angle between two necks, after the mean turn that the copy may take up."""
    r = axis_angle_to_matrix(truth.neck).mT @ axis_angle_to_matrix(pose.neck)
    u, _, vt = torch.linalg.svd(r.mean(0))
    mean = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ vt))])) @ vt
    cos = ((r @ mean.mT).diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return float(cos.clamp(-1, 1).arccos().mean())


def test_refinement_by_rendering_takes_the_jitter_out_of_the_head_pose():
    head, tracking, rgb, alpha = filmed()
    noise = 0.03 * torch.randn(FRAMES, 3, generator=torch.Generator().manual_seed(3))
    shaken = replace(tracking, pose=replace(tracking.pose, neck=tracking.pose.neck + noise))
    _, pose, losses = refined(head, shaken, rgb, alpha, passes=24)
    before = turn_error(shaken.pose, tracking.pose)
    after = turn_error(pose, tracking.pose)
    assert after < 0.7 * before
    assert losses[-1] < 0.7 * losses[2], "the copy fits better with corrected poses"


def test_refinement_is_deterministic():
    head, tracking, rgb, alpha = filmed()
    first, second = (refined(head, tracking, rgb, alpha, passes=4, seed=5) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].neck, second[1].neck)


class KilledError(Exception):
    pass


def test_a_killed_refinement_goes_on_to_the_same_result(tmp_path):
    head, tracking, rgb, alpha = filmed()
    whole = refined(head, tracking, rgb, alpha, passes=4)

    class Fragile(Checkpoints):
        def put(self, name, arrays, facts=None):
            super().put(name, arrays, facts)
            if len(facts["losses"]) == 2:
                raise KilledError

    with pytest.raises(KilledError):
        refined(head, tracking, rgb, alpha, passes=4, store=Fragile(tmp_path))
    resumed = refined(head, tracking, rgb, alpha, passes=4, store=Checkpoints(tmp_path))
    assert resumed[2] == whole[2]
    assert torch.equal(resumed[0], whole[0])
    assert torch.equal(resumed[1].neck, whole[1].neck)


def seen_from_the_front():
    """Views of the front only, and the Gaussians that made them."""
    head, tracking, rgb, alpha = filmed()
    still = replace(tracking, pose=HeadPose.zeros(FRAMES), expression=torch.zeros(FRAMES, 2))
    views = make_views(head, still, rgb, alpha, [(t, 0) for t in range(FRAMES)])
    person = spotted(head)
    return head, person, views, visible_pixels(head, person.local, person.binding, views)


def test_the_visible_footprint_is_nothing_on_the_back():
    head, person, _, pixels = seen_from_the_front()
    depth = head.template[head.faces[person.binding.faces]].mean(1)[:, 2]
    assert float(pixels[depth < -0.06].max()) < 1e-3
    assert float(pixels[depth > 0.06].median()) > 0.5


def test_a_faded_gaussian_counts_as_seen():
    head, person, views, _ = seen_from_the_front()
    opacities = person.local.opacities.clone()
    opacities[:5] = -9
    pixels = visible_pixels(head, person.local._replace(opacities=opacities), person.binding, views)
    assert torch.isinf(pixels[:5]).all()


def test_filling_leaves_what_was_seen_and_paints_the_back_like_the_front():
    head, person, views, pixels = seen_from_the_front()
    red = torch.tensor([3.0, -3.0, -3.0])
    local = person.local._replace(colors=red.expand_as(person.local.colors).clone())
    behind = pixels < 1e-3
    local.colors[behind] = torch.tensor([-3.0, -3.0, 3.0])  # noise where nobody looked
    local.means[behind, 1] -= 0.5
    anchor = person.local
    filled = fill_unseen(head, local, anchor, person.binding, views)
    now = visible_pixels(head, local, person.binding, views)
    for a, b in zip(filled, local):
        assert torch.equal(a[now >= 1], b[now >= 1])
    hidden = behind & (now < 1e-3)
    assert torch.equal(filled.means[hidden], anchor.means[hidden])
    skin = hidden & head.region_faces("skin")[person.binding.faces]
    assert int(skin.sum()) > 20
    assert float((filled.colors[skin] - red).abs().max()) < 0.05


def test_filling_does_not_bring_back_what_the_fit_moved_out_of_the_way():
    head, person, views, pixels = seen_from_the_front()
    front = int(pixels.nan_to_num(posinf=0).argmax())
    means = person.local.means.clone()
    means[front, 1] = -20.0  # far behind the surface, where it cannot be seen
    local = person.local._replace(means=means)
    assert float(visible_pixels(head, local, person.binding, views)[front]) < 1e-3
    filled = fill_unseen(head, local, person.local, person.binding, views)
    assert torch.equal(filled.means[front], means[front])
