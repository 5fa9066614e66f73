"""Canonicalization and multi-view diffusion as stages: what goes in, what comes out, progress, stopping, errors."""

from dataclasses import dataclass, replace

import pytest
import torch
from helpers import stdgen_tiny
from helpers.stdgen_toys import SIZE, Knows, person, six
from lift123.pipelines.core.character_views import LEVEL_NAMES, CharacterViews
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.loaders import canonical_folder, multiview_folder
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.networks.stdgen import canonical, multiview
from lift123.pipelines.networks.stdgen.codec import PixelCodec, VaeCodec
from lift123.pipelines.stages.characters.canonicalize import CanonicalSettings, canonicalize
from lift123.pipelines.stages.characters.multiview import (
    MultiViewSettings,
    draw_stock_views,
    draw_views,
    level_report,
    mask_of_normals,
    views_from_pictures,
)


def test_canonicalize_returns_what_the_network_knows():
    target = torch.rand(1, *SIZE, 3, generator=torch.Generator().manual_seed(0))
    network, steps = Knows({0: target}), []
    result = canonicalize(network, person(), CanonicalSettings(preview_every=2), on_step=steps.append)
    assert torch.allclose(result.picture, target[0], atol=0.02) and result.finished
    assert result.shown.shape == (*SIZE, 3) and torch.equal(network.shown, result.shown)
    assert [(s.index, s.total, s.preview is not None) for s in steps] == [(i, 4, i % 2 == 0) for i in range(1, 5)]
    assert torch.allclose(steps[-1].preview, target[0], atol=0.02)
    assert [t for _, t, _ in network.asked] == list(small.TIMES) and {g for *_, g in network.asked} == {2.5}
    canonicalize(network, person(), CanonicalSettings(steps=2, guidance=1.0))
    assert [a[1:] for a in network.asked[4:]] == [(999, 1.0), (499, 1.0)]
    assert torch.equal(network.starts[0], network.starts[1])  # the same seed
    canonicalize(network, person(), CanonicalSettings(seed=7))
    assert not torch.equal(network.starts[0], network.starts[2])


def test_canonicalize_can_be_stopped():
    target = torch.rand(1, *SIZE, 3, generator=torch.Generator().manual_seed(0))

    def stop(step):
        if step.index == 2:
            raise StopStage

    network = Knows({0: target})
    result = canonicalize(network, person(), on_step=stop)
    assert not result.finished and len(network.asked) == 2 and torch.allclose(result.picture, target[0], atol=0.02)


def test_previews_of_large_pictures_are_small():
    target = torch.ones(1, 1024, 64, 3)
    steps = []
    canonicalize(Knows({0: target}, size=(1024, 64)), person(), CanonicalSettings(steps=1, preview_every=1), on_step=steps.append)
    assert steps[0].preview.shape == (256, 16, 3)


def test_multi_view_runs_each_level_from_the_same_noise():
    network, steps = Knows({level: six(level) for level in range(3)}, eta=1.0), []
    views = draw_views(network, torch.rand(64, 50, 3), MultiViewSettings(preview_every=4), on_step=steps.append)
    assert views.levels == LEVEL_NAMES and views.color.shape == (3, 6, 32, 32, 3)
    assert [a[0] for a in network.asked] == [0] * 4 + [1] * 4 + [2] * 4
    assert torch.equal(network.starts[0], network.starts[1]) and torch.equal(network.starts[0], network.starts[2])
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[4:28, 14:18] = True  # the 20 columns are padded to 32
    assert torch.equal(views.alpha > 0.5, inside.expand(3, 6, 32, 32))
    for level in range(3):
        for v in range(6):
            assert torch.allclose(views.color[level, v][inside], torch.tensor([0.1 * v, 0.2 * level, 0.3]), atol=0.05)
    assert torch.allclose(views.normal[0, 0][inside], torch.tensor([0.0, 0.0, 1.0]), atol=0.1)
    assert bool((views.color[0, 0][~inside] == 1).all()) and bool((views.normal[0, 0][~inside] == 0).all())
    assert [(s.index, s.total) for s in steps] == [(i, 12) for i in range(1, 13)]
    assert [s.note for s in steps if s.note] == ["level 0: complete", "level 1: no hair", "level 2: body"]
    assert steps[3].preview.shape == (32, 6 * 20, 3)


def test_fewer_levels_and_stopping_and_going_on():
    targets = {level: six(level) for level in range(3)}
    assert draw_views(Knows(targets), torch.rand(64, 40, 3), MultiViewSettings((0, 2))).levels == ("complete", "body")
    whole = draw_views(Knows(targets, eta=1.0), torch.rand(64, 40, 3))

    def stop(step):
        if step.index == 6:
            raise StopStage

    part = draw_views(Knows(targets, eta=1.0), torch.rand(64, 40, 3), on_step=stop)
    assert part.levels == ("complete",) and torch.equal(part.color[0], whole.color[0])
    again = Knows(targets, eta=1.0)
    rest = draw_views(again, torch.rand(64, 40, 3), done=part)
    assert {a[0] for a in again.asked} == {1, 2} and torch.equal(rest.color, whole.color)

    def early(step):
        raise StopStage

    assert draw_views(Knows(targets), torch.rand(64, 40, 3), on_step=early).levels == ("complete",)
    with pytest.raises(InputError, match="in that order"):
        MultiViewSettings((1, 0))
    with pytest.raises(InputError, match="opaque A-pose"):
        draw_views(Knows(targets), torch.rand(64, 40, 4))
    with pytest.raises(InputError, match="level 0 alone"):
        draw_views(Knows(targets, stock=True), torch.rand(64, 40, 3))


def test_stock_era3d_frames_the_object_itself():
    network = Knows({0: six(0, (32, 32))}, size=(32, 32), stock=True)
    views = draw_stock_views(network, person())
    assert views.levels == ("complete",) and network.shown.shape == (32, 32, 3)
    assert int((network.shown[:, 16, 1] < 0.5).sum()) in (25, 26, 27)  # 420 of 512
    with pytest.raises(InputError, match="stock Era3D"):
        draw_stock_views(Knows({0: six(0)}), person())


def test_unit_normals_are_never_taken_for_background():
    """S-B.5: an encoded unit normal sums up to 603 of 765 at most, the threshold is 685."""
    normals = torch.nn.functional.normalize(torch.randn(10000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert bool((mask_of_normals((normals + 1) / 2) == 1).all())
    assert mask_of_normals(torch.tensor([[1.0, 1.0, 1.0], [0.95, 0.95, 0.95]])).tolist() == [0, 0]


def lists(views: CharacterViews):
    return list(views.color.flatten(0, 1)), list(views.encoded_normal().flatten(0, 1))


def bodies():
    """Views with outlines like a person's: wide in front, with one arm out; narrow from the side."""
    alpha = torch.zeros(3, 6, 32, 32)
    for v, half in enumerate((8, 6, 3, 8, 3, 6)):
        alpha[:, v, 4:28, 16 - half : 16 + half] = 1
    alpha[:, 0, 10:14, 24:30] = alpha[:, 3, 10:14, 2:8] = 1
    normal = torch.zeros(3, 6, 32, 32, 3)
    normal[..., 2] = alpha
    return CharacterViews(torch.ones(3, 6, 32, 32, 3), normal, alpha)


def test_views_made_elsewhere():
    truth = bodies()
    colors, normals = lists(truth)
    views = views_from_pictures(colors, normals)
    assert torch.equal(views.alpha, truth.alpha) and torch.allclose(views.normal, truth.normal, atol=1e-6)
    with pytest.raises(InputError, match="18 pictures: 3 levels of front, .* got 17"):
        views_from_pictures(colors[:17], normals)
    with pytest.raises(InputError, match="one size"):
        views_from_pictures([*colors[:17], torch.ones(16, 16, 3)], normals)
    with pytest.raises(InputError, match="square pictures"):
        views_from_pictures([c[:, :20] for c in colors], [n[:, :20] for n in normals])
    order = [4, 5, 0, 1, 2, 3]  # the paper's list, -90 to 180
    mixed = [[p[6 * level + i] for level in range(3) for i in order] for p in (colors, normals)]
    with pytest.raises(InputError, match="the order front, front_right"):
        views_from_pictures(*mixed)
    with pytest.raises(InputError, match="none in right"):
        views_from_pictures(colors, [*normals[:2], torch.ones(32, 32, 3), *normals[3:]])


def test_colors_alone_are_views_without_normals():
    """The outline is what is not connected background; white inside the figure stays figure."""
    truth = bodies()
    gray = truth.color - 0.6 * truth.alpha[..., None]
    gray[0, :, 12:16, 14:18] = 1.0  # a white badge
    views = views_from_pictures(list(gray.flatten(0, 1)))
    assert torch.equal(views.alpha, truth.alpha) and not views.has_normals and truth.has_normals
    assert bool((views.normal == 0).all()) and torch.allclose(views.color, gray)
    back = views_from_pictures(*lists(views))
    assert not back.has_normals and torch.equal(back.alpha, views.alpha), "what was not known stays unknown"
    white = views_from_pictures(lists(truth)[0], masks=truth.alpha.flatten(0, 1))  # white on white: a mask tells
    assert torch.equal(white.alpha, truth.alpha)
    with pytest.raises(InputError, match="colors: expected pictures on white, or a mask, or normals"):
        views_from_pictures(list(torch.rand(18, 32, 32, 3, generator=torch.Generator().manual_seed(0))))
    four = views_from_pictures([gray[0, k] for k in (0, 2, 3, 4)], levels=1)
    assert four.seen == (True, False, True, True, True, False) and four.whole().seen == four.seen
    assert torch.equal(four.color[0, [0, 2, 3, 4]], gray[0, [0, 2, 3, 4]]) and float(four.alpha[0, [1, 5]].sum()) == 0
    with pytest.raises(InputError, match="normals: expected 4"):
        views_from_pictures([gray[0, k] for k in (0, 2, 3, 4)], [gray[0, 0]] * 6, levels=1)
    with pytest.raises(InputError, match="18 pictures.* got 6"):
        views_from_pictures(list(gray.flatten(0, 1)), masks=truth.alpha[0])
    with pytest.raises(InputError, match="32 x 32, got 16 x 16"):
        views_from_pictures(list(gray.flatten(0, 1)), masks=truth.alpha.flatten(0, 1)[:, ::2, ::2])


def test_the_stages_run_with_networks_from_folders(tmp_path):
    """Sizes that halve to odd numbers included; half the pixels of the tiny autoencoder are latents."""
    stdgen_tiny.multiview_folder(tmp_path / "m", multiview.build_multiview)
    stdgen_tiny.canonical_folder(tmp_path / "c", canonical.build_main, canonical.build_reference)
    first = replace(canonical_folder.load_canonical_folder(tmp_path / "c"), size=(32, 20), steps=2)
    vision = first.vision  # the tiny tower is narrower than the tiny context
    first = replace(first, vision=Widened(vision, 16))
    result = canonicalize(first, person())
    assert result.picture.shape == (32, 20, 3) and bool(torch.isfinite(result.picture).all())
    second = replace(multiview_folder.load_multiview_folder(tmp_path / "m"), size=(32, 18), steps=2)
    views = draw_views(second, result.picture, MultiViewSettings((0, 1)))
    assert views.color.shape == (2, 6, 32, 32, 3) and not torch.equal(views.color[0], views.color[1])
    again = draw_views(second, result.picture, MultiViewSettings((0, 1)))
    assert torch.equal(views.color, again.color) and torch.equal(views.normal, again.normal)


@dataclass
class Widened:
    inner: object
    width: int

    def image_embedding(self, images):
        return torch.nn.functional.pad(self.inner.image_embedding(images), (0, self.width - 12))


def test_pixels_and_autoencoders_go_there_and_back(tmp_path):
    from helpers import public_tiny

    pictures = torch.rand(3, 16, 12, 3, generator=torch.Generator().manual_seed(0))
    codec = PixelCodec(2)
    assert codec.encode(pictures).shape == (3, 12, 8, 6)
    assert torch.allclose(codec.decode(codec.encode(pictures)), pictures, atol=1e-6)
    vae = VaeCodec(public_tiny.vae(tmp_path, 0.5))
    with torch.no_grad():
        whole = vae.vae.encode(pictures.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode() * 0.5
        assert torch.allclose(vae.encode(pictures), whole, atol=1e-5)
        decoded = (vae.vae.decode(whole / 0.5).sample / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(vae.decode(whole), decoded.permute(0, 2, 3, 1), atol=1e-5) and vae.shrink == 2


def test_levels_that_are_not_nested_are_reported():
    views = bodies()
    smaller = views.alpha.clone()
    smaller[1, :, :8] = 0  # no hair: 4 of 24 rows less
    smaller[2] = smaller[1]
    lines = level_report(replace(views, alpha=smaller))
    assert "'no hair' keeps 8" in lines[0] and "100% of it lies inside" in lines[0] and "disagree" not in lines[0]
    assert "'body' keeps 100%" in lines[1] and "changed in 0%" in lines[1]
    assert "disagree" in level_report(replace(views, alpha=smaller.flip(0)))[1]
