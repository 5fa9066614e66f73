"""Pictures inside of other people's files: size and kind are known before a pixel is decoded."""

from __future__ import annotations

import io
import struct

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from .limits import PICTURE_SIDE, PIXELS, within
from .mesh_notes import Notes

GLTF_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
_OTHERS = {b"\xabKTX 20": "KTX2", b"\xabKTX 11": "KTX", b"DDS ": "DDS", b"8BPS": "Photoshop", b"v/1\x01": "OpenEXR",
           b"#?RADIANCE": "Radiance HDR"}
_BAND = 1 << 20  # pixels that are decoded at once
BLACKEST = 4 / 255  # brightest channel of a picture that counts as black: what a JPEG makes of nothing
OBJ_FORMATS = (*GLTF_FORMATS, "BMP", "TGA", "TIFF", "GIF")


def read_picture(data: bytes | memoryview, name: str = "texture", formats: tuple[str, ...] = GLTF_FORMATS,
                 notes: Notes | None = None) -> Tensor:
    """Bytes of a picture -> [H, W, 3] sRGB float32 in [0, 1]; alpha is dropped, 16 bits per channel are scaled.

    notes: hears that alpha was dropped, in files whose materials do not say whether it counts.

    InputError for what is no picture of these formats, damaged, or larger than ``limits.PIXELS``.
    """
    from PIL import Image

    data = bytes(data)
    try:
        check_size(name, *_webp_size(data))
        readable = [f for f in formats if f in Image.registered_extensions().values()]  # older PILs lack AVIF
        with Image.open(io.BytesIO(data), formats=readable) as picture:
            check_size(name, *picture.size)
            pixels = decoded(picture)
            if notes is not None and "A" in picture.getbands() and picture.getchannel("A").getextrema()[0] < 255:
                notes.say("transparency of a texture was dropped")
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(name, f"at most {PIXELS:,} pixels", str(error), "Make the texture smaller.") from None
    except Exception as error:  # decoders raise types of their own for every kind of damage
        other = next((kind for mark, kind in _OTHERS.items() if data.startswith(mark)), "")
        reason = str(error).split("<")[0].strip() or type(error).__name__
        got = f"a {other} file" if other else f"a damaged one or something else ({reason[:120]})"
        raise InputError(name, f"a picture ({', '.join(formats)})", got,
                         "Export the model again, with PNG textures.") from None
    return torch.from_numpy(pixels)


def decoded(picture) -> np.ndarray:
    """[H, W, 3] float32 in [0, 1] of a PIL picture, made in bands: a large picture is kept once, not once for every step."""
    (width, height), pixels = picture.size, np.empty((*picture.size[::-1], 3), np.float32)
    deep = picture.mode.startswith("I") or picture.mode == "F"  # one channel of 16 or more bits: PIL would clip it
    picture.load()
    rows = max(_BAND // width, 1)
    bands = [(0, y, width, min(y + rows, height)) for y in range(0, height, rows)]
    top = 65535.0
    if picture.mode == "F" and max(float(np.asarray(picture.crop(band)).max()) for band in bands) <= 1:
        top = 1.0
    for band in bands:
        part = picture.crop(band)
        if deep:
            gray = np.clip(np.nan_to_num(np.asarray(part, dtype=np.float64)) / top, 0, 1) * 255
            pixels[band[1] : band[3]] = gray[..., None]
        else:
            pixels[band[1] : band[3]] = np.asarray(part.convert("RGB"))
    return np.divide(pixels, 255, out=pixels)


def check_size(name: str, width: int, height: int) -> None:
    """InputError for a picture of more pixels than ``limits`` allows."""
    remedy = "Make the texture smaller."
    within(name, max(width, height), PICTURE_SIDE, "pixels along a side", remedy)
    within(name, width * height, PIXELS, "pixels", remedy)


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) that a WebP file's header claims, (0, 0) for other files.

    The decoder takes memory for the whole canvas when it is opened, so PIL's own check comes too late.
    """
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return 0, 0
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
