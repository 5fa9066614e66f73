"""sRGB transfer curves and 8-bit PNG bytes."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor


def srgb_to_linear(x: Tensor) -> Tensor:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Tensor) -> Tensor:
    """Linear light in [0, 1] to sRGB; inverse of :func:`srgb_to_linear`."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def encode_png(image: Tensor) -> bytes:
    """[H, W, 3] sRGB in [0, 1] (clamped) -> PNG bytes, the same bytes for the same picture."""
    from PIL import Image

    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels), "RGB").save(stream, format="PNG", compress_level=6)
    return stream.getvalue()
