"""RGSD as a latent regression: against the literal Algorithm 1, against hand-made targets, and inside the loop."""

import json
import math
from dataclasses import replace

import pytest
import torch
from helpers import depth_tiny
from helpers.rgsd_toys import HOME, PAPER, LossyGuide, ToyGuide
from helpers.rgsd_toys import ball as _ball
from helpers.rgsd_toys import prior as _prior
from helpers.rgsd_toys import random_cameras as _random_cameras
from helpers.rgsd_toys import run as _run
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError, NotFinite
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.methods.rgnv import ReferenceGuide, RgnvSettings
from lift123.pipelines.priors.combine import SumPrior
from lift123.pipelines.priors.rgsd import RgsdPrior, RgsdSettings, expected_depth
from lift123.verification.literal import LiteralRgsd


@pytest.mark.parametrize("tau", [1, 2, 3])
def test_gradient_equals_the_literal_algorithm(tau):
    """d/dpicture of |x_tau - sg(x~_tau)|^2 with everything evaluated as printed, through the autoencoder."""
    network = depth_tiny.network()
    pictures, channel, _ = depth_tiny.scene(0)
    guide = ReferenceGuide(network, pictures[0], channel, None,
                           RgnvSettings(steps=20, rungs=4, guidance=7.5, record="resampled"), "a parrot")
    prior = RgsdPrior(guide, HOME, PAPER)
    prior.on_surface(_ball, True)
    seed = next(s for s in range(99) if int(torch.randint(1, 4, (1,), generator=torch.Generator().manual_seed(s))) == tau)
    view = Cameras.orbit(2.9, 0.1, 3.8, 0.35, 32, 32)
    images = depth_tiny.scene(1)[0].requires_grad_()
    loss = prior.loss(images, view, 0.0, torch.Generator().manual_seed(seed))
    (got,) = torch.autograd.grad(loss.sum(), images)
    drawn = _ball(view)
    depth, _ = guide.perceive(expected_depth(drawn), drawn.alpha)
    words = network.encoder.text_condition(["Back view of a parrot"])["context"]
    literal = LiteralRgsd(guide).loss(guide.encode(images), depth, words, tau)
    (want,) = torch.autograd.grad(literal, images)
    assert float((got - want).norm() / want.norm()) < 1e-5
    assert float(loss.detach()) == pytest.approx(float(literal.detach()), rel=1e-5)


def test_literal_costs_72_and_ours_24_per_random_view_on_average():
    """Counted by the code, over every tau of the paper's setting (T = 20, l = 12), with a real UNet once."""
    network = depth_tiny.network()
    pictures, channel, _ = depth_tiny.scene(0)
    guide = ReferenceGuide(network, pictures[0], channel, None, RgnvSettings(20, 12, 7.5), "a parrot")
    guide.prepare()
    assert guide.spent.pictures == 24
    z, words = guide.encode(pictures), guide.contexts(None, 1)
    before = guide.spent.pictures
    LiteralRgsd(guide).descend(z, channel, words, 6)
    assert guide.spent.pictures - before == 72
    before = guide.spent.pictures
    guide.targets(z, channel, HOME, 6)
    assert guide.spent.pictures - before == 24
    prior = _prior(guide=ToyGuide())
    for step in range(2 * 11):  # every second view is a random one: each level once
        images = torch.ones(1, 8, 8, 3, requires_grad=True)
        seed = _seed_of(1 + step // 2, 12)
        prior.loss(images, prior.choose(step, _random_cameras(step)), 0.0, torch.Generator().manual_seed(seed))
    random = prior.tally["random"]
    assert random.visits == 11 and random.per_visit == 24
    assert prior.tally["fixed"].evaluations == 2 * 36  # once for each of the two fixed views


def test_target_reuse_divides_the_cost():
    """4 views in turn, each target for 4 visits: 12 + 2 * 11 evaluations for all tau, a quarter of it per visit."""
    guide = ToyGuide()
    prior = _prior(replace(PAPER, reuse=4), guide)
    _, views = _run(prior, 64)
    shown = [v.c2w.numpy().tobytes() for v in views[1::2]]
    assert prior.tally["random"].per_visit == pytest.approx(34 / 4) and len(set(shown)) == 8
    assert all(shown.count(s) == 4 for s in shown) and len(set(shown[:4])) == 4 and shown[:4] == shown[4:8]
    assert len(prior._now.targets) == 2 + 4  # nothing piles up


@pytest.mark.parametrize("inside_a_sum", [False, True])
def test_an_interrupted_prior_goes_on_as_if_nothing_had_happened(inside_a_sum):
    """Views, targets, tau and costs of steps 7 .. 23, recalled by another prior from tensors and JSON alone."""
    settings = replace(PAPER, slots=2, reuse=3)

    class Counted(ToyGuide):
        """Targets that differ with every making."""

        def targets(self, latents, depth, cameras, stop=0):
            state, clean = super().targets(latents, depth, cameras, stop)
            return state + self.spent.pictures % 97, clean + self.spent.pictures % 97

    def made():
        rgsd = RgsdPrior(Counted(), HOME, settings)
        prior = SumPrior([(rgsd, Constant(1.0))]) if inside_a_sum else rgsd
        prior.on_surface(_ball, True)
        return prior, rgsd

    def steps(prior, first, last):
        found = []
        for step in range(first, last):
            cameras = prior.choose(step, _random_cameras(step))
            loss = prior.loss(torch.ones(1, 8, 8, 3), cameras, 0.0, torch.Generator().manual_seed(step))
            found.append((loss.item(), cameras.c2w))
        return found

    whole, rgsd = made()
    expected = steps(whole, 0, 23)[7:]
    first, half = made()
    steps(first, 0, 7)
    tensors, meta = first.memory()
    second, other = made()
    other.guide.spent.pictures = half.guide.spent.pictures
    second.recall(tensors, json.loads(json.dumps(meta)))
    got = steps(second, 7, 23)
    assert [v for v, _ in got] == [v for v, _ in expected] and len({v for v, _ in got}) > 4
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(got, expected))
    assert other.tally == rgsd.tally


def test_a_memory_of_other_settings_or_without_its_tensors_is_not_recalled():
    prior = _prior(replace(PAPER, reuse=2))
    _run(prior, 5)
    tensors, meta = prior.memory()
    assert not _prior(replace(PAPER, reuse=3)).recall(tensors, meta)
    assert not _prior(replace(PAPER, reuse=2)).recall({}, meta) and not _prior().recall({}, None)
    assert not _prior(replace(PAPER, reuse=2), ToyGuide(6)).recall(tensors, meta), "another grid of noise levels"
    fresh = _prior(replace(PAPER, reuse=2))
    assert fresh.recall(tensors, meta) and len(fresh._now.targets) == len(prior._now.targets) > 0
    fresh.on_surface(_ball, True)
    assert not fresh._now.targets, "another surface has other targets"


@pytest.mark.parametrize("reduction", ["sum", "mean", "half sum"])
def test_value_and_gradient_from_known_targets(reduction):
    """abar_tau |1 - (tau + 1)|^2 for random views, |1 + 1|^2 for fixed ones."""
    guide = ToyGuide()
    prior = _prior(replace(PAPER, reduction=reduction, weight=Constant(2.0)), guide)
    size = {"sum": 192.0, "mean": 1.0, "half sum": 96.0}[reduction]
    for step in range(6):
        cameras = prior.choose(step, _random_cameras(step))
        images = torch.ones(1, 8, 8, 3, requires_grad=True)
        loss = prior.loss(images, cameras, 0.0, torch.Generator().manual_seed(step))
        (grad,) = torch.autograd.grad(loss.sum(), images)
        tau = int(torch.randint(1, 12, (1,), generator=torch.Generator().manual_seed(step)))
        off, factor = (2.0, 1.0) if step % 2 == 0 else (-float(tau), float(guide.grid.alphas[tau]))
        assert float(loss.detach()) == pytest.approx(2 * factor * off**2 * size, rel=1e-5)
        assert torch.allclose(grad, torch.full_like(grad, 4 * factor * off * size / 192), rtol=1e-5)


def test_pictures_go_where_they_were_plus_what_the_guide_changes():
    """By hand: the decoder turns a step of 0.01 j into 0.03 j whatever it loses; the encoder is not differentiated."""
    prior = _prior(RgsdSettings(Constant(2.0), "sum", reuse=1, masked=False, space="pictures"), LossyGuide())
    for step, tau in ((0, None), (1, 3)):
        cameras = prior.choose(step, _random_cameras(step))
        seed = 0 if tau is None else _seed_of(tau, 12)
        images = torch.full((1, 8, 8, 3), 0.5, requires_grad=True)
        loss = prior.loss(images, cameras, 0.0, torch.Generator().manual_seed(seed))
        (grad,) = torch.autograd.grad(loss.sum(), images)
        move = 3 * 0.02 if tau is None else 3 * 0.01 * (tau + 1)
        factor = 1.0 if tau is None else float(prior.guide.grid.alphas[tau])
        assert loss.item() == pytest.approx(2 * factor * move**2 * 192, rel=1e-4)
        assert torch.allclose(grad, torch.full_like(grad, -2 * 2 * factor * move), rtol=1e-4)


def test_picture_targets_stay_in_range_and_serve_again():
    prior = _prior(RgsdSettings(Constant(1.0), "mean", "mean", reuse=2, slots=1, space="pictures"), LossyGuide())
    for step in range(4):
        cameras = prior.choose(step, _random_cameras(step))
        assert prior.loss(torch.ones(1, 8, 8, 3), cameras, 0.0, torch.Generator().manual_seed(step)).item() == 0.0
    assert prior.tally["random"].visits == 2 and prior.tally["random"].evaluations == 12 + 2 * 11
    assert {t.clean.shape[1:] for t in prior._now.targets.values()} == {(8, 8, 3)}


def _seed_of(tau, rungs):
    return next(s for s in range(1000) if int(torch.randint(1, rungs, (1,), generator=torch.Generator().manual_seed(s))) == tau)


def test_mean_has_the_expected_gradient_of_draws():
    """Regression to the abar-weighted mean target: the mean over tau of the gradients, without drawing."""
    images, cameras = torch.full((1, 8, 8, 3), 0.3, requires_grad=True), _random_cameras(0)
    alphas = ToyGuide().grid.alphas
    want = sum(2 * float(alphas[tau]) * (0.3 - (tau + 1)) for tau in range(1, 12)) / 11
    prior = _prior(replace(PAPER, tau="mean"))
    (grad,) = torch.autograd.grad(prior.loss(images, cameras, 0.0, torch.Generator()).sum(), images)
    assert torch.allclose(grad, torch.full_like(grad, want), rtol=1e-5)


def test_stored_targets_serve_every_level():
    """With reuse, the drawn tau of each visit picks its own clean latent."""
    guide = ToyGuide()
    prior = _prior(replace(PAPER, reuse=3, slots=1, fixed=()), guide)
    for step in range(3):
        cameras = prior.choose(step, _random_cameras(step))
        loss = prior.loss(torch.ones(1, 8, 8, 3), cameras, 0.0, torch.Generator().manual_seed(step))
        tau = int(torch.randint(1, 12, (1,), generator=torch.Generator().manual_seed(step)))
        assert float(loss) == pytest.approx(float(guide.grid.alphas[tau]) * tau**2 * 192, rel=1e-5)
    assert guide.asked == [(1, 1)]


def test_views_alternate_between_two_fixed_and_random_ones():
    prior = _prior()
    _, views = _run(prior, 8)
    turns = [math.degrees(float(v.azimuth - HOME.azimuth)) for v in views]
    assert [round(turns[i] - turns[i - 4]) for i in (4, 6)] == [0, 0]
    assert turns[0] == pytest.approx(120, abs=1e-3) and turns[2] == pytest.approx(-120, abs=1e-3)
    assert all(float(views[i].elevation) == pytest.approx(0.1, abs=1e-5) for i in (0, 2))
    assert all(torch.equal(views[i].c2w, _random_cameras(i).c2w) for i in (1, 3, 5, 7))
    assert prior.guide.asked[0] == (1, 0) and sum(stop == 0 for _, stop in prior.guide.asked) == 2


def test_fixed_views_take_turns_whatever_steps_the_stage_gives():
    """Every fourth step shows the reference only; a step tried again shows the same views."""
    prior, turns = _prior(), []
    for step in (1, 2, 2, 3, 5, 6, 7, 9):
        cameras = prior.choose(step, _random_cameras(step))
        turns.append(round(math.degrees(float(cameras.azimuth - HOME.azimuth))))
    assert [t for t in turns if abs(t) == 120 or t == 240] == [120, -120, 120, -120]
    assert turns[1] == turns[2]
    assert SumPrior(((prior, Constant(1.0)),)).backdrop == "gray"


def test_batches_and_their_parts_meet_the_same_targets():
    """A batch of four in one call, or cut in two because memory ran out."""
    whole, cut = _prior(replace(PAPER, tau="mean", reuse=2)), _prior(replace(PAPER, tau="mean", reuse=2))
    for step in range(4):
        cameras = whole.choose(step, _random_cameras(step, 4))
        again = cut.choose(step, _random_cameras(step, 4))
        assert torch.equal(cameras.c2w, again.c2w)
        images = torch.rand(4, 8, 8, 3, generator=torch.Generator().manual_seed(step))
        want = whole.loss(images, cameras, 0.0, torch.Generator())
        got = torch.cat([cut.loss(images[p], again[p], 0.0, torch.Generator()) for p in (slice(0, 2), slice(2, 4))])
        assert torch.allclose(got, want)


def test_mask_keeps_the_background_out_and_targets_have_no_gradient():
    guide = ToyGuide()
    seen = []

    def targets(latents, *rest):
        seen.append(latents.requires_grad)
        return ToyGuide.targets(guide, latents, *rest)

    guide.targets = targets
    prior = _prior(replace(PAPER, masked=True), guide)
    images = torch.ones(1, 8, 8, 3, requires_grad=True)
    cameras = _random_cameras(0)
    (grad,) = torch.autograd.grad(prior.loss(images, cameras, 0.0, torch.Generator().manual_seed(0)).sum(), images)
    covered = _ball(cameras).alpha > 0
    assert bool((grad[~covered] == 0).all()) and bool((grad[covered] != 0).all()) and 0 < int(covered.sum()) < 64
    assert seen == [False]


def test_a_sum_passes_on_what_the_stage_tells():
    inner = RgsdPrior(ToyGuide(), HOME, PAPER)
    both = SumPrior(((inner, Constant(0.5)),))
    both.on_surface(_ball, True)
    cameras = both.choose(0, _random_cameras(0))
    assert math.degrees(float(cameras.azimuth - HOME.azimuth)) == pytest.approx(120, abs=1e-3)
    assert float(both.loss(torch.ones(1, 8, 8, 3), cameras, 0.0, torch.Generator())) == pytest.approx(0.5 * 4 * 192)


def test_surfaces_that_cannot_be_guided_are_refused():
    prior = RgsdPrior(ToyGuide(), HOME, PAPER, _ball(HOME).alpha)
    prior.on_surface(_ball, True)
    with pytest.raises(InputError, match="texture"):
        prior.on_surface(_ball, False)

    def elsewhere(cameras):
        drawn = _ball(cameras)
        return replace(drawn, alpha=1 - drawn.alpha)

    with pytest.raises(InputError, match="only 0%"):
        prior.on_surface(elsewhere, True)
    with pytest.raises(InputError, match="DMTet Refine"):
        RgsdPrior(ToyGuide(), HOME, PAPER).loss(torch.ones(1, 8, 8, 3), _random_cameras(0), 0.0, torch.Generator())
    broken = ToyGuide()
    broken.encode = lambda images: images.movedim(-1, 1) * torch.nan
    broken.targets = lambda latents, *rest: (latents, latents[None])
    with pytest.raises(NotFinite, match="rgsd"):
        _prior(guide=broken).loss(torch.ones(1, 8, 8, 3), _random_cameras(0), 0.0, torch.Generator())
    for wrong in ({"tau": "x"}, {"reduction": "x"}, {"reuse": 0}, {"slots": 0}):
        with pytest.raises(ValueError):
            replace(PAPER, **wrong)
