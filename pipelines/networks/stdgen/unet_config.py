"""The published configurations of StdGEN's and Era3D's UNets, as arguments of diffusers' class (S-G)."""

from __future__ import annotations

from ...core.errors import InputError

BLOCKS = {
    "CrossAttnDownBlockMV2D": "CrossAttnDownBlock2D", "CrossAttnUpBlockMV2D": "CrossAttnUpBlock2D",
    "UNetMidBlockMV2DCrossAttn": "UNetMidBlock2DCrossAttn",
}
KEPT = (
    "sample_size", "in_channels", "out_channels", "block_out_channels", "layers_per_block", "attention_head_dim",
    "cross_attention_dim", "use_linear_projection", "norm_num_groups", "norm_eps", "act_fn", "flip_sin_to_cos", "freq_shift",
    "downsample_padding", "down_block_types", "mid_block_type", "up_block_types",
)
# Options of the published class that change the network, with the one value that is built here.
FIXED = {
    "mvcd_attention": True, "cd_attention_mid": False, "cd_attention_last": False, "use_dino": False,
    "addition_downsample": False, "joint_attention": False, "joint_attention_twice": False, "cross_domain_attention": False,
    "multiview_attention": True, "selfattn_block": "self_rowwise", "dual_cross_attention": False,
    "class_embeddings_concat": False, "center_input_sample": False, "only_cross_attention": False,
    "class_embed_type": "projection",
}


def diffusers_options(config: dict) -> dict:
    """Arguments of UNet2DConditionModel for a published configuration, without what this package adds itself.

    InputError for a configuration that asks for something else than StdGEN and Era3D do.
    """
    for name, value in FIXED.items():
        if name in config and config[name] != value:
            raise InputError("checkpoint", f"a UNet with {name} = {value!r}", repr(config[name]),
                             "This is another variant of the multi-view family; choose StdGEN's or Era3D's 6-view network.")
    options = {name: config[name] for name in KEPT if name in config}
    for name in ("down_block_types", "up_block_types"):
        options[name] = tuple(BLOCKS.get(block, block) for block in options[name])
    options["mid_block_type"] = BLOCKS.get(config.get("mid_block_type", ""), "UNetMidBlock2DCrossAttn")
    return options
