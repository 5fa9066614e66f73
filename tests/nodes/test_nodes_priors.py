"""View and Text Prior: what their words become, and that graphs from before a word existed mean what they meant."""

import pytest
from helpers.comfy_modules import prepare

prepare()
from lift123.host import specs
from lift123.nodes import priors
from lift123.pipelines.core.schedules import Constant, Linear, Piecewise
from lift123.pipelines.priors.sds import SdsSettings

OLD = dict(guidance=0.0, weight=2.0, t_min=0.2, t_max=0.6, fixed_t=False, reduction="mean", weighting="sigma2")
NODES = {
    "view": lambda **more: priors.ViewPrior.execute(view_network=specs.Network("view"), angle_scaling=True, **OLD, **more),
    "text": lambda **more: priors.TextPrior.execute(
        text_network=specs.Network("text"), prompt="a mug", negative="", **OLD, **more),
}


@pytest.fixture(params=NODES)
def settings(request):
    """What the node's prior is distilled with."""
    return lambda **more: NODES[request.param](**more).result[0].settings


def test_graphs_without_the_word_stay_in_latent_space(settings):
    assert settings() == SdsSettings((0.2, 0.6), False, Constant(2.0), "mean", "sigma2")
    assert settings().space == "latent"


def test_pixels_have_a_weight_and_a_schedule_of_their_own(settings):
    plain = settings(space="pixels")
    assert plain.space == "pixels" and plain.weight == Constant(2.0) and plain.pixel_weight == Constant(12.0)
    falling = settings(space="pixels", pixel_weight=3.0, pixel_weight_schedule=Linear(8.0, 2.0, 0.1, 0.9))
    assert falling.pixel_weight == Linear(24.0, 6.0, 0.1, 0.9) and falling.weight == Constant(2.0)
    knots = settings(space="pixels", pixel_weight=2.0, pixel_weight_schedule=Piecewise(((0.0, 1.0), (1.0, 0.5))))
    assert knots.pixel_weight == Piecewise(((0.0, 2.0), (1.0, 1.0)))
