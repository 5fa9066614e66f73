"""CLIP towers of ldm checkpoints: outputs equal those of ComfyUI's towers, OpenAI's layout in open_clip, and diffusers."""

import pytest
import torch
from helpers.compare import SEEDS, close, draw
from lift123.pipelines.loaders import ldm, ldm_clip
from lift123.pipelines.networks.openai_tokens import openai_tokenizer

ldm_tiny = pytest.importorskip("helpers.ldm_tiny")


def assembled(kind, config_kind, config, state):
    """A transformers tower through the loader's own assembly."""
    return ldm.assemble(lambda: kind(config_kind(**config)), state, "cpu", torch.float32)


def our_vision(state):
    """Our conversion of an OpenAI visual tower."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    new, unknown = ldm_clip.convert_vision(state)
    assert not unknown
    return assembled(CLIPVisionModelWithProjection, CLIPVisionConfig, ldm_clip.vision_config(state), new)


def test_picture_tower_equals_open_clips_and_comfyuis():
    """The state stands in OpenAI's layout, in which open_clip computes; ComfyUI converts it by its own table."""
    from comfy.clip_model import CLIPVisionModelProjection
    from comfy.clip_vision import convert_to_transformers
    from comfy.ops import disable_weight_init

    visual = ldm_tiny.open_clip_model().visual
    state = visual.state_dict()
    ours = our_vision(state)
    config = {**ours.config.to_dict(), "model_type": "clip_vision_model", "num_channels": 3}
    comfys = CLIPVisionModelProjection(config, torch.float32, "cpu", disable_weight_init)
    theirs = convert_to_transformers({"x." + k: v.clone() for k, v in state.items()}, "x.")
    comfys.load_state_dict(theirs, strict=True)
    with torch.no_grad():
        for seed in SEEDS:
            x = draw(seed, 3, 3, 56, 56)
            embedding = ours(x).image_embeds
            close(embedding, visual(x))
            close(embedding, comfys(x)[2])


def test_open_text_tower_equals_comfyuis_open_clips_and_diffusers():
    """Stable Diffusion 2's context: the last but one layer, normalized."""
    from comfy.clip_model import CLIPTextModel as ComfyText
    from comfy.ops import disable_weight_init
    from comfy.utils import clip_text_transformers_convert
    from transformers import CLIPTextConfig, CLIPTextModel

    model = ldm_tiny.open_clip_model(vocabulary=49408, projection=128)  # the sizes that are fixed in ComfyUI's
    state = ldm_tiny.open_text_state(model)
    config = ldm_clip.open_text_config(state)
    new, unknown = ldm_clip.convert_open_text(state)
    last = config["num_hidden_layers"]
    assert all(n.startswith(f"transformer.resblocks.{last}.") or n in ("text_projection", "logit_scale") for n in unknown)
    ours = assembled(CLIPTextModel, CLIPTextConfig, config, new)
    sizes = {**config, "num_hidden_layers": last + 1, "eos_token_id": 49407}
    comfys = ComfyText(sizes, torch.float32, "cpu", disable_weight_init)
    converted = clip_text_transformers_convert({"x." + k: v.clone() for k, v in state.items()}, "x.", "")
    comfys.load_state_dict({k: v for k, v in converted.items() if k != "x.logit_scale"}, strict=True)
    with torch.no_grad():
        for seed in SEEDS:
            tokens = torch.randint(3, 49000, (2, 12), generator=torch.Generator().manual_seed(seed))
            context = ours(tokens).last_hidden_state
            close(context, comfys(tokens, intermediate_output=-2)[1])
            x = model.token_embedding(tokens) + model.positional_embedding
            for block in model.transformer.resblocks[:-1]:
                x = block(x, attn_mask=model.attn_mask)
            close(context, model.ln_final(x))


def test_open_text_state_equals_diffusers_converter():
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    state = ldm_tiny.open_text_state(ldm_tiny.open_clip_model())
    new, _ = ldm_clip.convert_open_text(state, dropped=0)
    prefix = "cond_stage_model.model."
    reference = convert_open_clip_checkpoint(None, {prefix + k: v for k, v in state.items()}, prefix)
    reference = {k.removeprefix("text_model."): v for k, v in reference.items()}
    shared = set(reference) - {"text_projection.weight", "embeddings.position_ids"}
    assert shared == set(new)
    assert all(torch.equal(reference[name], new[name]) for name in shared)


@pytest.mark.parametrize("prefix", ["text_model.", ""])
def test_stable_diffusion_1_text_tower_equals_comfyuis(prefix):
    from comfy.clip_model import CLIPTextModel as ComfyText
    from comfy.ops import disable_weight_init
    from transformers import CLIPTextConfig, CLIPTextModel

    config = ldm_tiny.TEXT_CONFIG
    comfys = ldm_tiny.fill(ComfyText(config, torch.float32, "cpu", disable_weight_init), 3)
    state = {k.removeprefix("text_model."): v for k, v in comfys.state_dict().items() if k != "text_projection.weight"}
    assert ldm_clip.text_config(state).items() <= {**config, "vocab_size": 49408}.items()
    ours = assembled(CLIPTextModel, CLIPTextConfig, ldm_clip.text_config(state), state)
    with torch.no_grad():
        for seed in SEEDS:
            tokens = torch.randint(0, 49000, (2, 77), generator=torch.Generator().manual_seed(seed))
            close(ours(tokens).last_hidden_state, comfys(tokens)[0])


def test_tokens_are_comfyuis():
    """open_clip's vocabulary as a transformers tokenizer: the same indices as ComfyUI's files give, both paddings."""
    from comfy.sd1_clip import SDTokenizer

    prompts = ["a red mug, front view", "", "an owl's feather (Schnee-Eule) 42!", "  Two   CATS -- and a d0g;"]
    for pad, with_end in ((49407, True), (0, False)):
        ours = openai_tokenizer(pad)
        theirs = SDTokenizer(pad_with_end=with_end)
        for prompt in prompts:
            got = ours(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids[0].tolist()
            plain = prompt.replace("(", "\\(").replace(")", "\\)")  # ComfyUI reads bare brackets as weights
            wanted = [token for token, *_ in theirs.tokenize_with_weights(plain)[0]]
            assert got == wanted, prompt


def test_full_size_towers_have_the_published_sizes():
    """On the meta device: ViT-L/14 of Zero-1-to-3 and the text tower of Stable Diffusion 2, number of weights included."""
    from open_clip.model import CLIP, CLIPVisionCfg
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    vision = CLIPVisionCfg(image_size=224, patch_size=14, width=1024, layers=24)
    with torch.device("meta"):
        model = CLIP(768, vision, {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24})
    visual, text = model.visual.state_dict(), ldm_tiny.open_text_state(model)
    config, text_config = ldm_clip.vision_config(visual), ldm_clip.open_text_config(text)
    assert (config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]) == (1024, 16, 24)
    assert (config["image_size"], config["patch_size"], config["projection_dim"]) == (224, 14, 768)
    assert (text_config["num_hidden_layers"], text_config["num_attention_heads"]) == (23, 16)
    with torch.device("meta"):
        towers = (CLIPVisionModelWithProjection(CLIPVisionConfig(**config)), CLIPTextModel(CLIPTextConfig(**text_config)))
    converted = (ldm_clip.convert_vision(visual)[0], ldm_clip.convert_open_text(text)[0])
    for tower, new, count in zip(towers, converted, (303_966_208, 340_387_840)):
        expected = {k.removeprefix("text_model."): tuple(v.shape) for k, v in tower.state_dict().items()}
        assert {k: tuple(v.shape) for k, v in new.items()} == expected
        assert sum(p.numel() for p in tower.parameters()) == count
