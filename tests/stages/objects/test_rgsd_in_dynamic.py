"""RGSD as a part of the dynamic prior, in the mesh stage: told the surface, shown its views, and not forgotten."""

from dataclasses import replace

import pytest
import torch
from helpers.rgsd_toys import ToyGuide
from helpers.tiny_stages import MESH, NERF
from helpers.tiny_stages import nerf as _nerf
from helpers.tiny_stages import oracle as _oracle
from helpers.tiny_stages import reference as _reference
from helpers.tiny_stages import same as _same
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.priors.combine import DynamicPrior, SumPrior
from lift123.pipelines.priors.rgsd import RgsdPrior, RgsdSettings
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh

TEXTURE = replace(MESH, optimize="texture")
SETTINGS = RgsdSettings(Constant(1.0), "mean", reuse=3, slots=1)


def rgsd() -> RgsdPrior:
    return RgsdPrior(ToyGuide(), _reference().camera, SETTINGS, _reference().views.alpha, backdrop="white")


def mixed() -> SumPrior:
    return SumPrior(((_oracle(), Constant(0.5)), (rgsd(), Constant(0.5))))


PLACES = {
    "2d": lambda: DynamicPrior(_oracle(), rgsd()),
    "3d": lambda: DynamicPrior(rgsd(), _oracle()),
    "2d, in a sum": lambda: DynamicPrior(_oracle(), mixed()),
    "3d, in a sum": lambda: DynamicPrior(mixed(), _oracle()),
}


def found(prior) -> RgsdPrior:
    """The RGSD inside."""
    if isinstance(prior, RgsdPrior):
        return prior
    parts = [p for p, _ in prior.terms] if isinstance(prior, SumPrior) else [prior.prior3d, prior.prior2d]
    return next(f for f in map(found_or_none, parts) if f is not None)


def found_or_none(prior):
    return found(prior) if isinstance(prior, (RgsdPrior, SumPrior, DynamicPrior)) else None


@pytest.mark.parametrize("place", PLACES)
def test_rgsd_in_the_dynamic_prior_is_told_the_surface_and_shows_its_views(place):
    prior, steps = PLACES[place](), []
    done = refine_mesh(prior, _nerf(), TEXTURE, on_step=steps.append)
    tally = found(prior).tally
    assert done.finished and (tally["fixed"].visits, tally["random"].visits) == (4, 4), "8 steps, every other one fixed"
    assert tally["fixed"].evaluations == 2 * 36, "two fixed views, whose targets were made once"


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupted_dynamic_prior_with_rgsd_goes_on_bit_for_bit(place, tmp_path):
    whole = refine_mesh(PLACES[place](), _nerf(), TEXTURE)
    half = refine_mesh(PLACES[place](), _nerf(), TEXTURE, until=5)
    half = Scene.load(half.save(tmp_path / "half.safetensors"))
    prior = PLACES[place]()
    assert _same(refine_mesh(prior, half, TEXTURE), whole)
    assert found(prior).tally["fixed"].evaluations == 2 * 36, "recalled, not made again"


def test_a_moving_surface_is_refused_before_the_first_step():
    steps = []
    with pytest.raises(InputError, match="optimize: expected texture, with RGSD"):
        refine_mesh(PLACES["2d"](), _nerf(), MESH, on_step=steps.append)
    assert not steps


def test_before_the_switch_a_second_rgsd_neither_shows_its_views_nor_asks_for_a_surface():
    """A radiance field has no surface to guide: RGSD sleeps until the switch, and then says where it belongs."""
    prior = PLACES["2d"]()
    alone = fit_nerf(_reference(), _oracle(), NERF, seed=3, until=4)
    from lift123.pipelines.stages.objects.boundary import Boundary, ClipBoundary

    never = Boundary(ClipBoundary(interval=2, window=2, floor=0.9, ceiling=0.95, views=1, size=8), lambda rgb: 0.3)
    asleep = fit_nerf(_reference(), prior, NERF, boundary=never, seed=3, until=4)
    assert all(torch.equal(v, alone.tensors[k]) for k, v in asleep.tensors.items())
    assert found(prior).tally["random"].visits == 0
    with pytest.raises(InputError, match="DMTet Refine"):
        fit_nerf(_reference(), PLACES["2d"](), NERF, seed=3, until=4)
