"""Training of StdGEN's small networks: what they are shown and asked for, resuming, export; the files they give."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.networks.stdgen import multiview
from lift123.pipelines.networks.stdgen.schedule import make_scheduler
from lift123.pipelines.stages.characters.canonicalize import CanonicalSettings, canonicalize
from lift123.pipelines.stages.characters.multiview import MultiViewSettings, draw_views
from lift123.pipelines.stages.characters.picture import CharacterPicture
from lift123.pipelines.toybox.render import render_toy


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "training"))
    return SimpleNamespace(nets=importlib.import_module("stdgen_networks"), measure=importlib.import_module("stdgen_measure"))


class Blocks:
    """A bank of two characters that are blocks of one color each."""

    device, count, poses = "cpu", 2, 1

    def get(self, name, pick, *index):
        shape = (3, 6, 64, 64) if name != "input" else (1, 64, 64)
        alpha = torch.zeros(shape)
        alpha[..., 6:58, 24:40] = 1
        color = torch.tensor([0.2, 0.3 + 0.4 * pick, 0.6])
        values = {"alpha": alpha, "color": alpha[..., None] * color + 1 - alpha[..., None],
                  "normal": alpha[..., None] * torch.tensor([0.5, 0.5, 1.0]) + 1 - alpha[..., None],
                  "input": torch.cat([color.expand(*shape, 3), alpha[..., None]], -1)}[name]
        return values[index]


def wedge(flip: bool) -> Mesh:
    """A body without any symmetry, or its mirror image in the plane x = 0."""
    points = torch.tensor([[0.5, -0.8, 0.1], [-0.3, -0.7, 0.4], [-0.2, -0.6, -0.5], [0.1, 0.9, 0.2]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9], [0.8, 0.8, 0.1]])
    volume = torch.linalg.det(points[faces]).sum()
    faces = faces if volume > 0 else faces.flip(1)
    return Mesh(points * torch.tensor([-1.0, 1, 1]), faces.flip(1), colors) if flip else Mesh(points, faces, colors)


def test_mirrored_views_are_views_of_the_mirror_image(scripts):
    seen = []
    for flip in (False, True):
        view = render_toy(wedge(flip), six_views(64), 2)
        alpha = view.alpha[..., None]
        seen.append((view.on_background(1.0), (view.normal + 1) / 2 * alpha + 1 - alpha, view.alpha))
    (colors, normals, alpha), (wanted_colors, wanted_normals, _) = seen
    made_colors, made_normals = scripts.nets.mirror(colors, normals, alpha)
    assert (made_colors - wanted_colors).abs().mean() < 0.002 and (made_normals - wanted_normals).abs().mean() < 0.003
    assert (colors - wanted_colors).abs().mean() > 0.02 and (normals - wanted_normals).abs().mean() > 0.02


def test_noise_is_that_of_the_samplers_times(scripts):
    import numpy as np

    nets = scripts.nets
    times = nets.noise_levels(4000, np.random.Generator(np.random.PCG64(1)))
    shares = [float((times == t).float().mean()) for t in small.TIMES]
    assert abs(shares[0] - nets.PURE) < 0.03 and max(shares[1:]) - min(shares[1:]) < 0.04 and abs(sum(shares) - 1) < 1e-6
    scheduler = make_scheduler(small.SCHEDULE)
    scheduler.set_timesteps(small.TRAINED_STEPS)
    assert tuple(scheduler.timesteps.tolist()) == small.TIMES
    clean, a = torch.randn(2, 3, 4, 4), torch.tensor([0.0, 0.3])
    noisy, v = nets.noised(clean, a, torch.Generator().manual_seed(0))
    a = a[:, None, None, None]
    assert torch.allclose(a.sqrt() * noisy - (1 - a).sqrt() * v, clean, atol=1e-5)  # what the sampler makes of it


def clean_of(v, noisy, a):
    """What answers in v mean at cumulative alphas [N]."""
    a = a.reshape(-1, 1, 1, 1)
    return a.sqrt() * noisy - (1 - a).sqrt() * v


def test_a_right_answer_costs_nothing(scripts, tmp_path, monkeypatch):
    """Batch, answer and target are in one order: a network that answers with the target in the UNet's order is right."""
    nets, captured = scripts.nets, {}
    original = nets.noised

    def noised(*args):
        captured["noisy"], captured["v"] = original(*args)
        return captured["noisy"], captured["v"]

    def answer(unet, x, times, context, labels, copy):
        v = captured["v"]  # [batch, 12 pictures] -> domain, condition, view
        right = torch.stack([v[b, 6 * d + i] for d in range(2) for b in range(2) for i in range(6)])
        assert torch.equal(x[:, :12], torch.stack([captured["noisy"][b, 6 * d + i]
                                                   for d in range(2) for b in range(2) for i in range(6)]))
        assert times.shape == (24,) and torch.equal(times[:6], times[12:18])
        copy.copied = torch.nn.functional.pixel_shuffle(clean_of(right, x[:, :12], copy.alphas[times])[12:], 2)
        return right + 0 * next(unet.parameters()).sum()

    monkeypatch.setattr(nets, "noised", noised)
    monkeypatch.setattr(nets, "run_unet", answer)
    losses = []

    def once(module, loss_of_batch, *args, **kwargs):
        losses.append(float(loss_of_batch(0).detach()))
        return module

    monkeypatch.setattr(nets, "train", once)
    nets.train_multiview(Blocks(), tmp_path, tmp_path, 1)
    assert 0 <= losses[0] < 1e-6


def test_train_go_on_export_and_use(scripts, tmp_path):
    """A few steps only: the files fit, the networks answer, and an interrupted run goes on."""
    nets, bank = scripts.nets, Blocks()
    nets.train_canonical(bank, tmp_path / "stdgen_canonical", tmp_path / "w", 1, batch=2)
    nets.train_canonical(bank, tmp_path / "stdgen_canonical", tmp_path / "w", 2, batch=2)
    nets.train_multiview(bank, tmp_path / "stdgen_multiview", tmp_path / "w", 1, batch=1)
    assert nets.export("canonical", tmp_path / "stdgen_canonical", tmp_path / "e") == 2
    sizes = [(tmp_path / "w" / name).stat().st_size for name in (small.CANONICAL_FILE, small.MULTIVIEW_FILE)]
    assert max(sizes) < 10.1e6, sizes
    assert (tmp_path / "e" / small.CANONICAL_FILE).read_bytes() == (tmp_path / "w" / small.CANONICAL_FILE).read_bytes()
    rgba = bank.get("input", 0, 0)
    stand = small.load_small_canonical(folder=tmp_path / "w")
    front = canonicalize(stand, CharacterPicture(rgba[..., :3], rgba[..., 3]), CanonicalSettings(steps=1)).picture
    assert front.shape == (64, 40, 3) and bool(torch.isfinite(front).all())
    views = draw_views(small.load_small_multiview(folder=tmp_path / "w"), front, MultiViewSettings((0, 2), steps=1))
    assert views.color.shape == (2, 6, 64, 64, 3)
    row = scripts.measure.compare(views, views)
    assert row["body: PSNR"] == 100 and row["complete: overlap"] == 1 and row["body: degrees"] < 0.1
    with pytest.raises(InputError, match="stdgen_multiview"):
        small.load_small_multiview(folder=tmp_path / "e")


def test_the_small_networks_are_the_published_classes():
    """Joint, row and reference attention, level code and single context token, by configuration alone."""
    nets = small.SmallMultiView()
    assert nets.unet.view_grid.views == 6 and nets.unet.pose_heads is None
    names = [n for n in nets.unet.state_dict() if ".attn_mv.to_q" in n]
    assert len(names) == 7 and nets.prompts.shape == (2, 6, 1, small.CONTEXT)  # two down, one middle, four up
    x, context, labels = torch.randn(12, 24, 32, 20), nets.prompts.flatten(0, 1), torch.randn(12, 64)
    with torch.no_grad():
        one = multiview.run_unet(nets.unet, x, 999, context, labels, nets.copy)
        other = multiview.run_unet(nets.unet, x, 999, context, labels + 1, nets.copy)
    assert one.shape == (12, 12, 32, 20) and not torch.allclose(one, other)


def test_recolored_pictures_keep_white_black_and_what_belongs_together(scripts):
    import numpy as np

    picture = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0))
    picture[0], picture[1] = 1, 0
    results = [scripts.nets.recolor([picture, picture.flip(0)], np.random.Generator(np.random.PCG64(s))) for s in range(40)]
    kept = [torch.equal(one, picture) for one, _ in results]
    assert 0 < sum(kept) < 20
    for one, other in results:
        assert torch.equal(one, other.flip(0)) and bool((one[0] == 1).all() & (one[1] == 0).all())
        ranks = [sorted(one[..., c].flatten().argsort().argsort().tolist() for c in range(3)),
                 sorted(picture[..., c].flatten().argsort().argsort().tolist() for c in range(3))]
        assert ranks[0] == ranks[1], "channels are exchanged and bent, never mixed"


def test_the_canonicalizer_is_also_shown_the_a_pose_itself(scripts):
    nets, bank = scripts.nets, Blocks()
    shown = nets.Canvases(bank).get(1, nets.STANDING)
    assert shown.shape == (64, 40, 3)
    inside = shown[32, 20]
    assert torch.allclose(inside, torch.tensor([0.2, 0.7, 0.6]), atol=0.01) and bool((shown[:, 0] == 1).all())
    assert nets.standing(0) == 0.8 and nets.standing(10**6) == 0.2


def test_place_codes_by_hand():
    code = small.place_code(8, 4, 6)
    assert code.shape == (8, 4, 6)
    x, y = torch.linspace(-1, 1, 6) * 1.5, torch.linspace(-1, 1, 4)
    for first, wave in ((0, torch.pi / 2), (4, 2 * torch.pi)):  # two frequencies, two octaves apart
        assert torch.allclose(code[first, 2], (wave * x).sin(), atol=1e-6)
        assert torch.allclose(code[first + 1, 0], (wave * x).cos(), atol=1e-6)
        assert torch.allclose(code[first + 2, :, 3], (wave * y).sin(), atol=1e-6)
        assert torch.allclose(code[first + 3, :, 0], (wave * y).cos(), atol=1e-6)


def looks_at_its_own_place(pair, monkeypatch) -> list[float]:
    """Per layer the share of cells whose strongest look at the reference goes to their own place."""
    from lift123.pipelines.networks.stdgen import attention

    shares, original = [], attention.attend

    def attend(attn, queries, tokens):
        count = queries.shape[1]
        if tokens.shape[1] == 2 * count:
            query, key = attn.to_q(queries), attn.to_k(tokens[:, count:])
            shares.append(float(((query @ key.transpose(1, 2)).argmax(-1) == torch.arange(count)).float().mean()))
        return original(attn, queries, tokens)

    generator = torch.Generator().manual_seed(1)
    seen, noise = (torch.randn(2, small.CHANNELS, 32, 20, generator=generator) for _ in range(2))
    blank = torch.zeros(2, 1, small.CONTEXT)
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(attention, "attend", attend)
        pair(noise, torch.tensor([999, 999]), blank, 0.3 * seen, blank)
    return shares


def test_attention_begins_with_what_is_alike(monkeypatch):
    pair, generator = small.build_small_pair(), torch.Generator().manual_seed(3)
    for weight in (p for name, p in pair.named_parameters() if p.ndim > 1 and not name.endswith("place")):
        torch.nn.init.kaiming_uniform_(weight, 5**0.5, generator=generator)  # layers' own start, by a seed
    before = looks_at_its_own_place(pair, monkeypatch)
    small.start_alike(pair)
    after = looks_at_its_own_place(pair, monkeypatch)
    assert len(before) == len(after) == 9
    assert max(before) < 0.1 < 0.5 < sum(after) / len(after), (before, after)
