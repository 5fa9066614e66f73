"""Draws the README's animation from one run of the demo: the picture, then what the stages show, then the GLB's turntable.

    python verification/demo_animation.py OUT.webp [--picture lift123_sample.png] [--url http://127.0.0.1:8188]

Runs the quickstart in a ComfyUI of its own (about two minutes on two cores), or in one that is running at ``--url``.  The
previews are those that a person sees while it runs, the turntable is the one that Bake and Export writes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image, ImageDraw, ImageSequence

sys.path.append(str(Path(__file__).resolve().parent.parent / "training"))
import pack  # noqa: F401  (imports the pack as ``lift123``)
from lift123.launcher import commands, jobs, settings, shipped
from lift123.launcher.server import Client

SIDE, GAP, LINE = 256, 16, 24  # pixels: of a picture, between the two, and of the words below
STILL, FAST, SLOW = 1200, 70, 110  # milliseconds: the picture alone, a preview, a view of the GLB
EVERY = 6  # iterations from one preview to the next, a third of a quickstart's usual distance
MOST = 1_500_000  # bytes
PICTURE_EVENT, JPEG = 1, 1  # of ComfyUI's binary messages


@dataclass
class Seen:
    """What a run shows, in order: (title of the node, its picture)."""

    previews: list[tuple[str, Image.Image]] = field(default_factory=list)

    def __call__(self, job: jobs.Job, message: str | bytes) -> None:
        """``on_event`` of ``jobs.run``."""
        picture = preview_of(message)
        if picture is not None:
            self.previews.append((job.titles.get(job.node, job.node), picture))


def preview_of(message: str | bytes) -> Image.Image | None:
    """The picture of a binary message of ComfyUI's that holds one."""
    if isinstance(message, str) or len(message) < 8 or struct.unpack_from(">II", message) != (PICTURE_EVENT, JPEG):
        return None
    return Image.open(io.BytesIO(message[8:])).convert("RGB")


def on_white(picture: Image.Image) -> Image.Image:
    """[SIDE, SIDE] RGB of a picture with or without transparency, its proportions kept."""
    rgba = picture.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    whole = Image.alpha_composite(white, rgba).convert("RGB")
    whole.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    if max(whole.size) < SIDE:
        scale = SIDE / max(whole.size)
        whole = whole.resize((round(whole.width * scale), round(whole.height * scale)), Image.Resampling.BICUBIC)
    placed = Image.new("RGB", (SIDE, SIDE), "white")
    placed.paste(whole, ((SIDE - whole.width) // 2, (SIDE - whole.height) // 2))
    return placed


def frame(left: Image.Image, right: Image.Image | None, words: str) -> Image.Image:
    """The picture, and beside it what was made of it, with words below."""
    drawn = Image.new("RGB", (2 * SIDE + GAP, SIDE + LINE), "white")
    drawn.paste(left, (0, 0))
    pen = ImageDraw.Draw(drawn)
    pen.text((SIDE // 2, SIDE + LINE // 2), "the picture", fill=(90, 90, 90), anchor="mm")
    if right is not None:
        drawn.paste(right, (SIDE + GAP, 0))
        pen.text((SIDE + GAP + SIDE // 2, SIDE + LINE // 2), words, fill=(90, 90, 90), anchor="mm")
    return drawn


def animation(picture: Image.Image, previews: Sequence[tuple[str, Image.Image]],
              turntable: Sequence[Image.Image]) -> list[tuple[Image.Image, int]]:
    """(frame, milliseconds): the picture, every preview under its stage's name, the turntable twice around."""
    left = on_white(picture)
    made = [(frame(left, None, ""), STILL)]
    made += [(frame(left, on_white(shown), title), FAST) for title, shown in previews]
    return made + [(frame(left, on_white(view), "the GLB"), SLOW) for view in (*turntable, *turntable)]


def save(frames: Sequence[tuple[Image.Image, int]], file: Path) -> int:
    """An endless animated WebP, in the best of a few qualities that keeps within MOST bytes; its size in bytes."""
    pictures, times = [f for f, _ in frames], [t for _, t in frames]
    for quality in (80, 60, 40, 20):
        pictures[0].save(file, save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=quality, method=4)
        if file.stat().st_size <= MOST:
            break
    return file.stat().st_size


@contextlib.contextmanager
def server(url: str | None) -> Iterator[Client]:
    """The ComfyUI at ``url``, or one of our own for a while."""
    if url:
        yield Client(urlsplit(url).port or 8188)
        return
    with commands.start_server(settings.default_paths(), "cpu", "animation") as own:
        yield own.client


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--picture", default="lift123_sample.png", help="one of Load Image's")
    parser.add_argument("--url", help="of a running ComfyUI with the pack")
    args = parser.parse_args()
    prompt, _ = shipped.load(settings.QUICKSTART)
    for node in prompt.values():
        node["inputs"].update({"image": args.picture} if node["class_type"] == "LoadImage" else {})
        node["inputs"].update({"preview_every": EVERY} if "preview_every" in node["inputs"] else {})
    seen = Seen()
    with server(args.url) as client:
        entry = jobs.run(client, prompt, on_event=seen, timeout=3600)
        kept = [files for output in entry["outputs"].values() for files in output.get("lift123_files", [])]
        (turntable,) = [file for files in kept for file in files.values() if file["filename"].endswith(".webp")]
        views = Image.open(io.BytesIO(client.raw(
            f"/view?filename={turntable['filename']}&subfolder={turntable['subfolder']}&type=output")))
        turning = [view.convert("RGBA") for view in ImageSequence.Iterator(views)]
    with Image.open(settings.ROOT / "workflows" / "sample" / args.picture) as picture:
        frames = animation(picture, seen.previews, turning)
    print(f"{len(seen.previews)} previews, {len(turning)} views, {save(frames, args.out):,} bytes")


if __name__ == "__main__":
    main()
