"""S-LRM against its equations written out plainly, its cameras against closed forms, its files against the listings."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.slrm_tiny import TINY, filled
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.loaders import embedded_slrm as slrm_embedded
from lift123.pipelines.loaders import slrm_files
from lift123.pipelines.loaders.embedded import save_module
from lift123.pipelines.loaders.slrm_files import from_state, load_slrm, merged, read_checkpoint
from lift123.pipelines.networks.stdgen.slrm import Slrm
from lift123.pipelines.networks.stdgen.slrm_config import RELEASED, SMALL_SLRM
from lift123.pipelines.networks.stdgen.slrm_decoder import on_grid, on_points, sample_planes
from lift123.pipelines.networks.stdgen.slrm_frames import camera_rows, scene_to_slrm, six_camera_rows, slrm_to_scene

LISTINGS = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "checkpoints"


# ------------------------------------------------------------------------------------------ frames and cameras


def test_frames_turn_into_each_other_without_a_mirror():
    axes = torch.eye(3)
    assert scene_to_slrm(axes[1]).tolist() == [0, 0, 1]  # up
    assert scene_to_slrm(axes[2]).tolist() == [1, 0, 0]  # where the character faces
    assert scene_to_slrm(axes[0]).tolist() == [0, 1, 0]  # the front view's right
    assert torch.equal(slrm_to_scene(scene_to_slrm(axes)), axes)
    assert torch.linalg.det(scene_to_slrm(axes)) == pytest.approx(1)


def test_cameras_are_those_of_the_closed_form():
    rows = six_camera_rows()
    radius = 1.2 / math.tan(math.radians(15))
    for row, degrees in zip(rows, (0, 45, 90, 180, 270, 315), strict=True):
        a = math.radians(degrees)
        c, s = math.cos(a), math.sin(a)
        expected = [-s, 0, c, radius * c, c, 0, s, radius * s, 0, 1, 0, 0, 1.866025, 1.866025, 0.5, 0.5]
        assert torch.allclose(row, torch.tensor(expected), atol=2e-6)
    assert torch.allclose(camera_rows(six_views(320)), rows)


# ------------------------------------------------------------------------------------------ the equations, plainly


def heads_of(x, heads):
    return x.reshape(*x.shape[:-1], heads, -1).transpose(-2, -3)


def plain_attention(q, k, v, heads):
    q, k, v = (heads_of(x, heads) for x in (q, k, v))
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(-2, -3).flatten(-2)


def plain_norm(x, w, b, eps):
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt() * w + b


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def plain_encoder(s, images, cameras, config):
    """S-C.4 for one view at a time: [6, 3, S, S], [6, 16] -> [6 (1 + n), C]."""
    e = config.encoder
    out = []
    for image, camera in zip(images, cameras, strict=True):
        c = camera @ s["encoder.camera_embedder.0.weight"].T + s["encoder.camera_embedder.0.bias"]
        c = c * torch.sigmoid(c) @ s["encoder.camera_embedder.2.weight"].T + s["encoder.camera_embedder.2.bias"]
        p = "encoder.model.embeddings."
        kernel = s[p + "patch_embeddings.projection.weight"].flatten(1)
        tokens = [
            kernel @ image[:, i : i + e.patch, j : j + e.patch].flatten() + s[p + "patch_embeddings.projection.bias"]
            for i in range(0, e.image_size, e.patch) for j in range(0, e.image_size, e.patch)
        ]
        stored = s[p + "position_embeddings"][0]
        grid = stored[1:].T.reshape(1, -1, e.base_grid, e.base_grid)
        grid = torch.nn.functional.interpolate(grid, scale_factor=(e.grid + 0.1) / e.base_grid, mode="bicubic")
        positions = torch.cat([stored[:1], grid[0].flatten(1).T])
        x = torch.cat([s[p + "cls_token"][0], torch.stack(tokens)]) + positions
        for i in range(e.layers):
            w = {
                k.split(f"layer.{i}.")[1]: v for k, v in s.items() if k.startswith(f"encoder.model.encoder.layer.{i}.")
            }
            mod = (c * torch.sigmoid(c)) @ w["adaLN_modulation.1.weight"].T + w["adaLN_modulation.1.bias"]
            shift1, scale1, shift2, scale2 = mod.split(e.width)
            h = plain_norm(x, w["layernorm_before.weight"], w["layernorm_before.bias"], 1e-12) * (1 + scale1) + shift1
            q, k, v = (
                h @ w[f"attention.attention.{n}.weight"].T + w[f"attention.attention.{n}.bias"]
                for n in ("query", "key", "value")
            )
            h = plain_attention(q, k, v, e.heads)
            x = x + h @ w["attention.output.dense.weight"].T + w["attention.output.dense.bias"]
            h = plain_norm(x, w["layernorm_after.weight"], w["layernorm_after.bias"], 1e-12) * (1 + scale2) + shift2
            h = gelu(h @ w["intermediate.dense.weight"].T + w["intermediate.dense.bias"])
            x = x + h @ w["output.dense.weight"].T + w["output.dense.bias"]
        out.append(plain_norm(x, s["encoder.model.layernorm.weight"], s["encoder.model.layernorm.bias"], 1e-12))
    return torch.cat(out)


def plain_transformer(s, cond, config):
    """S-C.5, S-C.6 with unmerged LoRA: [M, D] -> [3, C, P, P]."""
    x = s["transformer.pos_embed"][0]
    for i in range(config.layers):
        w = {k.split(f"layers.{i}.")[1]: v for k, v in s.items() if k.startswith(f"transformer.layers.{i}.")}

        def full(name, layer, lora, w=w):
            low = w[f"{layer}.{lora}_lora_B"] @ w[f"{layer}.{lora}_lora_A"] / config.lora_rank
            return w[f"{layer}.{name}"] + low

        h = plain_norm(x, w["norm1.weight"], w["norm1.bias"], 1e-5)
        q = h @ full("q_proj_weight", "cross_attn", "q").T
        k, v = (cond @ full(f"{n}_proj_weight", "cross_attn", n).T for n in "kv")
        x = x + plain_attention(q, k, v, config.heads) @ full("out_proj.weight", "cross_attn", "o").T
        h = plain_norm(x, w["norm2.weight"], w["norm2.bias"], 1e-5)
        q, k, v = (h @ full("in_proj_weight", "self_attn", "qkv").T).chunk(3, -1)
        x = x + plain_attention(q, k, v, config.heads) @ full("out_proj.weight", "self_attn", "o").T
        h = plain_norm(x, w["norm3.weight"], w["norm3.bias"], 1e-5)
        x = x + gelu(h @ w["mlp.0.weight"].T + w["mlp.0.bias"]) @ w["mlp.3.weight"].T + w["mlp.3.bias"]
    x = plain_norm(x, s["transformer.norm.weight"], s["transformer.norm.bias"], 1e-6)
    side, kernel = config.plane_tokens, s["transformer.deconv.weight"]
    planes = torch.zeros(3, config.plane_channels, 2 * side, 2 * side)
    for plane in range(3):
        for row in range(side):
            for column in range(side):
                patch = torch.einsum("c,coij->oij", x[(plane * side + row) * side + column], kernel)
                planes[plane, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = patch
    return planes + s["transformer.deconv.bias"][None, :, None, None]


def plain_sample(planes, point):
    """S-C.7 for one point: bilinear with zeros outside, texel centers at (2 i + 1) / P - 1."""
    x, y, z = point.tolist()
    size, out = planes.shape[-1], []
    for plane, (u, v) in zip(planes, ((x, y), (x, z), (z, y)), strict=True):
        column, row = ((u + 1) * size - 1) / 2, ((v + 1) * size - 1) / 2
        total = torch.zeros(planes.shape[1])
        for i in (math.floor(row), math.floor(row) + 1):
            for j in (math.floor(column), math.floor(column) + 1):
                if 0 <= i < size and 0 <= j < size:
                    total += (1 - abs(row - i)) * (1 - abs(column - j)) * plane[:, i, j]
        out.append(total)
    return torch.cat(out)


def plain_decoder(s, name, x):
    for i in (0, 2, 4, 6):
        x = x @ s[f"synthesizer.decoder.{name}.{i}.weight"].T + s[f"synthesizer.decoder.{name}.{i}.bias"]
        x = x.clamp_min(0) if i < 6 else x
    return x


@pytest.fixture(scope="module")
def tiny():
    network = filled(TINY)
    color = torch.rand(6, 24, 24, 3, generator=torch.Generator().manual_seed(5))
    return network, color, dict(network.state_dict())


@torch.no_grad()
def test_whole_chain_against_the_equations(tiny):
    network, color, state = tiny
    images = (color - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    images = images.permute(0, 3, 1, 2)
    tokens = plain_encoder(state, images, six_camera_rows(), TINY)
    assert torch.allclose(network.encoder(images[None], six_camera_rows()[None])[0], tokens, atol=2e-4)
    expected = plain_transformer(state, tokens, TINY)
    planes = network.triplane(color)
    assert torch.allclose(planes[0], expected, atol=2e-4 * float(expected.abs().max()))
    points = torch.rand(9, 3, generator=torch.Generator().manual_seed(6)) * 2.2 - 1.1
    features = torch.stack([plain_sample(planes[0], p) for p in points])
    assert torch.allclose(sample_planes(planes, points[None])[0], features, atol=1e-5)
    decoder = network.decoder
    assert torch.allclose(decoder.sdf(features), plain_decoder(state, "net_sdf", features)[:, 0], atol=1e-5)
    assert torch.allclose(
        decoder.semantics(features), plain_decoder(state, "semantic_net", features).softmax(-1), atol=1e-5
    )
    rgb = torch.sigmoid(plain_decoder(state, "net_rgb", features)) * 1.002 - 0.001
    assert torch.allclose(decoder.colors(features), rgb, atol=1e-5)
    corners = torch.randn(2, 8 * 15, generator=torch.Generator().manual_seed(7))
    assert torch.allclose(decoder.cube_weights(corners), plain_decoder(state, "net_weight", corners) * 0.1, atol=1e-5)
    assert torch.allclose(decoder.deformation(features), plain_decoder(state, "net_deformation", features), atol=1e-5)


def test_bigger_pictures_are_reduced_and_clamped(tiny):
    network, color, _ = tiny
    large = torch.nn.functional.interpolate(color.permute(0, 3, 1, 2), scale_factor=3).permute(0, 2, 3, 1)
    prepared = network.prepare(large)
    expected = torch.nn.functional.interpolate(large.permute(0, 3, 1, 2), (24, 24), mode="bicubic", antialias=True)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(prepared, (expected.clamp(0, 1) - mean) / std, atol=1e-5)
    for wrong, words in ((color[:5], "six color"), (color[:, :20], "square"), (color * torch.nan, "finite")):
        with pytest.raises(InputError, match=words):
            network.triplane(wrong)


@torch.no_grad()
def test_grid_and_points_agree(tiny):
    network, color, _ = tiny
    planes = network.triplane(color)
    for name, width in (("net_sdf", 1), ("semantic_net", 4)):
        net = getattr(network.decoder, name)
        everywhere = on_grid(net, planes, TINY.grid)
        assert everywhere.shape == (8 * 9 * 10, width)
        assert torch.allclose(everywhere, on_points(net, planes, TINY.grid.points()), atol=1e-4)


@torch.no_grad()
def test_nerf_variant_decodes_density_and_color():
    network = filled(replace(TINY, kind="nerf"))
    features = torch.randn(5, 15, generator=torch.Generator().manual_seed(1))
    raw = plain_decoder(dict(network.state_dict()), "net", features)
    density, rgb = network.decoder.density_and_colors(features)
    assert torch.allclose(density, torch.log1p(torch.exp(raw[:, 0] - 1)), atol=1e-5)
    assert torch.allclose(rgb, torch.sigmoid(raw[:, 1:]) * 1.002 - 0.001, atol=1e-6)


def test_lora_is_trainable_beside_frozen_weights_and_starts_as_nothing():
    network, plain = Slrm(TINY), Slrm(replace(TINY, lora_rank=0))
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if "_lora_" not in k})
    images = torch.randn(1, 6, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(images), plain(images), atol=1e-5)
    network.requires_grad_(False)
    lora = [p for n, p in network.named_parameters() if "_lora_" in n]
    for parameter in lora:
        parameter.requires_grad_()
    network(images).square().sum().backward()
    assert all(p.grad is not None for p in lora) and any(float(p.grad.abs().max()) > 0 for p in lora)


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("listing, kind, keys, numbers", [
    ("mesh_lora128", "mesh", 719, 378_681_648), ("mesh_nolora", "mesh", 527, 378_681_648), ("nerf_lora128", "nerf", 695, None),
])
def test_listed_checkpoints_load_at_full_size(listing, kind, keys, numbers):
    path = LISTINGS / f"stdgen_slrm_{listing}.json"
    if not path.is_file():
        pytest.skip(f"the listing is not here ({path})")
    shapes = json.loads(path.read_text())
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert len(state) == keys
    apart, report = from_state(state, listing, kind=kind, merge=False)
    assert apart.state_dict().keys() == state.keys() and str(keys) in report[0]
    network, _ = from_state(state, listing, kind=kind)
    assert network.config == replace(RELEASED, kind=kind) and not [k for k in network.state_dict() if "lora" in k]
    assert numbers in (None, sum(p.numel() for p in network.parameters()))
    gone = sorted(state)[len(state) // 2]
    with pytest.raises(InputError, match="missing: " + gone.replace(".", r"\.")):
        from_state({k: v for k, v in state.items() if k != gone}, listing, kind=kind)
    with pytest.raises(InputError, match="unused: transformer.spare"):
        from_state({**state, "transformer.spare": torch.empty(1, device="meta")}, listing, kind=kind)


def test_files_bare_and_wrapped_merged_and_apart_give_one_network(tiny, tmp_path):
    from safetensors.torch import save_file

    network, color, state = tiny
    expected = network.triplane(color)
    save_file({k: v.contiguous() for k, v in state.items()}, str(tmp_path / "a.safetensors"))
    wrapped = {"state_dict": {"lrm_generator." + k: v for k, v in state.items()} | {"lpips.x": torch.zeros(1)}}
    torch.save(wrapped, tmp_path / "b.pth")
    torch.save({"module." + k: v for k, v in merged(state).items()}, tmp_path / "c.ckpt")
    for name in ("a.safetensors", "b.pth", "c.ckpt"):
        for merge in (True, False):
            loaded = load_slrm(tmp_path / name, config=TINY, merge=merge)
            assert torch.allclose(loaded.network.triplane(color), expected, atol=1e-4), name
            assert loaded.report and not any(p.requires_grad for p in loaded.network.parameters())
    assert set(read_checkpoint(tmp_path / "b.pth")) == set(state)
    short = load_slrm(tmp_path / "a.safetensors", config=TINY, dtype=torch.bfloat16).network
    planes = short.triplane(color)
    assert planes.dtype == torch.float32 and torch.allclose(planes, expected, atol=0.1 * float(expected.abs().max()))
    assert on_grid(short.decoder.net_sdf, planes, TINY.grid).dtype == torch.float32


def test_merging_is_one_rank_th_of_the_product(tiny):
    _, _, state = tiny
    after = merged(state)
    layer = "transformer.layers.1.self_attn."
    low = state[layer + "qkv_lora_B"] @ state[layer + "qkv_lora_A"] / 3
    assert torch.allclose(after[layer + "in_proj_weight"], state[layer + "in_proj_weight"] + low)
    assert len(state) - len(after) == 2 * 2 * 6 and not [k for k in after if "lora" in k]
    half = {k: v for k, v in state.items() if k != layer + "qkv_lora_B"}
    with pytest.raises(InputError, match="qkv_lora_B"):
        merged(half)


def test_wrong_variants_and_idle_updates_are_named(tiny, tmp_path):
    _, _, state = tiny
    nerf = dict(filled(replace(TINY, kind="nerf")).state_dict())
    with pytest.raises(InputError, match="NeRF variant"):
        from_state(nerf, "f", config=TINY)
    with pytest.raises(InputError, match="mesh variant"):
        from_state(state, "f", kind="nerf", config=TINY)
    without = {k: v for k, v in state.items() if "semantic_net" not in k}
    with pytest.raises(InputError, match="InstantMesh"):
        from_state(without, "f", config=TINY)
    with pytest.raises(InputError, match="another network"):
        from_state({"conv_in.weight": torch.zeros(1)}, "f", config=TINY)
    with pytest.raises(InputError, match="of another shape"):
        from_state(state, "f", config=replace(TINY, decoder_width=13))
    idle = {k: torch.zeros_like(v) if k.endswith("_lora_B") else v for k, v in state.items()}
    assert "12 of 12 LoRA updates are zero" in from_state(idle, "f", config=TINY)[1][1]
    with pytest.raises(InputError, match="no file"):
        load_slrm(tmp_path / "none.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="readable weights"):
        load_slrm(tmp_path / "broken.safetensors")
    assert slrm_files.variant_of(state) == "mesh"


def test_embedded_network_is_small():
    with torch.device("meta"):
        small = Slrm(SMALL_SLRM)
    assert sum(p.numel() for p in small.parameters()) * 2 < 10e6  # bytes in half precision


def test_embedded_file_round_trip_and_its_absence(tmp_path, monkeypatch):
    small = replace(TINY, lora_rank=0)
    monkeypatch.setattr(slrm_embedded, "SMALL_SLRM", small)
    with pytest.raises(InputError, match="stdgen_slrm.safetensors"):
        slrm_embedded.load_small_slrm(folder=tmp_path)
    network = filled(small)
    save_module(network, tmp_path / "stdgen_slrm.safetensors")
    loaded = slrm_embedded.load_small_slrm(folder=tmp_path)
    name = "transformer.pos_embed"
    assert torch.equal(loaded.state_dict()[name], network.state_dict()[name].half().float())
