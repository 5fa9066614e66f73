"""What travels on the wires between StdGEN's nodes, made once."""

from dataclasses import replace

import pytest
import torch

from helpers import public_tiny, slrm_tiny
from helpers.comfy_modules import prepare

prepare()
from lift123.host import specs
from lift123.nodes import characters
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.networks.stdgen import canonical, multiview
from lift123.pipelines.networks.stdgen.codec import PixelCodec
from lift123.pipelines.networks.stdgen.vision import NoVision

SIZE, SEED = 64, 10000003


SAMPLER = {"steps": 1, "guidance": -1.0, "seed": 0}


@pytest.fixture(scope="module")
def toy():
    """(image, mask, a-pose, views, layers, caption) as the node gives them, layers meshed coarsely."""
    return characters.ToyCharacter.execute(size=SIZE, pose=0, cells=32, seed=SEED).result


@pytest.fixture
def networks(monkeypatch):
    """Random networks of the embedded ones' classes on every wire."""
    codec, words = PixelCodec(small.SHRINK), torch.zeros(2, small.WORDS, small.CONTEXT)
    rest = {"guidance": 1.0, "steps": 2}

    def build(kind):
        if kind == "slrm":
            return slrm_tiny.filled(replace(slrm_tiny.TINY, lora_rank=0), seed=3, scale=0.5)
        if kind == "canonical":
            pair = public_tiny.seeded(small.build_small_pair, 0)
            return canonical.Canonicalizer(pair.unet, pair.reference, codec, NoVision(small.CONTEXT), words, small.SCHEDULE,
                                           small.SMALL_SIZE, copy=pair.copy, **rest)
        nets = public_tiny.seeded(small.SmallMultiView, 0)
        return multiview.MultiView(nets.unet, codec, NoVision(small.CONTEXT), nets.prompts.detach(), small.SCHEDULE,
                                   small.SMALL_SIZE, eta=0.0, copy=nets.copy, **rest)

    made = {}
    monkeypatch.setattr(specs.Network, "load", lambda self, device: made.get(self.kind) or made.setdefault(
        self.kind, build(self.kind).requires_grad_(False) if self.kind == "slrm" else build(self.kind)))
    return characters.LoadCharacterEmbedded.execute().result


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """ComfyUI's output folder."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path
