"""What the published method promises of decoder, prior and fit, and what its switches leave out."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from headworks.avatars.avatar import BoundAvatar
from headworks.avatars.binding import Binding, LocalGaussians, bind_uv, initial_gaussians
from headworks.avatars.gasp import fit as fitting
from headworks.avatars.gasp.checkpoint import Checkpoints
from headworks.avatars.gasp.config import FitConfig, PriorConfig
from headworks.avatars.gasp.decoder import GaussianDecoder, GaussianPrior
from headworks.avatars.gasp.fit import fit_avatar
from headworks.avatars.gasp.prior import train_prior
from headworks.avatars.gasp.training import Order, RowAdam, Training, flatness, rate_factor
from headworks.avatars.gasp.unseen import visible_pixels
from headworks.avatars.training import Curve, loss_fall
from tests.toyhead import toy_head
from tests.toypeople import capture, painted

SMALL = FitConfig(
    uv_size=None, paint_unseen=False, inversion_steps=3, decoder_steps=3, refine_steps=3,
    checkpoint_steps=0, device="cpu",
)  # fmt: skip


def silent(done: float, text: str) -> None:
    pass


def fresh_prior(people: int = 3, seed: int = 0, uv_size: int = 16):
    head = toy_head()
    binding = bind_uv(head, uv_size)
    return head, GaussianPrior(initial_gaussians(head, binding), people, 4, 16, 2, seed), binding


@pytest.fixture(scope="module")
def photo():
    return capture(painted(toy_head(), 0.7), (0.0,), 1)


def fitted(photo, config: FitConfig, seed: int = 0, uv_size: int = 16):
    head, prior, binding = fresh_prior(seed=seed, uv_size=uv_size)
    avatar, curves = fit_avatar(head, prior, binding, photo, "photo", config, 1, silent)
    return avatar, curves, prior, binding


def test_without_gain_every_code_gives_the_template() -> None:
    _, prior, _ = fresh_prior()
    with torch.no_grad():
        for layer in prior.decoder.head.values():
            layer.parametrizations.weight.original0.zero_()
    for code in torch.randn(3, 4):
        for name, value in prior.decode(code)._asdict().items():
            assert torch.equal(value, prior.template[name])


def test_people_decoded_together_are_people_decoded_alone() -> None:
    _, prior, _ = fresh_prior()
    together = prior.decode(prior.codes)
    for j in range(3):
        for a, b in zip(together, prior.decode(prior.codes[j])):
            assert torch.allclose(a[j], b, atol=1e-6)


def test_permuting_gaussians_permutes_the_avatar() -> None:
    _, prior, _ = fresh_prior()
    order = torch.randperm(len(prior.features), generator=torch.Generator().manual_seed(0))
    before = prior.decode(prior.codes[0]).detach()
    with torch.no_grad():
        prior.features.copy_(prior.features[order])
        for value in prior.template.values():
            value.copy_(value[order])
    for a, b in zip(before, prior.decode(prior.codes[0])):
        assert torch.allclose(a[order], b, atol=1e-6)


def test_codes_of_absent_people_do_not_drift() -> None:
    rows = torch.nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    adam = RowAdam(rows, 0.1)
    for _ in range(4):
        rows.grad = torch.ones(3, 4)
        adam.step(torch.tensor([0]), 1.0)
    assert float(adam.count[0]) == 4
    held = rows.detach().clone()
    rows.grad = torch.ones(3, 4)
    adam.step(torch.tensor([1, 2]), 1.0)
    assert torch.equal(rows[0], held[0]), "momentum alone moves nobody"
    assert not torch.equal(rows[1], held[1])


def test_rows_in_every_batch_move_as_under_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(3, 4, generator=generator))
    theirs = torch.nn.Parameter(ours.detach().clone())
    mine, adam = RowAdam(ours, 0.1), torch.optim.Adam([theirs], lr=0.1, eps=1e-15)
    for _ in range(5):
        gradient = torch.randn(3, 4, generator=generator)
        ours.grad, theirs.grad = gradient, gradient.clone()
        mine.step(torch.arange(3), 1.0)
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_every_pass_shows_every_index_once_and_any_place_can_be_asked_for() -> None:
    order = Order(7, 3, "test")
    seen = [order[i] for i in range(21)]
    assert all(sorted(seen[i : i + 7]) == list(range(7)) for i in (0, 7, 14))
    assert seen[:7] != seen[7:14]
    assert [Order(7, 3, "test")[i] for i in (20, 0, 9)] == [seen[20], seen[0], seen[9]]


def test_rates_are_constant_then_fall_to_a_tenth() -> None:
    assert rate_factor(0, 100) == rate_factor(70, 100) == 1
    assert rate_factor(85, 100) == pytest.approx(0.1**0.5)
    assert rate_factor(100, 100) == pytest.approx(0.1)


def flattening(checkpoints: Checkpoints, flat_fall: float, steps: int = 3000) -> Training:
    """A training whose loss falls to a floor whatever it does, run to its end."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    groups = [({"parameter": parameter}, 1e-3)]
    config = PriorConfig(checkpoint_steps=700)
    training = Training("toy", steps, groups, config, checkpoints, flat_fall=flat_fall)
    training.run(lambda step: (1 + np.exp(-step / 400) + 0 * parameter.sum(), 20.0), silent)
    return training


def test_a_training_whose_loss_is_flat_lets_its_rates_fall_and_ends(tmp_path) -> None:
    none = Checkpoints(None, {})
    whole, early = flattening(none, 0.0), flattening(none, 0.02)
    assert (whole.step, whole.plateau) == (3000, None)
    assert early.plateau is not None
    curves = early.curves()
    assert loss_fall(curves, early.plateau) < 0.02 <= loss_fall(curves, early.plateau - 20)
    assert early.step == math.ceil(early.plateau / 0.7) < 3000
    assert early.adam.param_groups[0]["lr"] == pytest.approx(1e-4, rel=0.01)  # rates have fallen
    # A plateau that came before a kill is known after it.
    state = tmp_path / "toy.safetensors"
    flattening(Checkpoints(tmp_path, {}), 0.02)
    assert state.exists()
    again = flattening(Checkpoints(tmp_path, {}), 0.02)
    assert (again.step, again.plateau, again.points) == (early.step, early.plateau, early.points)


def test_the_fall_of_a_loss_compares_two_windows_of_equal_length() -> None:
    curves = [Curve("x", s, 2.0 if s <= 800 else 1.5, 0.0) for s in range(20, 1001, 20)]
    assert loss_fall(curves, 1000) == pytest.approx(0.25)
    assert loss_fall(curves, 800) is None  # windows of 160 steps say nothing
    found = flatness([Curve("x", s, 3.0 - s / 4000, 0.0) for s in range(20, 4001, 20)], 0.5)
    assert found["fall_before_decay"] == pytest.approx(0.1 / 2.7, rel=0.02)
    assert found["fall_at_end"] == pytest.approx(0.1 / 2.15, rel=0.02)


def test_a_template_that_is_not_trained_stays_as_it_was() -> None:
    head = toy_head()
    people = [capture(painted(head, hue), (0.0,), 2) for hue in (0.2, 0.8)]
    config = PriorConfig(
        uv_size=16, code_dim=4, width=16, depth=2, steps=3, template=False, device="cpu"
    )
    prior, binding, _ = train_prior(head, people, config, 0, silent)
    for name, value in initial_gaussians(head, binding)._asdict().items():
        assert torch.equal(prior.template[name], value)
    trained, *_ = train_prior(head, people, replace(config, template=True), 0, silent)
    assert not torch.equal(trained.template["colors"], prior.template["colors"])


def test_each_stage_trains_its_own_part_alone(photo, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: dict[str, set[str]] = {}

    class Watched(Training):
        def __post_init__(self) -> None:
            super().__post_init__()
            trained[self.stage] = set(self.named)

    monkeypatch.setattr(fitting, "Training", Watched)
    avatar, _, prior, binding = fitted(photo, SMALL)
    network = {name for name, _ in prior.decoder.named_parameters()}
    assert trained == {
        "inversion": {"code"}, "decoder": network, "refinement": set(LocalGaussians._fields)
    }  # fmt: skip
    _, untouched, _ = fresh_prior()
    for a, b in zip(prior.state_dict().values(), untouched.state_dict().values()):
        assert torch.equal(a, b), "the prior itself is nobody's to change"
    assert torch.equal(avatar.binding.faces, binding.faces)
    assert torch.equal(avatar.binding.bary, binding.bary)


def test_stage_one_starts_at_the_mean_code_and_moves_it(photo) -> None:
    avatar, _, prior, _ = fitted(photo, replace(SMALL, decoder_steps=0, refine_steps=0))
    mean = prior.decode(prior.codes.mean(0)).detach()
    assert not torch.equal(avatar.local.colors, mean.colors), "the code moved"
    alone, *_ = fitted(photo, replace(SMALL, inversion_steps=0, decoder_steps=0, refine_steps=0))
    assert torch.equal(alone.local.colors, mean.colors), "without steps it is the mean code's"


def test_the_pull_to_stage_one_is_zero_where_stage_two_starts(photo) -> None:
    one_step = replace(SMALL, inversion_steps=2, decoder_steps=1, refine_steps=0)
    losses = [
        next(c.loss for c in fitted(photo, replace(one_step, lambda_prior=x))[1]
             if c.stage == "decoder")
        for x in (0.0, 1e6)
    ]  # fmt: skip
    assert losses[0] == losses[1]


def test_a_strong_pull_holds_what_no_picture_shows(photo) -> None:
    config = replace(SMALL, decoder_steps=0, refine_steps=40, refine_rate=0.1)
    before, *_ = fitted(photo, replace(config, refine_steps=0))
    held, _, _, binding = fitted(photo, replace(config, lambda_prior=1e6))
    loose, *_ = fitted(photo, replace(config, lambda_prior=0.0))
    hidden = visible_pixels(toy_head(), before.local, binding, photo) < 0.1
    assert 20 < int(hidden.sum()) < len(hidden) - 20

    def moved(avatar) -> float:
        pairs = zip(avatar.local, before.local)
        return max(float((a - b)[hidden].abs().max()) for a, b in pairs)

    assert moved(held) < 1e-3
    assert moved(loose) > 10 * moved(held)


def test_from_scratch_owes_the_prior_nothing_but_its_sizes(photo) -> None:
    config = replace(SMALL, from_scratch=True)
    one, curves, *_ = fitted(photo, config, seed=0)
    other, *_ = fitted(photo, config, seed=99)
    for a, b in zip(one.local, other.local):
        assert torch.equal(a, b)
    with_prior, *_ = fitted(photo, SMALL)
    assert not torch.equal(one.local.colors, with_prior.local.colors)
    steps = {c.stage: c.step for c in curves}
    assert steps == {"from_scratch": 6, "refinement": 3}, "as many steps as with the prior"


def test_the_avatar_keeps_the_prior_s_map_or_has_a_finer_one(photo) -> None:
    own, _, _, binding = fitted(photo, SMALL)
    finer, *_ = fitted(photo, replace(SMALL, uv_size=24))
    assert len(own.binding.faces) == len(binding.faces) < len(finer.binding.faces)


def test_gaussian_counts_follow_from_the_covered_share_of_the_map() -> None:
    """N(r) / r^2 is constant and N(2r) / N(r) near 4, as the paper's counts are."""
    from headworks.heads import load_head

    head = load_head("procedural")
    counts = {r: len(bind_uv(head, r, ()).faces) for r in (64, 128, 256)}
    shares = [n / r**2 for r, n in counts.items()]
    assert max(shares) / min(shares) < 1.02
    for r in (64, 128):
        assert counts[2 * r] / counts[r] == pytest.approx(4, rel=0.02)


def test_an_avatar_of_the_paper_s_size_is_a_file_of_some_fifteen_megabytes(tmp_path) -> None:
    head, count = toy_head(), 187_776
    binding = Binding(torch.arange(count) % len(head.faces), torch.full((count, 3), 1 / 3))
    local = LocalGaussians(*(torch.zeros(count, *size) for size in ((3,), (3,), (4,), (3,), ())))
    BoundAvatar(head, torch.zeros(2), local, binding, "gasp", "photo").save(tmp_path / "avatar")
    assert 13e6 < (tmp_path / "avatar").stat().st_size < 15e6


def test_faces_that_no_texel_hits_get_a_gaussian_only_where_asked_for() -> None:
    from headworks.heads import load_head

    head = load_head("procedural")
    plain, full = bind_uv(head, 32, ()), bind_uv(head, 32)
    fine = head.region_faces("lips", "eyelids", "eyes", "teeth", "mouth_inner")
    assert len(full.faces) > len(plain.faces)
    assert not bool(fine[plain.faces.unique()].sum() == fine.sum())
    area = torch.linalg.cross(
        *(head.template[head.faces[:, i]] - head.template[head.faces[:, 0]] for i in (1, 2))
    ).norm(dim=1)
    owned = torch.zeros(len(head.faces), dtype=torch.bool)
    owned[full.faces] = True
    assert bool(owned[fine & (area > 2e-12)].all())


@pytest.mark.slow
def test_a_training_person_s_code_is_found_again() -> None:
    """From the mean code, stage 1 alone comes back to within 1 dB of the person's own code."""
    head = toy_head()
    people = [capture(painted(head, hue), (0.0, 1.5, 3.1, -1.5)) for hue in (0.1, 0.5, 0.9)]
    config = PriorConfig(uv_size=24, code_dim=4, width=16, depth=2, steps=300, rate=5e-3)
    prior, binding, _ = train_prior(head, people, config, 3, silent)
    only = replace(SMALL, inversion_steps=300, decoder_steps=0, refine_steps=0)
    none = replace(only, inversion_steps=0)
    for j in range(3):
        args = (people[j], "multiview")
        avatar, _ = fit_avatar(head, prior, binding, *args, only, 1, silent)
        best, _ = fit_avatar(head, copy_with_code(prior, j), binding, *args, none, 1, silent)
        assert quality(avatar, people[j]) > quality(best, people[j]) - 1


def copy_with_code(prior: GaussianPrior, j: int) -> GaussianPrior:
    """The prior with one person's code alone, which is then the mean code."""
    other = copy.deepcopy(prior)
    other.codes = torch.nn.Parameter(prior.codes[j : j + 1].detach().clone())
    return other


def quality(avatar, views) -> float:
    """Mean PSNR over all pictures, dB."""
    from headworks.avatars.gasp.config import TrainingConfig
    from headworks.avatars.gasp.training import make_surface, picture_loss
    from headworks.avatars.losses import ImageLoss

    surface = make_surface(avatar.head, avatar.binding, TrainingConfig(), torch.device("cpu"))
    with torch.no_grad():
        scores = [
            picture_loss(surface, avatar.local, views, i, torch.ones(3), ImageLoss())[1]
            for i in range(len(views))
        ]
    return sum(scores) / len(scores)


def test_the_decoder_s_widths_are_free() -> None:
    for width, depth in ((8, 1), (32, 3)):
        offsets = GaussianDecoder(6, width, depth)(torch.randn(5, 8), torch.randn(2, 6))
        assert [tuple(x.shape) for x in offsets] == [
            (2, 5, 3), (2, 5, 3), (2, 5, 4), (2, 5, 3), (2, 5)
        ]  # fmt: skip


def test_rendering_leaves_torch_the_threads_that_it_was_given(photo) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        fitted(photo, replace(SMALL, inversion_steps=1, decoder_steps=0, refine_steps=0))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
