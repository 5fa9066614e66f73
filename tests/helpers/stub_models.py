"""Stand-ins for networks of ComfyUI's own nodes: files of these names load as a few lines of arithmetic.

``install`` puts a node file into a server's ``custom_nodes`` and the model files into its ``models``; core's nodes, wires
and checks stay what they are.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

REMOVER, MOGE = "birefnet.safetensors", "moge_2_vitl_normal_fp16.safetensors"
NODE = '''
import torch
import comfy.bg_removal_model
import comfy.ldm.moge.model


class Remover:
    """Everything that is darker than two thirds, on a picture that is brighter at its rim."""

    def encode_image(self, image):
        rim = torch.cat([image[:, 0], image[:, -1]], 1).mean(1)[:, None, None]
        return (((image - rim).abs().amax(-1) - 0.3) / 0.05).clamp(0, 1)


class Geometry:
    """A ball in the middle of the picture, in OpenCV's camera frame."""

    def __init__(self, state_dict):
        pass

    def infer(self, image, **_):
        count, _, height, width = image.shape
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        z = (1 - x * x - y * y).clamp_min(0.01).sqrt()
        normal = torch.nn.functional.normalize(torch.stack([x, y, -z], -1), dim=-1)
        return {"depth": (3 - z).expand(count, height, width), "normal": normal.expand(count, height, width, 3),
                "mask": torch.ones(count, height, width, dtype=torch.bool)}


def stub(theirs, ours):
    def chosen(state_dict, *rest):
        return ours(state_dict) if "stub" in state_dict else theirs(state_dict, *rest)
    return chosen


before = comfy.bg_removal_model.load_background_removal_model
comfy.bg_removal_model.load_background_removal_model = stub(before, lambda _: Remover())
import sys
for module in list(sys.modules.values()):
    if hasattr(module, "MoGeRender") and hasattr(module, "MoGeModel"):
        module.MoGeModel = stub(module.MoGeModel, Geometry)
NODE_CLASS_MAPPINGS = {}
'''


def install(base: Path) -> None:
    """Into a server's base folder, before it starts."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    (base / "custom_nodes" / "stub_models.py").write_text(NODE, encoding="utf-8")
    for folder, name in (("background_removal", REMOVER), ("geometry_estimation", MOGE)):
        (base / "models" / folder).mkdir(parents=True, exist_ok=True)
        save_file({"stub": torch.zeros(1)}, base / "models" / folder / name)
