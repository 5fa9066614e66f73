"""Pictures of a folder as people leave them there: 16 bits, CMYK, light, animations, links, broken names, other files."""

import os

import numpy as np
import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from lift123.nodes import batch
from lift123.pipelines.core.errors import InputError
from PIL import Image

DRAW = np.random.default_rng(0).integers(0, 256, (24, 20, 4)).astype(np.uint8)
RGB = Image.fromarray(DRAW[..., :3])


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


def test_sixteen_bits_and_light_are_scaled_not_clipped(tmp_path):
    deep = DRAW[..., 0].astype(np.uint16) * 257
    image, mask = batch.read_picture(saved(tmp_path / "a.png", Image.fromarray(deep)))
    assert torch.allclose(
        image[0, ..., 0], torch.from_numpy(DRAW[..., 0] / np.float32(255)), atol=1e-6
    ) and mask.shape == (1, 64, 64)
    light = (DRAW[..., 0] / 255).astype(np.float32)
    assert torch.allclose(
        batch.read_picture(saved(tmp_path / "a.tiff", Image.fromarray(light)))[0][0, ..., 1],
        torch.from_numpy(light),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "mode, name",
    [
        ("CMYK", "a.jpg"),
        ("LAB", "a.tiff"),
        ("YCbCr", "a.jpg"),
        ("1", "a.png"),
        ("P", "a.png"),
        ("RGB", "a.bmp"),
        ("L", "a.webp"),
        ("RGB", "a.tif"),
    ],
)
def test_other_modes_are_read_as_core_reads_them(mode, name, tmp_path):
    path = saved(tmp_path / name, RGB.convert(mode))
    with Image.open(path) as picture:
        expected = torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32) / 255)
    assert torch.equal(batch.read_picture(path)[0][0], expected)


def test_transparency_and_animations(tmp_path):
    image, mask = batch.read_picture(saved(tmp_path / "a.png", Image.fromarray(DRAW)))
    assert torch.equal(image[0], torch.from_numpy(DRAW[..., :3] / np.float32(255)))
    assert torch.allclose(mask[0], torch.from_numpy(1 - DRAW[..., 3] / np.float32(255)))
    for name in ("b.png", "b.webp"):  # the first picture of it
        path = saved(
            tmp_path / name,
            RGB,
            save_all=True,
            append_images=[RGB.rotate(180)],
            **({"lossless": True} if "w" in name else {}),
        )
        assert torch.equal(batch.read_picture(path)[0][0], torch.from_numpy(np.array(RGB, np.float32) / 255))


def test_too_large_and_none_at_all(tmp_path, monkeypatch):
    thin = saved(tmp_path / "thin.png", Image.new("1", (17_000, 1)))
    with pytest.raises(InputError, match="thin.png: expected at most 16,384 pixels along a side"):
        batch.read_picture(thin)
    for name, data in (
        ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("b.jpg", b""),
        ("c.webp", b"RIFF\0\0\0\0WEBPVP8X"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="a file that cannot be read"):
            batch.read_picture(tmp_path / name)


def test_a_folder_of_odd_names(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    for name in ("caf\u00e9.png", "cafe\u0301.png", "x" * 200 + ".png", "a b.png", "=1+1.png", "CON.png"):
        RGB.save(tmp_path / name)
    broken = os.fsdecode(b"\xff\xfe.png")
    try:
        RGB.save(tmp_path / broken)
    except OSError:  # a file system that takes no such name
        broken = ""
    os.symlink(tmp_path / "absent.png", tmp_path / "dangling.png")
    os.symlink(tmp_path / "a b.png", tmp_path / "link.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "a b.txt").write_bytes(b"\xef\xbb\xbfa \xfc bear")
    elements, paths = batch.listed(batch.PICTURES, "", "", "b")
    assert {p.name for p in paths} >= {"link.png", "CON.png"} and not {p.name for p in paths} & {
        "folder.png",
        "dangling.png",
    }
    prefixes = [element.prefix for element in elements]
    assert len(set(prefixes)) == len(paths) == 7 + bool(broken) and all(prefix.isascii() for prefix in prefixes)
    rows = {path.name: batch.row_of(k, elements[k], path, batch.PICTURES) for k, path in enumerate(paths)}
    assert rows["a b.png"][2] == "a \ufffd bear"
    for row in rows.values():
        row[2].encode()
