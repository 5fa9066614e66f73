"""StdGEN's attention against naive loops written from S-A.3, S-B.3 and S-B.4, at small width in float64."""

import copy

import pytest
import torch
from helpers import public_tiny as tiny
from helpers import stdgen_tiny
from lift123.pipelines.networks.attention import self_attentions
from lift123.pipelines.networks.stdgen import attention, canonical, conditions, multiview


def naive(attn, queries, tokens):
    """Attention of one query set [N, C] on tokens [M, C], head by head and query by query; one picture."""
    q, k, v = queries @ attn.to_q.weight.T, tokens @ attn.to_k.weight.T, tokens @ attn.to_v.weight.T
    width, out = q.shape[1] // attn.heads, torch.zeros_like(q)
    for h in range(attn.heads):
        part = slice(h * width, (h + 1) * width)
        for i in range(len(q)):
            scores = torch.stack([(q[i, part] * k[j, part]).sum() / width**0.5 for j in range(len(k))])
            weights = scores.exp() / scores.exp().sum()
            out[i, part] = sum(w * value for w, value in zip(weights, v[:, part]))
    return out @ attn.to_out[0].weight.T + attn.to_out[0].bias


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def unet():
    return tiny.seeded(lambda: multiview.build_multiview(stdgen_tiny.MULTIVIEW), 3).double()


@pytest.fixture(scope="module")
def pair():
    main, reference = (tiny.seeded(lambda b=b: b(stdgen_tiny.CANONICAL), s).double()
                       for b, s in ((canonical.build_main, 4), (canonical.build_reference, 5)))
    return canonical.ReferencePair(main, reference)


def first_block(unet):
    return unet.down_blocks[0].attentions[0].transformer_blocks[0]


@torch.no_grad()
def test_a_multi_view_block_is_the_sum_of_its_four_parts(unet):
    """S-B.3: joint attention over domains, attention among all views' pixels of a row, text, feed-forward."""
    block, (height, width), views, batch = first_block(unet), (4, 2), 6, 2
    unet.view_grid.set(height, width)
    x, text = numbers(2 * batch * views, height * width, 16), numbers(2 * batch * views, 3, tiny.WIDTH, seed=1)
    half = batch * views
    h = block.norm1(x)
    joint = torch.zeros_like(x)
    for i in range(half):  # picture i's normals are row i, its colors row half + i
        tokens = torch.cat([h[i], h[half + i]])
        mixed = naive(block.attn1, tokens, tokens)
        joint[i], joint[half + i] = mixed[: height * width], mixed[height * width :]
    x1 = x + joint
    h, rows = block.norm_mv(x1), torch.zeros_like(x)
    for first in range(0, 2 * half, views):  # six views of one domain under one condition
        for r in range(height):
            line = [(first + v, r * width + c) for v in range(views) for c in range(width)]
            tokens = torch.stack([h[p, n] for p, n in line])
            for (p, n), value in zip(line, naive(block.attn_mv, tokens, tokens)):
                rows[p, n] = value
    x2 = x1 + rows
    h = block.norm2(x2)
    x3 = x2 + torch.stack([naive(block.attn2, h[i], text[i]) for i in range(len(x))])
    expected = x3 + block.ff(block.norm3(x3))
    assert torch.allclose(block(x, encoder_hidden_states=text), expected, atol=1e-9)


@torch.no_grad()
def test_the_main_unet_attends_to_its_own_and_the_references_tokens(pair):
    """S-A.3: keys and values of [x ; r] by the main network's projections; S-A.8: one context token."""
    main, other = first_block(pair.unet), first_block(pair.reference)
    x, seen, token, text = numbers(2, 6, 16), numbers(2, 6, 16, seed=1), numbers(2, 1, tiny.WIDTH, seed=2), numbers(
        2, 3, tiny.WIDTH, seed=3)
    kept, own = other.norm1(seen), main.norm1(x)
    written = seen + torch.stack([naive(other.attn1, k, k) for k in kept])
    written = written + torch.stack([naive(other.attn2, h, t) for h, t in zip(other.norm2(written), text)])
    assert torch.allclose(other(seen, encoder_hidden_states=text), written + other.ff(other.norm3(written)), atol=1e-9)
    x1 = x + torch.stack([naive(main.attn1, q, torch.cat([q, r])) for q, r in zip(own, kept)])
    x2 = x1 + torch.stack([naive(main.attn2, h, t) for h, t in zip(main.norm2(x1), token)])  # softmax over one key
    assert torch.allclose(main(x, encoder_hidden_states=token), x2 + main.ff(main.norm3(x2)), atol=1e-9)
    with pytest.raises(ValueError, match="has not seen the reference picture"):
        main(x, encoder_hidden_states=token)  # what was read is gone
    other(seen, encoder_hidden_states=text)
    with pytest.raises(ValueError, match="one token"):
        main(x, encoder_hidden_states=text)


@torch.no_grad()
def test_the_reference_unet_stops_at_its_last_norm_and_says_the_same(pair):
    """Its remains are the layers of a complete UNet up to there, and nothing behind the last norm runs."""
    from diffusers import UNet2DConditionModel
    from lift123.pipelines.networks.stdgen.unet_config import diffusers_options

    whole = tiny.seeded(lambda: UNet2DConditionModel(**diffusers_options(stdgen_tiny.CANONICAL)), 6).double()
    state = {k: v for k, v in whole.state_dict().items() if k in pair.reference.state_dict()}
    pair.reference.load_state_dict(state, strict=True)
    norms = {name: whole.get_submodule(name.replace("attn1", "norm1")) for name in self_attentions(whole)}
    seen_by_hooks = {}
    for name, norm in norms.items():
        norm.register_forward_hook(lambda m, a, out, name=name: seen_by_hooks.__setitem__(name, out))
    x, text = numbers(2, 4, 8, 4), numbers(2, 3, tiny.WIDTH, seed=1)
    whole(x, 300, text)
    attention.look(pair.reference, x, 300, text)
    last = self_attentions(whole)[-1].removesuffix(".attn1")
    tokens = pair.reference.get_submodule(last).tokens
    assert set(tokens.entries) == set(norms)
    for name in norms:
        assert torch.allclose(tokens.take(name), seen_by_hooks[name], atol=1e-9), name
    assert not tokens.entries


@torch.no_grad()
def test_all_self_attentions_take_part(pair):
    """The reference changes the answer through each layer; the answer at a layer's names is all 16 at full depth."""
    x, seen, token, text = numbers(1, 4, 8, 4), numbers(1, 4, 8, 4, seed=1), numbers(1, 1, tiny.WIDTH), numbers(
        1, 3, tiny.WIDTH)
    one = pair(x, 300, token, seen, text)
    assert one.shape == x.shape and not torch.allclose(one, pair(x, 300, token, seen + 1, text))
    assert torch.allclose(one, pair(x, 300, token, seen, text))


def test_rows_are_rows():
    x = torch.arange(2 * 3 * 4 * 5).reshape(2 * 3, 4 * 5, 1)
    rows = attention.to_rows(x, 3, 4)
    assert rows.shape == (2 * 4, 3 * 5, 1)
    assert rows[4 + 1, :, 0].tolist() == [60 + 20 * v + 5 + c for v in range(3) for c in range(5)]  # object 1, row 1
    assert torch.equal(attention.from_rows(rows, 3, 4), x)
    grid = attention.ViewGrid()
    grid.set(128, 72)
    assert [grid.rows(n) for n in (128 * 72, 64 * 36, 32 * 18, 16 * 9)] == [128, 64, 32, 16]
    grid.set(9, 5)
    assert grid.rows(5 * 3) == 5  # strided convolutions round up
    with pytest.raises(ValueError, match="no level"):
        grid.rows(7)


@torch.no_grad()
def test_the_heads_pose_enters_the_upper_half(unet):
    """S-B.4: pooled middle of both domains, two heads, mean over views, sines and cosines, MLP, added for up blocks."""
    seen = {"temb": [], "middle": None}
    hooks = [unet.mid_block.register_forward_hook(lambda m, a, out: seen.__setitem__("middle", out)),
             unet.up_blocks[0].register_forward_hook(lambda m, a, k, out: seen["temb"].append(k["temb"]), with_kwargs=True),
             unet.down_blocks[0].register_forward_hook(lambda m, a, k, out: seen["temb"].append(k["temb"]), with_kwargs=True)]
    x, text, labels = numbers(24, 8, 8, 4), numbers(24, 3, tiny.WIDTH, seed=1), numbers(24, 24, seed=2)
    multiview.run_unet(unet, x, 500, text, labels)
    [hook.remove() for hook in hooks]
    pooled = seen["middle"].mean((2, 3))
    silu = torch.nn.functional.silu

    def head(m, row):
        row = silu(m.linear_in[0].weight @ row + m.linear_in[0].bias)
        for block in m.blocks:
            inner = silu(block.linear1.weight @ row + block.linear1.bias)
            row = silu(row + block.linear2.weight @ inner + block.linear2.bias)
        return (m.linear_out.weight @ row + m.linear_out.bias)[0]

    for group in range(2):  # unconditional, conditional
        rows = [torch.cat([pooled[group * 6 + v], pooled[12 + group * 6 + v]]) for v in range(6)]
        elevation, focal = (sum(head(m, r) for r in rows) / 6 for m in (unet.elevation_regressor, unet.focal_regressor))
        features = torch.stack([elevation.sin(), focal.sin(), elevation.cos(), focal.cos()])
        mlp = unet.camera_embedding
        added = mlp.linear_2.weight @ silu(mlp.linear_1.weight @ features + mlp.linear_1.bias) + mlp.linear_2.bias
        down, up = seen["temb"]
        for v in range(6):
            for domain in (0, 12):
                row = domain + group * 6 + v
                assert torch.allclose(up[row], down[row] + added, atol=1e-9)


def test_class_vectors():
    embedding = torch.randn(2, 1024, generator=torch.Generator().manual_seed(1))
    for level in range(3):
        code = conditions.class_vector(embedding, level)[:, 1024:]
        assert code.shape == (2, 1024) and code.sum() == 512 and (code[:, 256 * level : 256 * level + 256] == 1).all()
    with pytest.raises(ValueError, match="0, 1 or 2"):
        conditions.level_code(3)
    stock = conditions.class_vector(embedding, None)
    from diffusers.models.embeddings import get_timestep_embedding

    assert torch.equal(stock[0, 1024:], get_timestep_embedding(torch.zeros(1), 1024, flip_sin_to_cos=True)[0])
    assert torch.equal(stock[:, :1024], embedding)


def test_un_clip_noise_is_the_schedules_first_level():
    from diffusers import DDPMScheduler

    first = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod[0]
    assert abs(float(first) - conditions.UNCLIP_SIGNAL) < 1e-6
    mean, std = torch.randn(1, 8), torch.rand(1, 8) + 0.5
    many = mean + std * torch.randn(20000, 8, generator=torch.Generator().manual_seed(0))
    noised = conditions.unclip_noise(many, mean, std, torch.Generator().manual_seed(1))
    assert 0.0055 < ((noised - many) / std).std() < 0.0075
    assert torch.equal(noised, conditions.unclip_noise(many, mean, std, torch.Generator().manual_seed(1)))


@torch.no_grad()
def test_the_batch_is_domains_conditions_views():
    latents, noisy = torch.tensor([0.0, 7.0]).reshape(2, 1, 1, 1), torch.arange(12.0).reshape(1, 12, 1, 1, 1)
    prompts, labels = torch.arange(12.0).reshape(2, 6, 1, 1), torch.tensor([[0.0], [3.0]])
    x, context, told = multiview.assemble(noisy, latents, prompts, labels)
    order = [(d, c, v) for d in range(2) for c in range(2) for v in range(6)]
    assert x[:, 0, 0, 0].tolist() == [6.0 * d + v for d, _, v in order]
    assert x[:, 1, 0, 0].tolist() == [7.0 * c for _, c, _ in order]
    assert context[:, 0, 0].tolist() == [6.0 * d + v for d, _, v in order]
    assert told[:, 0].tolist() == [3.0 * c for _, c, _ in order]


@torch.no_grad()
def test_a_copy_is_a_network_of_its_own(unet, pair):
    """Moving averages are deep copies: nothing of theirs may point back to the original."""
    x, text, labels = numbers(12, 8, 8, 4), numbers(12, 3, tiny.WIDTH, seed=1), numbers(12, 24, seed=2)
    before = multiview.run_unet(unet, x, 500, text, labels)
    other = copy.deepcopy(unet)
    for p in other.parameters():
        p.mul_(1.5)
    assert torch.equal(multiview.run_unet(unet, x, 500, text, labels), before)
    for p in other.parameters():
        p.div_(1.5)
    for p in unet.parameters():
        p.mul_(1.5)
    assert torch.allclose(multiview.run_unet(other, x, 500, text, labels), before, atol=1e-9)
    for p in unet.parameters():
        p.div_(1.5)
    pictures = numbers(1, 4, 8, 4), 300, numbers(1, 1, tiny.WIDTH), numbers(1, 4, 8, 4), numbers(1, 3, tiny.WIDTH)
    before, twin = pair(*pictures), copy.deepcopy(pair)
    for p in pair.parameters():
        p.mul_(1.5)
    assert torch.allclose(twin(*pictures), before)
    for p in pair.parameters():
        p.div_(1.5)
