"""A denoiser that paints what it was asked for."""

import torch

from helpers.comfy_modules import prepare

prepare()
from lift123.verification.oracle import stable_diffusion_alphas


class Painter:
    """A view network whose pictures say from where they were asked."""

    image_size, alphas_cumprod, guidance = 8, stable_diffusion_alphas(), None

    def with_reference(self, picture, camera):
        self.home = camera
        return self

    def sample(self, cameras, steps, generator):
        turn = torch.remainder(cameras.azimuth - self.home.azimuth, 6.2832) / 6.2832
        return turn[:, None, None, None].expand(1, 8, 8, 3) + torch.rand(1, generator=generator) * 1e-3
