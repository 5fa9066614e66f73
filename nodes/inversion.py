"""Textual inversion as a node: the picture's object becomes a word of a text network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room, node_key
from ..host.convert import to_image
from ..host.finished import Packet
from ..host.runner import run_stage, say
from ..host.specs import AnyNetwork
from ..host.unfinished import Shelf
from ..pipelines.core.errors import InputError

if TYPE_CHECKING:
    from ..pipelines.stages.objects.textual_inversion import TextInverter


@dataclass(frozen=True)
class LearnedNetwork:
    """A text network that also knows the words of some embedding files; stands in for ``specs.Network`` on the wires."""

    network: AnyNetwork
    files: tuple[str, ...]
    kind: str = "text"

    @property
    def name(self) -> str:
        """What a manifest says about it."""
        return " + ".join([self.network.name, *(f"embedding:{Path(f).stem}" for f in self.files)])

    def identity(self) -> list:
        """The network and the words' vectors."""
        from ..pipelines.stages.objects.textual_inversion import Inversion

        return [self.network, *(Inversion.load(file).word for file in self.files)]

    def check(self) -> None:
        """InputError while nothing has been computed: absent network or file."""
        self.network.check()
        for file in self.files:
            if not Path(file).is_file():
                raise InputError("embedding", f"the file {Path(file).name} in models/embeddings", "none",
                                 "Run Textual Inversion again.")

    def load(self, device: torch.device):
        """The denoiser, its prompts free to name the words."""
        from ..pipelines.networks import learned_words
        from ..pipelines.networks.text import TextDenoiser
        from ..pipelines.stages.objects.textual_inversion import Inversion

        self.check()
        denoiser, words = self.network.load(device), [Inversion.load(file).word for file in self.files]
        if isinstance(denoiser, TextDenoiser):
            return learned_words.knowing(denoiser, *words)
        from ..host.comfy_inversion import knowing

        for word in words:
            denoiser = replace(denoiser, clip=knowing(denoiser.clip, word))
        return denoiser


class TextualInversion(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_TextualInversion", display_name="Textual Inversion", category=f"{CATEGORY}/networks",
            description="Teaches a text network a new word for the object in the picture and writes it into "
                        "models/embeddings, for any prompt in ComfyUI.",
            search_aliases=["embedding", "realfusion", "magic123", "token", "personalize"],
            not_idempotent=True,
            inputs=[
                types.Reference.Input("reference", tooltip="The picture, from Reference View."),
                types.TextNetwork.Input("text_network", tooltip="The network that learns the word; its weights stay as "
                                                                "they are."),
                io.String.Input("name", default="lift123_object",
                                tooltip="The word; the file gets this name. Prompts mention it as embedding:<name>."),
                io.String.Input("start", default="object",
                                tooltip="What kind of object it is, in one or two words: where the search begins."),
                io.String.Input("sentence", default="a high-resolution DSLR image of {}",
                                tooltip="The prompt that comes out, {} being the word. This one is Magic123's."),
                io.Int.Input("steps", default=0, min=0, max=100000, tooltip="0 = the preset's (paper: 3000 to 5000)."),
                io.Int.Input("batch", default=0, min=0, max=64, tooltip="Pictures per step; 0 = the preset's (paper: 16)."),
                io.Float.Input("learning_rate", default=0.0, min=0.0, max=1.0, step=1e-5, round=1e-7, advanced=True,
                               tooltip="0 = the preset's (paper: 1e-4)."),
                io.Int.Input("vectors", default=1, min=1, max=16, advanced=True,
                             tooltip="Tokens that the word stands for. More describe more and follow prompts less."),
                io.Int.Input("samples", default=4, min=1, max=16, tooltip="Pictures to draw with the word in the end."),
                io.Boolean.Input("resume", default=True,
                                 tooltip="Go on with the file of that name, if there is one. Off: begin anew and replace "
                                         "it."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Same seed, same machine: same result."),
                io.Combo.Input("preset", options=["quickstart", "paper"], default="quickstart",
                               tooltip="quickstart: 200 steps for the embedded network on a CPU. paper: Magic123's, for "
                                       "public networks on a GPU."),
            ],
            outputs=[
                types.TextNetwork.Output("text", display_name="text network",
                                         tooltip="The same network, knowing the word. For Text Prior."),
                io.String.Output("prompt", display_name="prompt", tooltip="The sentence with the word. For Text Prior."),
                io.String.Output("file", display_name="file", tooltip="The file in models/embeddings."),
                io.Image.Output("samples", display_name="samples", tooltip="Pictures drawn with the prompt."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, reference, text_network, name, start, sentence, steps, batch, learning_rate, vectors, samples, resume,
            seed, preset):
        from ..pipelines.stages.objects import textual_inversion as stage

        given = {"steps": steps, "batch": batch, "lr": learning_rate}
        config = replace(stage.PRESETS[preset], vectors=vectors, **{k: v for k, v in given.items() if v})
        if "{}" not in sentence:
            raise InputError("sentence", "a sentence with {} for the word", repr(sentence), "Add {} to it.")
        text_network.check()
        file = embedding_file(name)
        device = device_with_room()
        inverter = inverter_of(text_network.load(device))
        before = stage.Inversion.load(file) if resume and file.is_file() else None

        key = node_key(cls)
        shelf = Shelf(stage.NAME, reference=reference, text_network=text_network, name=name.strip(), start=start, config=config,
                      before=before, seed=seed, device=device.type)
        begin = shelf.find(stage.Inversion.unpack) or before

        def keep(part) -> None:
            part.save(file)
            if not part.finished and resume:  # the file is where the next attempt goes on
                shelf.clear()
                say(f"{file.name} keeps what was learned, resume goes on from there", key)

        def learn(hooks):
            found = stage.invert(reference, inverter, name.strip(), config, start=start, inversion=begin, seed=seed,
                                 on_step=hooks["on_step"], on_checkpoint=keep, autosave=hooks["autosave"])
            keep(found)
            return Packet(*found.pack())

        known = run_stage(stage.NAME, learn, key, shelf=shelf, unpack=Packet.unpack)
        found = stage.Inversion.unpack(*known.pack())
        if shelf.taken:
            keep(found)
        word = found.word
        pictures = to_image(stage.samples(inverter, word, sentence, samples, config.guidance, seed=seed))
        prompt = sentence.replace("{}", word.mention)
        return io.NodeOutput(LearnedNetwork(text_network, (str(file),)), prompt, file.name, pictures,
                             ui=ui.PreviewImage(pictures, cls=cls))


def embedding_file(name: str) -> Path:
    """Where the word of that name is kept: ComfyUI's first embeddings folder."""
    import folder_paths

    from ..pipelines.io.names import safe_part
    from ..pipelines.networks.learned_words import NAME

    if not NAME.fullmatch(name.strip()) or safe_part(name.strip()) != name.strip():  # Windows has no file CON
        raise InputError("name", "1 to 64 letters, digits, - and _", repr(name), "Choose a plain name.")
    return Path(folder_paths.get_folder_paths("embeddings")[0]) / f"{name.strip()}.safetensors"


def inverter_of(denoiser) -> TextInverter:
    """A ``TextInverter`` for a text denoiser of whatever family."""
    from ..pipelines.networks.learned_words import DenoiserInverter
    from ..pipelines.networks.text import TextDenoiser

    if isinstance(denoiser, TextDenoiser):
        return DenoiserInverter(denoiser)
    from ..host.comfy_inversion import ModelInverter

    return ModelInverter(denoiser)
