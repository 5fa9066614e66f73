"""A linear autoencoder and a denoiser with a fixed answer: everything about them is known."""

import torch
from lift123.verification.oracle import stable_diffusion_alphas

SIZE = 8


class LinearDenoiser:
    """A linear "VAE" z = A vec(x) and a denoiser with a fixed answer; everything is known."""

    def __init__(self, answer=0.3, size=SIZE, channels=4, dtype=torch.float32):
        generator = torch.Generator().manual_seed(5)
        self.matrix = torch.randn(channels * 4, size * size * 3, generator=generator)
        self.alphas_cumprod = stable_diffusion_alphas()
        self.image_size, self.channels, self.answer, self.dtype = size, channels, answer, dtype
        self.calls = []

    def encode(self, images):
        z = images.flatten(1).to(self.dtype) @ self.matrix.T.to(self.dtype)
        return z.reshape(len(images), self.channels, 2, 2)

    def decode(self, latents):
        """Its own pictures: a fixed linear map back, kept in [0, 1], without gradient."""
        flat = latents.detach().flatten(1) @ self.matrix.to(latents) / self.matrix.shape[1]
        return (0.5 + flat).reshape(len(latents), self.image_size, self.image_size, 3).clamp(0, 1)

    def predict_noise(self, noisy, t, cameras):
        self.calls.append((noisy.clone(), t.clone()))
        return torch.full_like(noisy, self.answer)
