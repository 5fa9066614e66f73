"""Denoisers of pictures that are normal numbers: scores, guidance and fixed points are known in closed form."""

from dataclasses import dataclass, replace

from lift123.verification.oracle import latent_pixels, pixel_latents, stable_diffusion_alphas

SIDE = 4


def exact(noisy, abar, mean, spread):
    """E[eps | x_t] where x_0 is N(mean, spread^2)."""
    return (1 - abar).sqrt() * (noisy - abar.sqrt() * mean) / (spread**2 * abar + 1 - abar)


@dataclass(frozen=True)
class Gaussians:
    """Pictures are N(wanted, near^2) under the condition, N(0, wide^2) without, N(bad, wide^2) under other words."""

    wanted: float = 0.4
    near: float = 0.05
    wide: float = 0.6
    bad: float = -0.5
    guidance: float = 1.0
    negative: str = ""

    image_size = SIDE
    alphas_cumprod = stable_diffusion_alphas()
    encode = staticmethod(pixel_latents)
    decode = staticmethod(latent_pixels)

    def with_guidance(self, guidance):
        return replace(self, guidance=guidance)

    def with_prompt(self, prompt, negative=""):
        return replace(self, wanted=float(prompt or self.wanted), negative=negative)

    def predict_noise(self, noisy, t, cameras):
        abar = self.alphas_cumprod.to(noisy)[t][:, None, None, None]
        without = exact(noisy, abar, self.bad if self.negative else 0.0, self.wide)
        return without + self.guidance * (exact(noisy, abar, self.wanted, self.near) - without)
