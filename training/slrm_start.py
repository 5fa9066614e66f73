"""A start for S-LRM's training from nothing: tokens know their place, attention looks where a place is pictured.

Every weight stays trainable; only the initial numbers are chosen.  Positions of tokens, on planes and in pictures, become
waves of their coordinates (Tancik et al. 2020), and the first queries and keys of cross-attention compare them: one head
matches height alone, the others height and one horizontal coordinate with the picture's column, as the front, back, left
and right views show it.  Without that, a network of this size spends most of an hour finding out which pixel belongs to
which point.
"""

import math

import torch

WAVES = 8
SHARPNESS = 1.6
WINDOW = 1.2  # scene units from the middle of a picture to its border


def start(network) -> None:
    """Changes the initial weights of an untrained S-LRM without LoRA, in place, as far as its widths have room."""
    config = network.config
    with torch.no_grad():
        if config.width >= 6 * WAVES and config.encoder.width >= 4 * WAVES:
            _encoder_positions(network.encoder.model.embeddings, config.encoder)
            _plane_positions(network.transformer, config)
            if config.heads == 5 and config.width == 20 * WAVES:
                for layer in network.transformer.layers:
                    _aim(layer.cross_attn, config)
        for layer in network.encoder.model.encoder["layer"]:
            layer.adaLN_modulation[1].weight.mul_(0.3)
        for name in ("net_deformation", "net_weight") if config.kind == "mesh" else ():
            last = getattr(network.decoder, name)[6]
            last.weight.zero_()
            last.bias.zero_()


def waves(values: torch.Tensor) -> torch.Tensor:
    """[N] coordinates -> [N, 16] sines, then cosines, of eight frequencies."""
    frequency = math.pi / 2 * 2 ** (torch.arange(WAVES) / 3)  # the highest still tells neighboring patches apart
    return torch.cat([torch.sin(values[:, None] * frequency), torch.cos(values[:, None] * frequency)], -1)


def centers(count: int, half: float) -> torch.Tensor:
    """[count] middles of equal pieces of [-half, half]."""
    return ((torch.arange(count) + 0.5) / count * 2 - 1) * half


def _encoder_positions(embeddings, config) -> None:
    """Channels 0-15: waves of the height; 16-31: of the column, positive to the picture's right."""
    across = centers(config.base_grid, WINDOW)
    row, column = torch.meshgrid(-across, across, indexing="ij")  # row 0 is the top
    out = embeddings.position_embeddings
    out[0, 1:, : 4 * WAVES] = torch.cat([waves(row.reshape(-1)), waves(column.reshape(-1))], -1)
    out[0, 0, : 4 * WAVES] = 0
    embeddings.patch_embeddings["projection"].weight[: 4 * WAVES].mul_(0.1)
    embeddings.patch_embeddings["projection"].bias[: 4 * WAVES].zero_()


def _plane_positions(transformer, config) -> None:
    """Channels 0-15: waves of z, 16-31 of y, 32-47 of x; zero for the coordinate that a plane lacks."""
    side = config.plane_tokens
    place = centers(side, 1.0)
    down, across = torch.meshgrid(place, place, indexing="ij")
    across, down = across.reshape(-1), down.reshape(-1)
    known = ({"x": across, "y": down}, {"x": across, "z": down}, {"z": across, "y": down})
    blocks = []
    for coordinates in known:
        parts = [waves(coordinates[n]) if n in coordinates else torch.zeros(side * side, 2 * WAVES) for n in "zyx"]
        blocks.append(torch.cat(parts, -1))
    transformer.pos_embed[0].mul_(0.5 / transformer.pos_embed.std())
    transformer.pos_embed[0, :, : 6 * WAVES] = torch.cat(blocks)


def _aim(attention, config) -> None:
    """Queries and keys of the five heads: height; height with y right, y left, x left, x right of the middle."""
    size, waves2 = 4 * WAVES, 2 * WAVES
    query = torch.zeros(5, size, config.width)
    key = torch.zeros(5, size, config.encoder.width)
    eye = torch.eye(waves2)
    mirror = torch.diag(torch.cat([-torch.ones(WAVES), torch.ones(WAVES)]))  # sin(-a) = -sin(a)
    for head, (channel, flip) in enumerate(((None, False), (16, False), (16, True), (32, False), (32, True))):
        query[head, :waves2, :waves2] = eye
        key[head, :waves2, :waves2] = eye
        if channel is not None:
            query[head, waves2:, channel : channel + waves2] = mirror if flip else eye
            key[head, waves2:, waves2 : 2 * waves2] = eye
    attention.q_proj_weight.mul_(0.2).add_(SHARPNESS * query.reshape(-1, config.width))
    attention.k_proj_weight.mul_(0.2).add_(SHARPNESS * key.reshape(-1, config.encoder.width))
