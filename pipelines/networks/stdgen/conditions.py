"""What StdGEN's multi-view network is told besides the picture: class vector, pose heads, prompts (S-B.4).

Era3D (Li et al. 2024) appends the embedding of a noise level to the picture's CLIP embedding; StdGEN puts the peel level
there.  Two small heads guess elevation and focal length from the middle of the UNet, and their guess enters the upper half.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.modules import AnyModule
from ...core.ortho import VIEW_NAMES

Linear = torch.nn.Linear  # trained, so host-patched operations must not be used
LEVELS = 4  # entries of the one-hot level code; 0, 1, 2 = complete, no hair, body only; 3 was never used
DOMAINS = ("normal", "color")  # the two halves of every batch, in this order
UNCLIP_SIGNAL = 0.999959  # cumulative alpha of un-CLIP's noise level 0 (squared cosine schedule)


def level_code(level: int, width: int = 1024) -> Tensor:
    """[width] one-hot of ``level`` in 0..2, each entry repeated ``width / 4`` times."""
    if level not in range(LEVELS - 1):
        raise ValueError(f"peel level must be 0, 1 or 2, got {level}")
    code = torch.zeros(LEVELS)
    code[level] = 1
    return code.repeat_interleave(width // LEVELS)


def noise_level_code(width: int = 1024) -> Tensor:
    """[width] sinusoids of un-CLIP's noise level 0, cosines first: ones, then zeros (stock Era3D)."""
    return torch.cat([torch.ones(width // 2), torch.zeros(width - width // 2)])


def class_vector(embedding: Tensor, level: int | None) -> Tensor:
    """[B, 2 E] of picture embeddings [B, E]; level: peel level, or None for stock Era3D."""
    width = embedding.shape[-1]
    code = noise_level_code(width) if level is None else level_code(level, width)
    return torch.cat([embedding, code.to(embedding).expand(len(embedding), -1)], -1)


def unclip_noise(embedding: Tensor, mean: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """[B, E] embeddings noised as in un-CLIP's training at level 0 (Ramesh et al. 2022); mean, std: [1, E].

    The published pipelines draw this noise, 0.6 % of a standard deviation, on each run; without it results repeat.
    """
    noise = torch.randn(embedding.shape, generator=generator).to(embedding)
    normal = (embedding - mean) / std
    return std * (UNCLIP_SIGNAL**0.5 * normal + (1 - UNCLIP_SIGNAL) ** 0.5 * noise) + mean


def prompts() -> list[list[str]]:
    """The fixed prompts of each domain (DOMAINS), in view order."""
    words = VIEW_NAMES
    return [[f"a rendering image of 3D models, {view} view, {kind} map." for view in words] for kind in DOMAINS]


class Residual(torch.nn.Module):
    """SiLU(x + linear2(SiLU(linear1(x))))."""

    def __init__(self, width: int):
        super().__init__()
        self.linear1, self.linear2 = Linear(width, width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        silu = torch.nn.functional.silu
        return silu(x + self.linear2(silu(self.linear1(x))))


class PoseHead(torch.nn.Module):
    """[B, 2 C] -> [B, 1]: one number from both domains' pooled features."""

    def __init__(self, channels: int, blocks: int = 3):
        super().__init__()
        self.linear_in = torch.nn.Sequential(Linear(2 * channels, channels), torch.nn.SiLU())
        self.blocks = torch.nn.ModuleList(Residual(channels) for _ in range(blocks))
        self.linear_out = Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear_in(x)
        for block in self.blocks:
            x = block(x)
        return self.linear_out(x)


class CameraEmbedding(torch.nn.Module):
    """linear_2(SiLU(linear_1(x))): pose features [B, 4] -> [B, D]."""

    def __init__(self, given: int, width: int):
        super().__init__()
        self.linear_1, self.linear_2 = Linear(given, width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(torch.nn.functional.silu(self.linear_1(x)))


def pose_features(pose: Tensor) -> Tensor:
    """[B, 2] (elevation, focal length as the heads give them) -> [B, 4]: both sines, then both cosines."""
    return torch.cat([pose.sin(), pose.cos()], -1)


class PoseHeads:
    """Carries the guessed pose from the middle of a UNet to its upper half, by hooks.

    elevation, focal: PoseHead; camera: CameraEmbedding; views: pictures per object.  ``pose`` [B, 2] is the last guess.
    """

    def __init__(self, elevation: PoseHead, focal: PoseHead, camera: CameraEmbedding, views: int):
        self.elevation, self.focal, self.camera, self.views = elevation, focal, camera, views
        self.pose, self.embedding = None, None

    def after_middle(self, module, arguments, output) -> None:
        """Hook after the middle block: output [2 B V, C, h, w], normals first."""
        pooled = torch.cat(output.mean((2, 3)).chunk(2), -1)
        guesses = torch.cat([self.elevation(pooled), self.focal(pooled)], -1)
        self.pose = guesses.unflatten(0, (-1, self.views)).mean(1)
        embedding = self.camera(pose_features(self.pose)).repeat_interleave(self.views, 0)
        self.embedding = torch.cat([embedding, embedding])

    def before_up(self, module, arguments, named) -> tuple:
        """Hook before an up block: adds the pose's embedding to the time's."""
        return arguments, {**named, "temb": named["temb"] + self.embedding}


def add_pose_heads(unet: AnyModule, views: int, blocks: int, features: int = 4) -> PoseHeads:
    """Gives ``unet`` the heads and the camera embedding under their published names, and connects them."""
    channels = unet.config.block_out_channels[-1]
    unet.elevation_regressor, unet.focal_regressor = PoseHead(channels, blocks), PoseHead(channels, blocks)
    unet.camera_embedding = CameraEmbedding(features, unet.time_embedding.linear_2.out_features)
    heads = PoseHeads(unet.elevation_regressor, unet.focal_regressor, unet.camera_embedding, views)
    unet.mid_block.register_forward_hook(heads.after_middle)
    for block in unet.up_blocks:
        block.register_forward_pre_hook(heads.before_up, with_kwargs=True)
    return heads
