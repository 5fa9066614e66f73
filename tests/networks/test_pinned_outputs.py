"""Each network class of this pack, with weights of a seed, answers what it did: a refactoring cannot drift unnoticed.

The figures are the pack's own: the output's mean, spread and four of its elements.  Another BLAS adds in another order, so
they are compared to a thousandth of the spread; a change of the arithmetic moves them by far more.  After a change that is
meant, the failing test's ``found`` is what to write down.
"""

import pytest
import torch
from helpers import public_tiny, slrm_tiny, stdgen_tiny
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.fields.hash_nerf import HashNerf, HashNerfConfig
from lift123.pipelines.loaders.clip_folders import TwoTowers
from lift123.pipelines.loaders.depth_control import ControlledUnet
from lift123.pipelines.loaders.embedded_characters import PlacedConv
from lift123.pipelines.networks.depth import DepthNet
from lift123.pipelines.networks.lifted import LiftNet
from lift123.pipelines.networks.lifted_view import LiftedViewDenoiser
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.networks.stdgen import canonical, conditions, multiview
from lift123.pipelines.networks.stdgen.attention import RowAttention
from lift123.pipelines.networks.stdgen.slrm_config import SlrmConfig
from lift123.pipelines.networks.stdgen.slrm_decoder import SlrmDecoder
from lift123.pipelines.networks.view import ViewConditioner
from lift123.pipelines.ops.hashgrid import HashGridConfig

Conv2d = torch.nn.Conv2d


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(module, seed=0):
    """Every parameter random and of a size that lets signals through, in the order of their names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in sorted(module.named_parameters()):
            noise = torch.randn(value.shape, generator=generator)
            scale = "norm" in name and name.endswith("weight")
            value.copy_(1 + 0.1 * noise if scale else noise / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1 * noise)
    return module.eval()


def lifted():
    picture = 0.5 + 0.5 * torch.sin(torch.arange(64 * 64 * 3.0).view(64, 64, 3) / 700)
    picture[:12] = picture[-12:] = 1.0
    home = HOME.orbit(0.0, 0.1, 64)
    denoiser = LiftedViewDenoiser(filled(LiftNet()), scaled_linear_alphas(), contrast=1.0).with_reference(picture, home)
    return denoiser.show(HOME.orbit(torch.tensor([0.0, 1.0]), 0.2, 64))


def slrm():
    return slrm_tiny.filled(slrm_tiny.TINY, scale=0.2)(numbers(1, 6, 3, 24, 24))


def decoders(kind):
    tiny = slrm_tiny.TINY
    config = SlrmConfig(**{**{n: getattr(tiny, n) for n in tiny.__dataclass_fields__}, "kind": kind})
    decoder, features = filled(SlrmDecoder(config)), numbers(5, 3 * config.plane_channels)
    if kind == "nerf":
        density, colors = decoder.density_and_colors(features)
        return torch.cat([density[:, None], colors, decoder.semantics(features)], -1)
    parts = (decoder.sdf(features)[:, None], decoder.colors(features), decoder.semantics(features),
             decoder.deformation(features), decoder.cube_weights(numbers(5, 24 * config.plane_channels)))
    return torch.cat(parts, -1)


def pair(module):
    context = module.unet.config.cross_attention_dim
    return module(numbers(1, 4, 8, 4), 300, numbers(1, 1, context), numbers(1, 4, 8, 4, seed=1), numbers(1, 3, context, seed=2))


def several_views(unet):
    config = unet.config
    unet.view_grid.set(8, 4)
    labels = numbers(24, config.projection_class_embeddings_input_dim)
    words = numbers(24, 3, config.cross_attention_dim)
    return multiview.run_unet(unet, numbers(24, config.in_channels, 8, 4), 300, words, labels)


def view_conditioner():
    module = filled(ViewConditioner(12, 10, grid=4, labels=True))
    return module.context(numbers(2, 12), numbers(2, 4, 4, 4), numbers(2, 4))


def field():
    shape = HashGridConfig(levels=4, log2_table=9, base=4, finest=24)
    net = filled(HashNerf(HashNerfConfig(shape, hidden=16, layers=2), torch.Generator()))
    points = torch.rand(40, 3, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    density, color = net.density_and_albedo(points)
    return torch.cat([density.log()[:, None], color, net.normal(points)], -1)


def controlled():
    def unet(x, t, context, down_block_additional_residuals, mid_block_additional_residual):
        return x.mean() + t * context.sum() + down_block_additional_residuals + mid_block_additional_residual

    def control(latents, t, context, controlnet_cond, conditioning_scale, return_dict):
        return conditioning_scale * controlnet_cond, latents.sum()

    nets = [torch.nn.Module(), torch.nn.Module()]
    for net, forward in zip(nets, (unet, control), strict=True):
        net.forward = forward
    return ControlledUnet(*nets, shrink=4, strength=0.7)(numbers(1, 5, 3, 3), 2.0, numbers(1, 2, 4))


def towers(folder):
    net = TwoTowers(filled(public_tiny.clip_transformers(folder)))
    return torch.cat([net.encode_image(numbers(2, 3, 28, 28)), net.encode_text(torch.tensor([[1, 5, 7, 2]]))])


MAKERS = {
    "LiftNet": lifted,
    "DepthNet": lambda: filled(DepthNet((8, 16, 24)))(numbers(1, 4, 16, 16)),
    "ViewConditioner": view_conditioner,
    "HashNerf": field,
    "Slrm": slrm,
    "SlrmDecoder mesh": lambda: decoders("mesh"),
    "SlrmDecoder nerf": lambda: decoders("nerf"),
    "RowAttention": lambda: filled(RowAttention(8, 2))(numbers(6, 8, 8), 3, 4),
    "PoseHead": lambda: filled(conditions.PoseHead(8))(numbers(4, 16)),
    "CameraEmbedding": lambda: filled(conditions.CameraEmbedding(4, 8))(conditions.pose_features(numbers(3, 2))),
    "multi-view UNet": lambda: several_views(filled(multiview.build_multiview(stdgen_tiny.MULTIVIEW))),
    "ReferencePair": lambda: pair(filled(canonical.ReferencePair(
        canonical.build_main(stdgen_tiny.CANONICAL), canonical.build_reference(stdgen_tiny.CANONICAL)))),
    "PlacedConv": lambda: PlacedConv(filled(Conv2d(3, 8, 3, padding=1)), 4, 6)(numbers(1, 3, 4, 6)),
    "ControlledUnet": controlled,
    "TwoTowers": towers,
}
PINNED = {
    "LiftNet": [0.821291, 0.179579, 0.853843, 0.955062, 0.787576, 0.560647],
    "DepthNet": [-0.083048, 0.053878, -0.114174, -0.092229, -0.060166, -0.063111],
    "ViewConditioner": [0.12213, 1.116513, -0.342386, -0.506819, 1.050805, -0.326291],
    "HashNerf": [0.317393, 0.704893, 0.021249, -0.818287, 0.008993, -0.450105],
    "Slrm": [-0.114666, 1.256019, -1.74061, 0.484228, -1.108598, 2.020439],
    "SlrmDecoder mesh": [0.107874, 0.216859, -0.03971, -0.023929, -0.036151, -0.012958],
    "SlrmDecoder nerf": [0.370127, 0.149118, 0.230528, 0.182806, 0.220344, 0.232314],
    "RowAttention": [-0.064327, 0.485403, 0.403846, 0.197695, 0.424146, -0.633981],
    "PoseHead": [0.39812, 0.520272, 0.232186, 0.120413, 0.120413, 1.17175],
    "CameraEmbedding": [-0.119043, 0.419837, -0.457163, -0.077402, -0.010232, -0.125444],
    "multi-view UNet": [-0.111391, 0.566673, 0.18643, -0.365783, 0.668266, -0.226158],
    "ReferencePair": [-0.018711, 0.378314, 0.041881, -0.525627, 0.333848, 0.460821],
    "PlacedConv": [0.078473, 0.889868, -0.288846, 0.321086, -0.000721, -0.909361],
    "ControlledUnet": [-2.008402, 0.406982, -1.591129, -2.205578, -1.293939, -2.215887],
    "TwoTowers": [0.035726, 1.268642, -1.269646, -0.193368, 0.446719, -0.395607],
}


def summary(value) -> list[float]:
    flat = value.detach().float().flatten()
    picked = flat[torch.linspace(0, len(flat) - 1, 6).long()[1:5]]
    return [float(flat.mean()), float(flat.std()), *picked.tolist()]


@torch.no_grad()
@pytest.mark.parametrize("name", MAKERS)
def test_a_network_answers_what_it_did(name, tmp_path):
    found = summary(MAKERS[name](tmp_path / "clip") if name == "TwoTowers" else MAKERS[name]())
    assert found == pytest.approx(PINNED[name], abs=1e-3 * PINNED[name][1]), found
