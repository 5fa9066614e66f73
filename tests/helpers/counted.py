"""Networks that count how often they are asked."""

from dataclasses import replace
from types import SimpleNamespace

import torch
from lift123.verification.oracle import stable_diffusion_alphas

from helpers.tiny_stages import MESH, NERF, SIZE


class Counting:
    """A denoiser that says nothing and counts: predictions, encodings, how often it was conditioned."""

    alphas_cumprod, image_size = stable_diffusion_alphas(), SIZE

    def __init__(self):
        self.predicted = self.encoded = self.conditioned = 0

    def with_guidance(self, guidance):
        return self

    def with_reference(self, picture, camera):
        self.conditioned += 1
        return self

    def with_prompt(self, prompt, negative=""):
        self.conditioned += 1
        return self

    def encode(self, images):
        self.encoded += len(images)
        return images.permute(0, 3, 1, 2)

    def decode(self, latents):
        return latents.permute(0, 2, 3, 1)

    def predict_noise(self, noisy, t, cameras):
        self.predicted += len(noisy)
        return torch.zeros_like(noisy)


class Rising:
    """A CLIP scorer whose similarity never settles: the boundary falls to its ceiling."""

    def __init__(self):
        self.asked, self.words = 0, 0

    def image_embedding(self, images):
        self.asked += 1
        angle = torch.tensor(1.5 - 0.1 * self.asked)
        return torch.stack([angle.cos(), angle.sin()]).expand(len(images), 2)

    def text_embedding(self, prompts):
        self.words += 1
        return torch.tensor([[1.0, 0.0]]).expand(len(prompts), 2)


def networks() -> SimpleNamespace:
    return SimpleNamespace(view=Counting(), text=Counting(), clip=Rising())


def small(preset, nerf=16, mesh=6):
    coarse = replace(NERF, iterations=nerf, mesh_iterations=mesh, mode=preset.nerf.mode, reference_first=2)
    return replace(preset, nerf=coarse, mesh=replace(MESH, iterations=mesh, mode=preset.mesh.mode))
