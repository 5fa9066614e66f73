"""The embedded 3D prior: a denoiser of pictures that knows the asked view from a lifted volume.

What the network of ``lifted.py`` shows from a camera, R, is taken for what the picture x_0 is, up to a small normal
error: p(x_0) = N(R, s^2).  The exact denoiser of that is, for x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps,

    eps_hat = sqrt(1 - abar) (x_t - sqrt(abar) R) / (s^2 abar + 1 - abar),

which for s = 0 is that of one known picture.  So every step of score distillation pulls towards R, whatever the time,
and nothing but one rendering is computed.  There is no autoencoder: pictures of 64 pixels are denoised as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.cameras import Cameras
from .latent import ddim_sample
from .lifted import SIDE, Lifted, LiftNet, look, relative
from .view import resize

SPREAD, WIDE = 0.02, 0.08  # s in units of [-1, 1], with the picture's knowledge and of the worse network of guidance
SAMPLES = 24  # per ray
CONTRAST = 2.0  # of coverage about one half: 4 is a little sharper and shapes nothing better


@dataclass(frozen=True)
class LiftedViewDenoiser:
    """A ``Denoiser`` for novel views of one reference picture; call :meth:`with_reference` first.

    alphas_cumprod: [T].  guidance: leads away from a worse version of itself (Karras et al. 2024, autoguidance), one
    that expects the same picture with a wider error; so it changes how hard noise is removed, never the colors.
    contrast: of outlines, see :func:`decided`.  reference_camera: one camera; volume: of its picture.
    """

    net: LiftNet
    alphas_cumprod: Tensor
    guidance: float = 1.0
    contrast: float = CONTRAST
    reference_camera: Cameras | None = None
    volume: Lifted | None = None

    image_size = SIDE

    def with_guidance(self, guidance: float) -> "LiftedViewDenoiser":
        """A copy with another scale of guidance (1 = without)."""
        return replace(self, guidance=guidance)

    @torch.no_grad()
    def with_reference(self, picture: Tensor, camera: Cameras) -> "LiftedViewDenoiser":
        """A copy that has lifted ``picture`` [H, W, 3] (sRGB on white, any size) seen from ``camera``."""
        small = resize(picture[None], SIDE)
        return replace(self, reference_camera=camera, volume=self.net(small))

    def encode(self, images: Tensor) -> Tensor:
        """[B, 64, 64, 3] sRGB in [0, 1] -> [B, 3, 64, 64] in [-1, 1]; differentiable."""
        return images.permute(0, 3, 1, 2).float() * 2 - 1

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, 3, 64, 64] -> [B, 64, 64, 3] sRGB in [0, 1]."""
        return (latents.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    @torch.no_grad()
    def show(self, cameras: Cameras) -> Tensor:
        """[B, 64, 64, 3]: what is expected to be seen from ``cameras`` [B], on white."""
        if self.volume is None or self.reference_camera is None:
            raise ValueError("the view prior has no reference picture yet: call with_reference first")
        device = self.volume.table.device
        cameras, home = cameras.resized(SIDE, SIDE).to(device), self.reference_camera[0].to(device)
        origins, directions = relative(cameras, home)
        tan = torch.tan(home.fovy / 2).expand(len(cameras))
        lifted = look(self.volume.repeat(len(cameras)), origins.flatten(1, 2), directions.flatten(1, 2), tan, SAMPLES)
        return decided(lifted, self.contrast).unflatten(1, (SIDE, SIDE))

    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """eps_hat [B, 3, 64, 64] at integer times t [B]."""
        return self._noise(noisy, t, self.encode(self.show(cameras)))

    @torch.no_grad()
    def _noise(self, noisy: Tensor, t: Tensor, expected: Tensor) -> Tensor:
        abar = self.alphas_cumprod[t][:, None, None, None]
        away = (1 - abar).sqrt() * (noisy - abar.sqrt() * expected)
        narrow, wide = (away / (s * s * abar + 1 - abar) for s in (SPREAD, WIDE))
        return wide + self.guidance * (narrow - wide)

    def sample(self, cameras: Cameras, steps: int, generator: torch.Generator) -> Tensor:
        """Novel views [B, 64, 64, 3] by DDIM; the volume is rendered once."""
        expected = self.encode(self.show(cameras))
        latents = ddim_sample(lambda x, t: self._noise(x, t, expected), expected.shape, self.alphas_cumprod, steps,
                              generator, expected.device)
        return self.decode(latents)


def decided(seen: Tensor, contrast: float) -> Tensor:
    """Renders of a volume [..., 4], colors on white and coverage, with outlines that are decided: [..., 3] on white.

    What is uncertain is half there in a volume, which is the best guess by mean square and looks like fog.  Here coverage
    leaves one half ``contrast`` times as fast, and the color is that of what is there, without the white; 1 changes nothing.
    """
    alpha = seen[..., 3:].clamp(0, 1)
    straight = ((seen[..., :3] - (1 - alpha)) / alpha.clamp_min(1e-2)).clamp(0, 1)
    alpha = ((alpha - 0.5) * contrast + 0.5).clamp(0, 1)
    return straight * alpha + 1 - alpha
