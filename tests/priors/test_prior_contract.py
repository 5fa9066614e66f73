"""The contract of ``core.prior.Prior``, over every prior; and that sums and ramps pass everything on."""

import ast
import copy
import json
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import pytest
import torch
from helpers import comfy_tiny
from helpers.gaussians import Gaussians
from helpers.linear import LinearDenoiser
from helpers.rgsd_toys import HOME, LossyGuide, ToyGuide
from helpers.rgsd_toys import ball as _ball
from lift123.host import comfy_denoiser
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.prior import Prior
from lift123.pipelines.core.schedules import Constant, Linear
from lift123.pipelines.distill.plug import How
from lift123.pipelines.networks.clip import ClipScorer
from lift123.pipelines.priors.combine import CLOCKS, DynamicPrior, SumPrior
from lift123.pipelines.priors.pictures import ClipImagePrior, PicturesPrior
from lift123.pipelines.priors.rgsd import RgsdPrior, RgsdSettings
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings
from lift123.pipelines.priors.text import TextPrior
from lift123.pipelines.priors.view import ViewPrior
from lift123.verification.oracle import OracleDenoiser

ROOT = Path(__file__).resolve().parents[2]
SIZE, COUNT = 8, 2
MEAN = SdsSettings(reduction="mean")
PIXELS = SdsSettings(space="pixels", pixel_weight=Linear(12.0, 4.0))
TURNS = RgsdSettings(Constant(1.0), "mean", reuse=3, slots=2)


def truth(cameras):
    """A picture that depends on the direction."""
    ramp = torch.linspace(0, 1, cameras.height)[None, :, None, None]
    return (0.5 + 0.3 * torch.sin(cameras.azimuth)[:, None, None, None] * ramp).expand(-1, -1, cameras.width, 3)


def view(**options):
    return ViewPrior(LinearDenoiser(), MEAN, HOME, **options)


def rgsd(settings=TURNS, guide=ToyGuide, **options):
    return RgsdPrior(guide(), HOME, settings, _ball(HOME).alpha, **options)


def given_views():
    known = Cameras.cat([cameras(step) for step in range(3)])  # those that the tests ask about; of others it knows nothing
    return PicturesPrior(torch.rand(len(known), 16, 16, 3, generator=torch.Generator().manual_seed(2)), known)


class LinearTower(torch.nn.Module):
    """A picture tower that is one matrix."""

    def encode_image(self, x):
        weight = torch.rand(6, x[0].numel(), generator=torch.Generator().manual_seed(3)) - 0.5
        return x.flatten(1) @ weight.T


def clip_image():
    scorer = ClipScorer(LinearTower(), None, 4)  # pyright: ignore[reportArgumentType]
    return ClipImagePrior(scorer, torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(4)), Constant(3.0))


def half(*priors):
    return SumPrior((prior, Constant(0.5)) for prior in priors)


@lru_cache
def comfy(kind: str):
    """A conditioned denoiser on ComfyUI's objects."""
    world = comfy_tiny.tiny() if kind == "text" else comfy_tiny.tiny_view()
    backbone = comfy_denoiser.Backbone(world.model, world.vae, comfy_tiny.SIZE, torch.device("cpu"))
    if kind == "text":
        return comfy_denoiser.ModelTextDenoiser(backbone, 3.0, clip=world.clip).with_prompt("a red mug")
    picture = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(1))
    return comfy_denoiser.ModelViewDenoiser(backbone, 3.0, clip_vision=world.clip_vision).with_reference(picture, HOME)


PRIORS = {
    "sds": lambda: SdsPrior(LinearDenoiser(), SdsSettings(weight=Linear(1.0, 2.0))),
    "oracle": lambda: SdsPrior(OracleDenoiser(truth, image_size=SIZE), replace(MEAN, weighting="snr"), "oracle"),
    "view": view,
    "text": lambda: TextPrior(LinearDenoiser(), MEAN),
    "MODEL as text": lambda: TextPrior(comfy("text"), MEAN),
    "MODEL as view": lambda: ViewPrior(comfy("view"), MEAN, HOME),
    "sds in pixels": lambda: SdsPrior(LinearDenoiser(), PIXELS),
    "oracle in pixels": lambda: SdsPrior(OracleDenoiser(truth, image_size=SIZE), PIXELS, "oracle"),
    "MODEL as text in pixels": lambda: TextPrior(comfy("text"), PIXELS),
    "MODEL as view in pixels": lambda: ViewPrior(comfy("view"), PIXELS, HOME),
    "sum of both spaces": lambda: half(view(), TextPrior(LinearDenoiser(), PIXELS)),
    "dynamic in pixels": lambda: DynamicPrior(ViewPrior(LinearDenoiser(), PIXELS, HOME), TextPrior(LinearDenoiser(), PIXELS)),
    "vsd": lambda: SdsPrior(LinearDenoiser(), replace(MEAN, how=How("vsd", (("rate", 1e-3),)))),
    "sum with ism and vsd": lambda: half(
        SdsPrior(Gaussians(guidance=3.0), replace(MEAN, how=How("ism"))),
        SdsPrior(LinearDenoiser(), replace(PIXELS, how=How("vsd")))),
    "rgsd": rgsd,
    "rgsd, as the paper": partial(rgsd, replace(TURNS, reuse=1)),
    "rgsd, mean": partial(rgsd, replace(TURNS, tau="mean", fixed=())),
    "rgsd, pictures": partial(rgsd, replace(TURNS, space="pictures"), LossyGuide),
    "rgsd, image loss": partial(rgsd, replace(TURNS, aim="image"), LossyGuide),
    "given views": lambda: given_views(),
    "given views in a sum": lambda: half(given_views(), view()),
    "clip image": lambda: clip_image(),
    "sum": lambda: half(view(), TextPrior(LinearDenoiser(), MEAN)),
    "sum with rgsd": lambda: half(view(), rgsd()),
    "sum of sums": lambda: half(half(view()), half(view(), rgsd())),
    "dynamic": lambda: DynamicPrior(view(), TextPrior(LinearDenoiser(), MEAN)),
    "dynamic, global": lambda: DynamicPrior(view(), TextPrior(LinearDenoiser(), MEAN), "linear", "global", 1.5, True),
    "dynamic with rgsd in 3d": lambda: DynamicPrior(rgsd(), view()),
    "dynamic with rgsd in 2d": lambda: DynamicPrior(view(), half(view(), rgsd())),
    "dynamic in a sum": lambda: half(DynamicPrior(view(), rgsd()), view()),
}


@pytest.fixture(params=PRIORS)
def make(request):
    """Makes equal priors, each told the surface, as a node would."""
    def told():
        prior = PRIORS[request.param]()
        assert prior.on_surface(_ball, True) is None
        return prior

    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():
        yield told


def cameras(step=0, count=COUNT):
    generator = torch.Generator().manual_seed(100 + step)
    return Cameras.orbit(torch.rand(count, generator=generator) * 6 - 3, 0.2, 3.8, 0.35, 12, 12)


def pictures(step=0, count=COUNT):
    return torch.rand(count, 12, 12, 3, generator=torch.Generator().manual_seed(step)).requires_grad_()


def show(prior, step, x=0.5):
    """(views, losses, gradient at the pictures) of one step, as the loop asks for them."""
    prior, images = prior.at(x), pictures(step)
    chosen = prior.choose(step, cameras(step))
    losses = prior.loss(images, chosen, 0.5, torch.Generator().manual_seed(step))
    (gradient,) = torch.autograd.grad(losses.sum(), images)
    return chosen.c2w, losses.detach(), gradient


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@contextmanager
def no_backward(monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("a prior called backward")

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", refused)
        patch.setattr(torch.autograd, "backward", refused)
        yield


# ------------------------------------------------------------------------------------------ every prior


def test_it_says_what_it_is(make):
    prior = make()
    assert isinstance(prior, Prior) and isinstance(prior.name, str) and prior.name
    assert isinstance(prior.knows_reference, bool) and prior.backdrop in ("", "random", "white", "gray")
    assert prior.clock in (None, *CLOCKS)


def test_losses_are_finite_one_per_picture_and_their_gradient_reaches_all_of_them(make, monkeypatch):
    prior, images, before = make(), pictures(), torch.get_rng_state()
    with no_backward(monkeypatch):
        losses = prior.loss(images, cameras(), 0.5, torch.Generator().manual_seed(0))
    assert losses.shape == (COUNT,) and bool(losses.isfinite().all()) and images.grad is None
    (gradient,) = torch.autograd.grad(losses.sum(), images)
    assert gradient.shape == images.shape and bool(gradient.isfinite().all())
    assert bool((gradient.flatten(1).abs().amax(1) > 0).all())
    assert torch.equal(torch.get_rng_state(), before), "the global generator is nobody's"


def test_each_loss_is_of_its_own_picture(make):
    images = pictures()
    first = make().loss(images, cameras(), 0.5, torch.Generator().manual_seed(0))[0]
    (gradient,) = torch.autograd.grad(first, images)
    assert float(gradient[0].abs().max()) > 0 and float(gradient[1].abs().max()) == 0


def test_the_same_generator_gives_the_same_result(make):
    prior, one, two = make(), torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    first = prior.loss(pictures(), cameras(), 0.5, one)
    again = make().loss(pictures(), cameras(), 0.5, two)
    assert torch.equal(first, again) and torch.equal(one.get_state(), two.get_state())
    repeated = prior.loss(pictures(), cameras(), 0.5, torch.Generator().manual_seed(3))
    assert torch.equal(first, repeated), "asked once more, as after running out of memory"


def test_it_chooses_as_many_views_of_the_same_size_and_the_same_for_the_same_step(make):
    prior = make()
    for step in (0, 1, 1, 2, 5):
        given = cameras(step)
        chosen = prior.choose(step, given)
        assert len(chosen) == COUNT and (chosen.height, chosen.width) == (given.height, given.width)
        assert torch.equal(chosen.c2w, prior.choose(step, given).c2w)
        assert chosen is given or prior.memory()[1], "who chooses views remembers which"


@pytest.mark.parametrize("x", [None, 0.0, 0.4, 1.0])
def test_at_a_moment_it_is_a_prior_without_a_clock(make, x):
    prior = make()
    now = prior.at(x)
    assert isinstance(now, Prior) and now.clock is None and now.at(0.7) is now
    assert now is prior or prior.clock is not None
    losses = now.loss(pictures(), now.choose(0, cameras()), 0.5, torch.Generator().manual_seed(0))
    assert losses.shape == (COUNT,) and bool(losses.isfinite().all())


def test_what_it_remembers_lets_an_equal_prior_go_on_bit_for_bit(make):
    whole, cut = make(), make()
    expected = [show(whole, step) for step in range(9)]
    for step in range(4):
        assert same(show(cut, step), expected[step])
    tensors, meta = cut.memory()
    assert all(value.device.type == "cpu" and not value.requires_grad for value in tensors.values())
    tensors, meta = copy.deepcopy(tensors), json.loads(json.dumps(meta))
    other = make()
    recalled = other.recall(tensors, meta)
    assert recalled == bool(meta) and bool(tensors) == bool(meta)
    for step in range(4, 9):
        assert same(show(other, step), expected[step])


def test_it_begins_anew_where_there_is_nothing_to_recall(make):
    prior = make()
    assert not prior.recall({}, None)
    assert same(show(prior, 0), show(make(), 0))


def test_a_surface_may_be_told_again(make):
    """A stage that starts over: nothing of the last one is left."""
    prior = make()
    for step in range(3):
        show(prior, step)
    prior.on_surface(_ball, True)
    assert same(show(prior, 0), show(make(), 0))


def test_no_prior_is_missing_here():
    """Every class of the pack that has a prior's ``loss`` derives from Prior, and its contract is tested above."""
    found = set()
    for path in (p for folder in ("pipelines", "host", "nodes") for p in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                losses = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "loss"]
                if any([a.arg for a in f.args.args][:3] == ["self", "images", "cameras"] for f in losses):
                    found.add(node.name)
    tested = {kind.__name__ for make in PRIORS.values() for kind in type(make()).__mro__}
    assert {"Prior", "SdsPrior", "RgsdPrior", "SumPrior", "DynamicPrior"} <= found <= tested, found - tested
    abstract = {"Prior", "Combined"}
    assert {kind.__name__ for kind in subclasses(Prior) if kind.__module__.startswith("lift123.")} - abstract <= tested
    with pytest.raises(TypeError, match="abstract"):
        Prior()


def subclasses(kind) -> set:
    return set(kind.__subclasses__()).union(*(subclasses(child) for child in kind.__subclasses__()))


# ------------------------------------------------------------------------------------------ what combinations pass on


class Talker(Prior):
    """Has every wish that a prior can have, and notes what it is told."""

    def __init__(self, name, knows=False, backdrop="", views=None):
        self.name, self.knows_reference, self.backdrop, self.views = name, knows, backdrop, views
        self.heard = []

    def loss(self, images, cameras, progress, generator):
        self.heard.append("loss")
        return images.flatten(1).sum(1)

    def choose(self, step, cameras):
        self.heard.append("choose")
        return cameras if self.views is None else self.views

    def on_surface(self, outline, frozen):
        self.heard.append(("surface", outline, frozen))

    def memory(self):
        return {"value": torch.tensor([1.0])}, {"of": self.name}

    def recall(self, tensors, meta):
        self.heard.append(("recall", sorted(tensors), meta))
        return bool(meta)


OWN = cameras(77)


def pair():
    return Talker("plain"), Talker("rich", True, "gray", OWN)


PLACES = {  # who asks, and when: how a combination is built of two priors, and at which clock it is asked
    "sum": (half, 0.5),
    "sum in a sum": (lambda a, b: half(half(a), half(b)), 0.5),
    "dynamic after the switch": (DynamicPrior, 0.5),
    "dynamic at the switch": (DynamicPrior, 0.0),
    "dynamic without a clock": (lambda a, b: half(DynamicPrior(a, a), b), None),
    "the other way round": (lambda a, b: DynamicPrior(b, a), 0.5),
    "rich in 3d before the switch": (lambda a, b: DynamicPrior(b, a), None),
    "in a sum in 2d": (lambda a, b: DynamicPrior(a, half(a, b)), 0.5),
}


@pytest.mark.parametrize("place", PLACES)
def test_wishes_of_any_part_reach_the_stage(place):
    build, x = PLACES[place]
    plain, rich = pair()
    prior = build(plain, rich)
    now = prior.at(x)
    assert prior.knows_reference and now.backdrop == "gray" and prior.backdrop == "gray"
    assert now.choose(3, cameras()) is OWN and prior.choose(3, cameras()) is OWN
    assert "rich" in now.name


def test_before_the_switch_the_second_prior_has_no_wishes():
    plain, rich = pair()
    now = DynamicPrior(plain, rich).at(None)
    assert now is plain and now.backdrop == "" and now.choose(0, OWN) is OWN and not rich.heard


@pytest.mark.parametrize("place", PLACES)
def test_every_part_is_told_the_surface_once_and_recalls_its_own_memory(place):
    build, _ = PLACES[place]
    plain, rich = pair()
    prior = build(plain, rich)
    prior.on_surface(_ball, True)
    assert ("surface", _ball, True) in plain.heard and rich.heard == [("surface", _ball, True)]
    tensors, meta = prior.memory()
    assert prior.recall(tensors, json.loads(json.dumps(meta)))
    assert rich.heard[1:] == [("recall", ["value"], {"of": "rich"})]
    assert ("recall", ["value"], {"of": "plain"}) in plain.heard


def test_the_first_part_with_views_of_its_own_decides_and_others_are_not_asked():
    first, second = Talker("first", views=OWN), Talker("second", views=cameras(5))
    assert half(Talker("plain"), half(first), second).choose(0, cameras()) is OWN
    assert first.heard == ["choose"] and not second.heard


def test_nobody_knows_the_reference_unless_a_part_does():
    assert not half(Talker("a"), Talker("b")).knows_reference and half(Talker("a"), Talker("b", True)).knows_reference
    assert not DynamicPrior(Talker("a"), Talker("b")).knows_reference
    assert half(Talker("a"), Talker("b")).name == "a+b"


def test_memories_of_sums_keep_their_names_so_that_older_scenes_go_on():
    """A term's tensors stand behind its number and a slash, its JSON under its number; sums always write a table."""
    alone = rgsd()
    prior = half(view(), alone)
    prior.on_surface(_ball, True)
    for step in range(5):
        show(prior, step)
    tensors, meta = alone.memory()
    assert meta["targets"] and set(prior.memory()[0]) == {f"1/{name}" for name in tensors}
    assert prior.memory()[1] == {"1": meta} and half(view()).memory() == ({}, {})
    assert view().memory() == ({}, None) and DynamicPrior(view(), half(view())).memory() == ({}, None)


def test_a_clock_inside_a_sum_is_the_stages():
    dynamic = DynamicPrior(Talker("3d"), Talker("2d"), clock="global")
    prior = SumPrior(((dynamic, Constant(2.0)), (Talker("other"), Constant(1.0))))
    call = (torch.ones(1, 1, 1, 1), cameras(count=1), 0.9, torch.Generator())
    assert prior.clock == "global" and prior.at(0.3).name == "3d+2d+other"
    for x in (None, 0.0, 0.3):
        assert float(prior.at(x).loss(*call)) == pytest.approx(2 * sum(dynamic.weights(x)) + 1)
    with pytest.raises(ValueError, match="share their clock"):
        half(dynamic, DynamicPrior(Talker("3d"), Talker("2d")))
    with pytest.raises(ValueError, match="share their clock"):
        DynamicPrior(dynamic, Talker("2d"))
