"""Writes a tiny random DeepFloyd IF (first stage) in the layout in which the real one is published."""

from __future__ import annotations

import io
from pathlib import Path

from helpers import public_tiny as tiny

WIDTH = 12  # of the words
SIZE = 16
UNET = {  # the published configuration's options, fewer and narrower blocks
    "sample_size": SIZE, "in_channels": 3, "out_channels": 6, "layers_per_block": 1, "norm_num_groups": 4,
    "block_out_channels": (16, 32), "attention_head_dim": 8, "cross_attention_dim": 32, "encoder_hid_dim": WIDTH,
    "addition_embed_type": "text", "addition_embed_type_num_heads": 4, "cross_attention_norm": "group_norm",
    "act_fn": "gelu", "time_embedding_act_fn": "gelu", "resnet_time_scale_shift": "scale_shift",
    "resnet_skip_time_act": True, "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
}
COSINE = {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "beta_start": 1e-4, "beta_end": 0.02,
          "num_train_timesteps": 1000, "variance_type": "learned_range", "thresholding": True, "prediction_type": "epsilon"}
WORDS = ["a red fox, front view", "a blue car, side view", "back view of the green teapot", "abcdefghijklmnopqrstuvwxyz, .!"]


def unet(folder: Path, **options):
    from diffusers import UNet2DConditionModel

    module = tiny.seeded(lambda: UNet2DConditionModel(**{**UNET, **options}), 11)
    module.save_pretrained(folder / "unet")
    return module


def t5(folder: Path, words: int):
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=words, d_model=WIDTH, d_kv=4, d_ff=16, num_layers=2, num_heads=3,
                      feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1)
    module = tiny.seeded(lambda: T5EncoderModel(config), 12)
    module.save_pretrained(folder / "text_encoder")
    return module


def pieces(folder: Path) -> int:
    """Trains a vocabulary on WORDS with T5's special tokens (pad 0, end 1, unknown 2); its size."""
    import sentencepiece as spm

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(WORDS * 20), model_writer=model, vocab_size=80, pad_id=0, eos_id=1,
                                   unk_id=2, bos_id=-1, character_coverage=1.0, hard_vocab_limit=False, minloglevel=2)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer" / "spiece.model").write_bytes(model.getvalue())
    return spm.SentencePieceProcessor(model_proto=model.getvalue()).vocab_size()


def deepfloyd(folder: Path, **options) -> Path:
    unet(folder, **options)
    t5(folder, pieces(folder))
    tiny.write_json(folder / "scheduler" / "scheduler_config.json", COSINE)
    tiny.write_json(folder / "model_index.json", {"_class_name": "IFPipeline"})
    return folder
