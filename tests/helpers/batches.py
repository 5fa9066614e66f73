"""A batch that costs a second an element, in a server that dies: pictures, graph, a node of another pack, waiting."""

import shutil
import time
from pathlib import Path

import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.toybox.objects import make_object
from lift123.pipelines.toybox.render import render_toy
from PIL import Image

FINE, FAILS, KILLS = (0, 0, 0), (0, 255, 0), (255, 0, 0)  # color of the first pixel, which is transparent
FOREIGN = '''
import os

class Probe:
    """Another pack's node: dies or fails where a picture says so."""
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        red, green = image[0, 0, 0, :2].tolist()
        if red > 0.5:
            os._exit(9)
        if green > 0.5:
            raise ValueError("the other pack does not like it")
        return (image,)

NODE_CLASS_MAPPINGS = {"Probe": Probe}
'''


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def probe_graph(folder: str, foreign: bool = True) -> dict:
    """Pictures -> another pack's node -> reference -> an imported mesh in their colors -> asset -> table."""
    graph = {
        "list": node("Lift123_BatchList", folder=folder, values="", name=folder, at_most=0, skip_done=True,
                     source="pictures of a folder"),
        "probe": node("Probe", image=["list", 0]),
        "toy": node("Lift123_ToyObject", size=32, azimuth=0.0, elevation=0.0, seed=12),
        "reference": node("Lift123_ReferenceView", image=["probe", 0], mask=["list", 1], prompt=["list", 2], size=32),
        "scene": node("Lift123_MeshToScene", mesh=["toy", 4], reference=["reference", 0], turn=0.0, grid=8, detail=64,
                      find_turn=False, fit=True, seed=0, up="y", surface="untouched", colors="mesh"),
        "export": node("Lift123_BakeExport", scene=["scene", 0], filename_prefix=["list", 5], texture_size=64,
                       face_budget=200, supersample=1, frames=4, turntable_size=64, elevation=10.0),
        "results": node("Lift123_Results", folder=f"lift123/{folder}", filename_prefix=f"lift123/{folder}_table",
                        newest_only=True, after=["export", 0]),
    }
    if not foreign:
        del graph["probe"]
        graph["reference"]["inputs"]["image"] = ["list", 0]
    return graph


def completed(info: dict, prompt: dict) -> dict:
    """The prompt with every missing widget at its default; info: /object_info."""
    for entry in prompt.values():
        for name, (_, *options) in info[entry["class_type"]]["input"]["required"].items():
            default = (options[0] if options else {}).get("default")
            if name not in entry["inputs"] and default is not None:
                entry["inputs"][name] = default
    return prompt


def put_pictures(folder: Path, names: list, marks: dict, broken: tuple = ()) -> None:
    """A toy object for every name; marks: name -> color of its first pixel; broken: names that are no pictures."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    camera = Cameras.orbit(0.0, 0.0, 3.2, 0.349, 32, 32)
    for n, name in enumerate(names):
        views = render_toy(make_object(n % 40 + 3), camera)
        pixels = torch.cat([views.rgb[0], views.alpha[0, ..., None]], -1).clamp(0, 1) * 255
        picture = Image.fromarray(pixels.byte().numpy())
        picture.putpixel((0, 0), (*marks.get(name, FINE), 0))
        if n >= 40:  # the same toy again must not be the same picture: equal ones share one result
            picture.putpixel((1, 0), (n % 256, n // 256, 1, 0))
        picture.save(folder / f"{name}.png")
        if name in broken:
            (folder / f"{name}.png").write_bytes(b"not a picture")


def assets(output: Path, name: str) -> list:
    """File names of a batch's finished results."""
    return sorted(p.name for p in (output / "lift123" / name).glob("*.glb"))


def running(client) -> list:
    """What /lift123/batch says, and everything else that is queued."""
    queue = client.get("/queue")
    return client.get("/lift123/batch")["running"] + queue["queue_running"] + queue["queue_pending"]


def wait_until(condition, seconds: float = 400.0) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False
