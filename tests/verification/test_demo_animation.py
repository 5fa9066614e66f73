"""The README's animation: which messages are pictures, what the frames show, and that a file holds them."""

import io
import struct
from types import SimpleNamespace

import numpy as np
from lift123.verification import demo_animation as made
from PIL import Image


def message(picture: Image.Image, event: int = 1, kind: int = 1) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG")
    return struct.pack(">II", event, kind) + data.getvalue()


def test_pictures_among_the_messages_are_kept_with_their_stage():
    red, seen = Image.new("RGB", (8, 8), "red"), made.Seen()
    job = SimpleNamespace(titles={"3": "NeRF Stage 1"}, node="3")
    for one in ("{}", b"short", message(red, event=3), message(red, kind=2), message(red)):
        seen(job, one)
    ((title, picture),) = seen.previews
    assert title == "NeRF Stage 1" and picture.size == (8, 8) and picture.getpixel((4, 4))[0] > 240


def test_frames_are_picture_previews_and_two_rounds_of_the_turntable(tmp_path):
    picture = Image.new("RGBA", (40, 20), (0, 0, 255, 255))
    views = [Image.new("RGBA", (made.SIDE, made.SIDE), (0, 40 * k, 0, 255)) for k in (1, 5)]
    frames = made.animation(picture, [("NeRF Stage 1", Image.new("RGB", (64, 64), "red"))], views)
    right = [np.asarray(f.crop((made.SIDE + made.GAP, 0, 2 * made.SIDE + made.GAP, made.SIDE))) for f, _ in frames]
    assert len(frames) == 6 and [t for _, t in frames] == [made.STILL, made.FAST] + [made.SLOW] * 4
    assert right[0].min() == 255 and (right[1] == (255, 0, 0)).all()
    assert (right[2] == right[4]).all() and (right[3][0, 0] == (0, 200, 0)).all()
    left = np.asarray(frames[3][0])[: made.SIDE, : made.SIDE]  # twice as wide as high: white above and below
    assert (left[made.SIDE // 2] == (0, 0, 255)).all() and (left[: made.SIDE // 5] == 255).all()
    size = made.save(frames, tmp_path / "a.webp")
    with Image.open(tmp_path / "a.webp") as kept:
        assert kept.n_frames == 6 and kept.info["loop"] == 0 and size == (tmp_path / "a.webp").stat().st_size < 50_000
