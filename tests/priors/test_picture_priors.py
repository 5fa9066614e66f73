"""Given views and CLIP's image term: closed forms, whose turn it is, and a fit that only they could make."""

import math

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from lift123.nodes.picture_priors import ClipImagePrior as ClipNode
from lift123.nodes.picture_priors import PicturesPrior as ViewsNode
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.losses.depth import depth_loss, depth_ranking
from lift123.pipelines.losses.image import pearson_depth
from lift123.pipelines.networks.clip import ClipScorer
from lift123.pipelines.priors.pictures import ClipImagePrior, PicturesPrior, views_around

FRONT = HOME.orbit(0.3, 0.1, 16)
NONE = torch.Generator()


def known(count=3, weight=2.0):
    pictures = torch.arange(count).float()[:, None, None, None].expand(count, 8, 8, 3) / 10
    around = views_around(FRONT, tuple(0.5 * k for k in range(count)), (0.0,))
    return PicturesPrior(pictures, around, Constant(weight))


def test_given_views_are_shown_in_turn_and_compared_with_their_own_picture():
    prior, like = known(), HOME.orbit(2.0, 0.0, 12)
    for step, number in enumerate((0, 1, 2, 0)):
        chosen = prior.choose(step, like)
        assert chosen.height == 12 and abs(float(chosen.azimuth) - 0.3 - 0.5 * number) < 1e-5
        assert torch.equal(prior.choose(step, like).c2w, chosen.c2w)
        image = torch.full((1, 12, 12, 3), 0.35, requires_grad=True)
        loss = prior.loss(image, chosen, 0.5, NONE)
        assert loss.tolist() == pytest.approx([2.0 * (0.35 - number / 10) ** 2], abs=1e-6)
        assert torch.autograd.grad(loss.sum(), image)[0].allclose(torch.tensor(4.0 * (0.35 - number / 10) / 432), atol=1e-6)
    pair = prior.choose(1, Cameras.cat([like, like]))
    assert [round(float(a) - 0.3, 4) for a in pair.azimuth] == [1.0, 0.0]
    foreign = prior.loss(torch.ones(1, 12, 12, 3, requires_grad=True), like, 0.5, NONE)
    assert foreign.tolist() == [0.0] and foreign.requires_grad, "another prior's view costs nothing"


def test_cameras_are_where_the_words_say():
    made = views_around(FRONT, (0.0, math.pi / 2), (0.2, -0.3), radius=5.0, fovy=0.2)
    assert made.azimuth.tolist() == pytest.approx([0.3, 0.3 + math.pi / 2], abs=1e-5)
    assert made.elevation.tolist() == pytest.approx([0.2, -0.3], abs=1e-5)
    assert made.radius.tolist() == pytest.approx([5.0, 5.0]) and made.fovy.tolist() == pytest.approx([0.2, 0.2])
    assert views_around(FRONT, (0.0,), (0.0,)).radius.tolist() == pytest.approx([HOME.radius], rel=1e-5)
    with pytest.raises(InputError, match="one for all views, or 2"):
        views_around(FRONT, (0.0, 1.0), (0.0, 0.1, 0.2))
    with pytest.raises(InputError, match="between -85 and 85"):
        views_around(FRONT, (0.0,), (1.6,))
    with pytest.raises(InputError, match="as many pictures as cameras"):
        PicturesPrior(torch.ones(2, 4, 4, 3), views_around(FRONT, (0.0,), (0.0,)))


class Means(torch.nn.Module):
    """A tower that sees the mean color."""

    def encode_image(self, x):
        return x.mean((2, 3))


def test_clips_image_term_is_one_minus_the_cosine():
    scorer = ClipScorer(Means(), None, 4)  # pyright: ignore[reportArgumentType]
    prior = ClipImagePrior(scorer, torch.tensor([1.0, 0.5, 0.5]).expand(6, 6, 3), Constant(5.0))
    images = torch.stack([torch.tensor(c).expand(6, 6, 3) for c in ([1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.0, 0.5, 0.5])])
    images = images.clone().requires_grad_()
    losses = prior.loss(images, HOME.turntable(3, 0.0, 6), 0.5, NONE)
    assert losses.tolist() == pytest.approx([0.0, 5.0, 10.0], abs=1e-5)
    assert float(torch.autograd.grad(losses.sum(), images)[0].abs().sum()) > 0


def test_depth_by_order_alone():
    target, mask = torch.arange(64.0).reshape(1, 8, 8), torch.ones(1, 8, 8)
    bent = (target.square() + 1).requires_grad_()
    assert float(depth_ranking(bent, target, mask).detach()) == 0, "any rising curve is right"
    assert float(depth_loss("ranking", -target, target, mask)) > 1
    flat = torch.zeros(1, 8, 8)
    assert float(depth_ranking(flat, target, mask)) == pytest.approx(1e-4) and float(depth_ranking(flat, flat, mask)) == 0
    two = torch.tensor([[[2.0, 1.0]]])
    assert float(depth_ranking(two, torch.tensor([[[1.0, 2.0]]]), torch.ones(1, 1, 2))) == pytest.approx(1.0001)
    assert float(depth_ranking(two, two, torch.zeros(1, 1, 2))) == 0
    assert float(depth_loss("correlation", bent.detach(), target, mask)) == float(pearson_depth(bent.detach(), target, mask))


def test_a_stage_fits_what_only_the_given_views_know():
    """A toy object from six sides, as six pictures made elsewhere: the unseen sides come out."""
    from lift123.host.specs import SumSpec
    from lift123.nodes import reference as inputs
    from lift123.nodes import stages
    from lift123.pipelines.metrics.image import psnr
    from lift123.pipelines.stages.results.render_views import render_scene
    from lift123.pipelines.toybox.objects import make_object
    from lift123.pipelines.toybox.render import render_toy

    toy = make_object(10000002)
    around = HOME.turntable(6, 0.0, 32)
    views = render_toy(toy, around)
    white = views.on_background(1.0).clamp(0, 1)
    picture = torch.cat([views.rgb[:1].clamp(0, 1), views.alpha[:1, ..., None]], -1)
    ref = inputs.ReferenceView.execute(image=picture, prompt="", negative="", size=32, border=0.2, recenter=False, elevation=0.0,
                                       radius=3.2, fovy=20.0, mask_marks="auto", depth_convention="inverse-depth").result[0]
    prior = ViewsNode.execute(views=white, azimuths="", elevations="0", weight=1000.0, radius=0.0, fovy=0.0).result[0]
    assert prior.kinds() == set() and isinstance(SumSpec(((prior, Constant(1.0)),)).kinds(), set)
    given = {"iterations": 60, "render_size": 24, "reference_size": 24, "seed": 0, "preset": "quickstart"}
    scores = []
    for use in (None, prior):
        scene = stages.NerfStage1.execute(reference=ref, prior=use, novel_batch=0, preview_every=0, rgb_weight=-1.0,
                                          mask_weight=-1.0, depth_weight=-1.0, normal_weight=-1.0, **given).result[0]
        drawn = render_scene(scene, around.resized(32, 32), want_normal=False).composite(1.0).clamp(0, 1)
        scores.append(float(psnr(drawn, white).min()))
    assert scores[1] > scores[0] + 2.5, "the worst side is one that the picture does not show"
    with pytest.raises(InputError, match="one for all views, or 6"):
        ViewsNode.execute(views=white, azimuths="", elevations="0, 1", weight=1.0, radius=0.0, fovy=0.0).result[0].check(ref)


def test_clips_node_describes_a_prior():
    from lift123.nodes.networks import LoadEmbedded

    spec = ClipNode.execute(clip=LoadEmbedded.execute().result[2], weight=4.0).result[0]
    assert spec.kinds() == {"clip"} and spec.weight == Constant(4.0)
