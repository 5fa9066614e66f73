"""A network that knows the answer, and a toy character to ask it about."""

from dataclasses import dataclass, field

import torch
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.networks.stdgen.codec import PixelCodec
from lift123.pipelines.networks.stdgen.schedule import make_scheduler
from lift123.pipelines.stages.characters.picture import CharacterPicture

SIZE = (32, 20)


@dataclass
class Knows:
    """A network that knows the answer: v of ``targets[level]`` [n, H, W, 3] at whatever noise it is shown."""

    targets: dict
    size: tuple = SIZE
    codec: object = PixelCodec(2)
    schedule: dict = field(default_factory=lambda: small.SCHEDULE)
    steps: int = 4
    guidance: float = 2.5
    eta: float = 0.0
    stock: bool = False
    soft: bool = False
    starts: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    @property
    def latent_shape(self):
        shape = tuple(self.codec.encode(self.targets[0]).shape)
        return shape[1:] if len(self.targets[0]) == 1 else shape

    def decode(self, latents):
        return self.codec.decode(latents)

    def see(self, picture):
        self.shown = picture
        return "seen"

    def show(self, picture, generator=None):
        self.shown, self.drawn = picture, generator
        return "seen"

    def predict(self, noisy, t, seen, *rest):
        level, guidance = rest if len(rest) == 2 else (0, rest[0])
        self.asked.append((level, t, guidance))
        if t == 999:
            self.starts.append(noisy)
        alpha = make_scheduler(self.schedule).alphas_cumprod[t]
        clean = self.codec.encode(self.targets[level])
        epsilon = (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        return alpha.sqrt() * epsilon - (1 - alpha).sqrt() * clean


def person():
    rgb, alpha = torch.zeros(60, 40, 3), torch.zeros(60, 40)
    alpha[5:55, 12:28] = 1
    rgb[..., 0] = 0.7
    return CharacterPicture(rgb, alpha)


def six(level: int, size=SIZE):
    """Normals and colors of a block on white; each view and level has its own color."""
    pictures = torch.ones(12, *size, 3)
    for v in range(6):
        pictures[v, 4:28, 8:12] = torch.tensor([0.5, 0.5, 1.0])
        pictures[6 + v, 4:28, 8:12] = torch.tensor([0.1 * v, 0.2 * level, 0.3])
    return pictures
