"""Every distillation method against closed forms: pictures are normal numbers, so all answers are known."""

import pytest
import torch
from helpers.gaussians import SIDE, Gaussians, exact
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.distill.learners import GaussianLearner
from lift123.pipelines.distill.plug import Draw, How, numbers_of
from lift123.pipelines.distill.registry import METHODS, method_of, paper_of
from lift123.pipelines.distill.times import choose_times, dreamtime
from lift123.pipelines.distill.voices import Voices
from lift123.pipelines.networks.lora import Lora, LoraLearner
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings

Linear = torch.nn.Linear
NETWORK = Gaussians()
ALPHAS = NETWORK.alphas_cumprod


def views(count):
    return Cameras.orbit(torch.linspace(-2, 2, count), 0.1, 3.0, 0.4, SIDE, SIDE)


def drawn(z, t=500, network=NETWORK, seed=0, source=None, progress=0.0):
    """One draw at latents that are ``z`` everywhere."""
    latents = torch.full((2, 3, SIDE, SIDE), float(z))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator)
    voices = Voices(network, network.with_prompt, "")
    before = None if source is None else lambda: (torch.full_like(latents, float(source[0])), voices.of(source[1]))
    return Draw(voices, latents, torch.tensor([t, t]), noise, views(2), progress, generator, before)


def direction(name, draw, **options):
    return method_of(How(name, tuple(options.items()))).direction(draw)


def parts(draw):
    """Exact answers at a draw: conditioned, unconditioned, under bad words."""
    network, abar, noisy = draw.voices.denoiser, draw.abar(), draw.noisy()
    return (exact(noisy, abar, network.wanted, network.near), exact(noisy, abar, 0.0, network.wide),
            exact(noisy, abar, network.bad, network.wide))


def test_sds_is_the_guided_answer_without_the_noise():
    draw = drawn(0.1, network=Gaussians(guidance=7.5))
    with_, without, _ = parts(draw)
    assert torch.allclose(direction("sds", draw), without + 7.5 * (with_ - without) - draw.noise, atol=1e-5)
    assert draw.voices.asked == 2 * 2


def test_sjc_averages_and_is_sds_with_one_draw():
    assert torch.equal(direction("sjc", drawn(0.1)), direction("sds", drawn(0.1)))
    draw = drawn(0.1)
    abar = draw.abar()
    expected = exact(abar.sqrt() * draw.latents, abar, 0.4, 0.05)  # over all noise: its own part is zero in the mean
    assert torch.allclose(direction("sjc", draw, samples=2000), expected, atol=0.06)
    assert torch.allclose(direction("sjc", drawn(0.1), samples=2000, centered=0), expected, atol=0.12)
    assert draw.voices.asked == 2000 * 2


def test_csd_is_the_conditions_part():
    draw = drawn(0.1)
    with_, without, bad = parts(draw)
    assert torch.allclose(direction("csd", draw, scale=3), 3 * (with_ - without), atol=1e-5)
    assert draw.voices.asked == 2 * 2
    half = drawn(0.1, progress=0.5)
    assert torch.allclose(direction("csd", half, negative=2), with_ - without + without - bad, atol=1e-5)
    assert half.voices.asked == 3 * 2


def test_nfsd_has_no_noise_at_low_times_and_a_bad_pictures_at_others():
    late, early = drawn(0.1, t=500), drawn(0.1, t=100)
    with_, without, bad = parts(late)
    assert torch.allclose(direction("nfsd", late), without - bad + 7.5 * (with_ - without), atol=1e-5)
    assert late.voices.asked == 3 * 2
    with_, without, _ = parts(early)
    assert torch.allclose(direction("nfsd", early), without + 7.5 * (with_ - without), atol=1e-5)
    assert early.voices.asked == 2 * 2


def inverted(z, times, mean, spread, guidance=1.0):
    """The state of a DDIM trajectory through clean ``z`` at the last time, step by step, for scalars."""
    x, a, now = torch.tensor(z, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64), 0
    for after in times:
        told = ALPHAS.double()[now]
        eps = exact(x, told, mean, spread)
        if guidance != 1.0:
            eps = (1 - guidance) * exact(x, told, 0.0, 0.6) + guidance * eps
        there = ALPHAS.double()[after]
        x = there.sqrt() * (x - (1 - a).sqrt() * eps) / a.sqrt() + (1 - there).sqrt() * eps
        a, now = there, after
    return x


def test_ism_compares_the_ends_of_an_interval_of_an_inverted_path():
    draw = drawn(0.1, t=500)
    x_s = inverted(0.1, (200, 400, 450), 0.0, 0.6)
    s, t = ALPHAS.double()[450], ALPHAS.double()[500]
    before = exact(x_s, s, 0.0, 0.6)
    x_t = t.sqrt() * (x_s - (1 - s).sqrt() * before) / s.sqrt() + (1 - t).sqrt() * before
    expected = float(exact(x_t, t, 0.4, 0.05) - before)
    assert torch.allclose(direction("ism", draw), torch.full_like(draw.latents, expected), atol=1e-4)
    assert draw.voices.asked == (3 + 1 + 1) * 2, "three strides, the interval's start, and its end without guidance"


def test_sdi_takes_its_noise_from_the_path_through_the_render():
    draw = drawn(0.1, t=500)
    state = inverted(0.1, (100, 200, 300, 400, 500), 0.4, 0.05, -7.5)
    abar = ALPHAS.double()[500]
    kappa = (state - abar.sqrt() * 0.1) / (1 - abar).sqrt()
    expected = float(exact(state, abar, 0.4, 0.05) - kappa)
    found = direction("sdi", draw)
    assert torch.allclose(found, torch.full_like(found, expected), rtol=1e-3, atol=1e-3)
    assert draw.voices.asked == (5 * 2 + 1) * 2, "guidance -7.5 asks twice per stride"


def test_dds_is_zero_where_nothing_changed_and_leads_to_the_new_words():
    same = drawn(0.1, source=(0.1, ""))
    assert float(direction("dds", same).abs().max()) == 0
    edited = drawn(0.1, source=(0.1, "0.1"))
    found = direction("dds", edited)
    abar = edited.abar()
    slope = (abar * (1 - abar)).sqrt() / (0.05**2 * abar + 1 - abar)
    assert torch.allclose(found, (slope * (0.1 - 0.4)).expand_as(found), atol=1e-5), "towards 0.4, whatever the noise"
    with pytest.raises(InputError, match="source"):
        direction("dds", drawn(0.1))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("csd", "nfsd")])
def test_the_wanted_picture_is_the_fixed_point(name):
    """At what the condition says, without guidance, the mean over noise is zero, and beside it the way leads back."""
    def mean(z):
        draw = drawn(z, t=300, source=(0.4, ""))
        many = Draw(draw.voices, draw.latents.repeat(200, 1, 1, 1), draw.t.repeat(200),
                    torch.randn(400, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), views(400), 0.0, draw.generator,
                    draw.source and (lambda: (torch.full((400, 3, SIDE, SIDE), 0.4), draw.voices)))
        options = {"guidance": 1.0} if name == "sdi" else {}
        if name == "vsd":  # what it has learned so far is a wide guess: the exact learner of the render is put in its place
            vsd = method_of(How("vsd"))
            vsd._learner = GaussianLearner(ALPHAS, (3, SIDE, SIDE))
            with torch.no_grad():
                vsd._learner.means[0] += z
                vsd._learner.log_variance += 2 * torch.tensor(0.05).log()
            return float(vsd.direction(many).mean())
        return float(direction(name, many, **options).mean())

    middle, above, below = mean(0.4), mean(0.6), mean(0.2)
    slack = 0.25 if name == "ism" else 0.02  # ism's start of the interval does not know the condition
    assert abs(middle) < slack and above > middle + 0.05 and below < middle - 0.05


@pytest.mark.parametrize("name", ["sds", "sjc", "csd", "nfsd", "ism", "sdi", "vsd"])
def test_guidance_strengthens_the_conditions_part(name):
    """Beside the wanted picture more guidance (csd, nfsd: scale) pulls harder, in proportion to eps_c - eps_u."""
    def mean(scale):
        own = name in ("csd", "nfsd")
        draw = drawn(-0.4, t=300, network=Gaussians(guidance=1.0 if own else scale))
        options = {"scale": scale} if own else {"guidance": 1.0} if name == "sdi" else {}
        return float(direction(name, draw, **options).mean())

    assert mean(4.0) < mean(2.0) < 0
    with_two, with_four, with_six = mean(2.0), mean(4.0), mean(6.0)
    assert with_six - with_four == pytest.approx(with_four - with_two, rel=1e-3), "linear in the scale"


def test_the_plug_gives_bit_for_bit_what_score_distillation_was():
    """Written out once as it stood before there were methods."""
    images = torch.rand(2, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(4)).requires_grad_()
    settings = SdsSettings((0.1, 0.9), reduction="mean")
    network = Gaussians(guidance=5.0)
    (found,) = torch.autograd.grad(
        SdsPrior(network, settings).loss(images, views(2), 0.3, torch.Generator().manual_seed(9)).sum(), images)
    generator = torch.Generator().manual_seed(9)
    latents = network.encode(images).float()
    t = torch.randint(100, 901, (2,), generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    abar = ALPHAS[t][:, None, None, None]
    predicted = network.predict_noise(abar.sqrt() * latents + (1 - abar).sqrt() * noise, t, views(2))
    per_element = latents * ((1 - abar) * (predicted - noise)).detach()
    (expected,) = torch.autograd.grad(per_element.flatten(1).mean(1).sum(), images)
    assert torch.equal(found, expected)


# ------------------------------------------------------------------------------------------ vsd's learners


class Mlp(torch.nn.Module):
    """A frozen one-dimensional network that knows x_t and sqrt(abar); its layers carry attention's names."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.to_q, self.to_k, self.to_v = Linear(2, 32), Linear(32, 32), Linear(32, 1)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_((2 * torch.rand(p.shape, generator=generator) - 1) * (3 / 32) ** 0.5)
        self.requires_grad_(False)

    def forward(self, x, level):
        h = torch.relu(self.to_q(torch.stack([x, level], -1)))
        return self.to_v(torch.relu(self.to_k(h)))[..., 0]


def learned(learner, rate, steps, mean, spread):
    """Trains a learner as VSD does on renders that are N(mean, spread^2)."""
    generator = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(learner.parameters(), lr=rate)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * (1 - step / steps)
        z = mean + spread * torch.randn(256, 1, 1, 1, generator=generator)
        t, noise = torch.randint(0, 1000, (256,), generator=generator), torch.randn(z.shape, generator=generator)
        abar = ALPHAS[t][:, None, None, None]
        answer = learner.predict(abar.sqrt() * z + (1 - abar).sqrt() * noise, t, views(256))
        (answer - noise).square().mean().backward()
        adam.step()
        adam.zero_grad()


@pytest.mark.parametrize("kind", ["lora", "gaussian"])
def test_vsds_learner_finds_the_score_of_what_is_rendered(kind):
    """In one dimension: renders are N(0.8, 0.3^2), whose score is known."""
    network = Mlp()
    lora = Lora(network, 8, torch.Generator().manual_seed(1))

    def noise(noisy, t, cameras):
        return network(noisy[:, 0, 0, 0], ALPHAS[t].sqrt())[:, None, None, None]

    x, t = torch.linspace(-1, 1.5, 64)[:, None, None, None], torch.full((64,), 500)
    before = noise(x, t, views(64))
    learner = LoraLearner(lora, noise) if kind == "lora" else GaussianLearner(ALPHAS, (1, 1, 1))
    assert kind == "gaussian" or torch.equal(learner.predict(x, t, views(64)), before), "an untrained adapter changes nothing"
    learned(learner, 0.02, 700, 0.8, 0.3)
    for time in (200, 500, 800):
        t = torch.full((64,), time)
        abar = ALPHAS[t][:, None, None, None]
        near = abar.sqrt() * 0.8 + torch.linspace(-1, 1, 64)[:, None, None, None] * (0.09 * abar + 1 - abar).sqrt()
        wrong = learner.predict(near, t, views(64)) - exact(near, abar, 0.8, 0.3)
        assert float(wrong.detach().square().mean().sqrt()) < 0.12
    assert torch.equal(noise(x, torch.full((64,), 500), views(64)), before), "the frozen network is untouched"


# ------------------------------------------------------------------------------------------ times, numbers, words


def test_times_fall_over_the_stage_and_uniform_is_drawn():
    generator = torch.Generator().manual_seed(0)
    for kind in ("annealed", "root", "dreamtime"):
        ways = [int(choose_times(kind, 20, 980, 1, p / 50, generator, 1000)) for p in range(51)]
        assert ways[0] >= 975 and ways[-1] <= 35 and all(a >= b for a, b in zip(ways, ways[1:]))
    assert int(choose_times("root", 20, 980, 1, 0.25, generator, 1000)) == 500
    drawn_ = choose_times("uniform", 20, 980, 4000, 0.0, generator, 1000)
    assert int(drawn_.min()) >= 20 and int(drawn_.max()) <= 980 and abs(float(drawn_.float().mean()) - 500) < 15


def test_dreamtime_spends_the_stage_as_its_weights_say():
    weights = torch.tensor([1.0 if 500 <= t <= 800 else
                            float(torch.exp(torch.tensor(-(max(t - 800, 0) / 300) ** 2 / 2 - (max(500 - t, 0) / 100) ** 2 / 2)))
                            for t in range(20, 981)])
    share = float(weights[480:].sum() / weights.sum())  # spent at 500 and above
    assert dreamtime(20, 980, 1000, share) == pytest.approx(500, abs=2)


def test_numbers_of_papers_replace_the_priors():
    for name in METHODS:
        paper = paper_of(How(name))
        settings = SdsSettings((0.2, 0.6), how=How(name, numbers="paper")).as_papers()
        assert settings.t_range == paper.t_range and settings.weighting == paper.weighting and paper.source
        kept = SdsSettings((0.2, 0.6), how=How(name))
        assert kept.as_papers() is kept
    with pytest.raises(InputError, match="stride"):
        method_of(How("ism", (("strides", 1.0),)))
    assert numbers_of(METHODS["vsd"]) == {"rate": 1e-4, "steps": 1, "rank": 4}


class Worded(Gaussians):
    """The condition follows the azimuth: 1 in front, 0 at the side, -1 behind, each along its own channel."""

    def predict_noise(self, noisy, t, cameras):
        place = torch.nn.functional.one_hot((cameras.azimuth.abs() / (torch.pi / 2)).round().long(), 3).to(noisy)
        return self.guidance * place[:, :, None, None].expand_as(noisy)


def test_perp_neg_pushes_away_only_what_other_words_add():
    side = Cameras.orbit(torch.tensor([torch.pi / 2]), 0.0, 3.0, 0.4, SIDE, SIDE)
    voices = Voices(Worded(guidance=2.0), perp_neg=True)
    found = voices.guided(torch.zeros(1, 3, SIDE, SIDE), torch.tensor([500]), side)[0, :, 0, 0]
    front = torch.exp(torch.tensor(-0.5)) + 0.967  # how strongly the front's words are pushed away from the side
    assert torch.allclose(found, 2.0 * torch.stack([-front, torch.tensor(1.0), torch.tensor(0.0)]), atol=1e-5)
    assert voices.asked == 4
