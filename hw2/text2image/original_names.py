"""The names that weights of a Stable Diffusion have in the code of its authors."""

import re

LEVELS, LAYERS = 4, 2  # of resolution; blocks in each
# Names in diffusers, and what stands there in the authors' code; of numbered blocks `unet_name`.
RENAMED_UNET = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
RENAMED_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
RENAMED_VAE = {
    "conv_norm_out": "norm_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "mid_block.attentions.0.to_": "mid.attn_1.",
    "conv_shortcut": "nin_shortcut",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
}


def unet_name(name: str) -> str:
    """The authors' name of diffusers' `name` in the denoiser."""
    block = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)(\..+)", name)
    if block is None:
        part = next(part for part in RENAMED_UNET if name.startswith(f"{part}."))
        start, rest = RENAMED_UNET[part], name.removeprefix(part)
    else:
        way, level, kind, place, rest = block.groups()
        number = (LAYERS + 1) * int(level) + int(place)
        if kind == "downsamplers":
            start, rest = f"input_blocks.{number + LAYERS + 1}.0.op", rest.removeprefix(".conv")
        elif kind == "upsamplers":  # behind the attention, which the first level has not
            start = f"output_blocks.{number + LAYERS}.{1 if level == '0' else 2}"
        else:
            blocks = f"input_blocks.{number + 1}" if way == "down" else f"output_blocks.{number}"
            start = f"{blocks}.{int(kind == 'attentions')}"
    if ".resnets." in name:
        _, layer, last = rest.split(".")
        rest = f".{RENAMED_RESNET[layer]}.{last}"
    return start + rest


def vae_name(name: str) -> str:
    """The authors' name of diffusers' `name` in the autoencoder."""
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d)", lambda part: f"up.{LEVELS - 1 - int(part[1])}", name)
    name = re.sub(r"((?:down|up)\.\d)\.resnets", r"\1.block", name)
    for ours, theirs in RENAMED_VAE.items():
        name = name.replace(ours, theirs)
    return name


def text_name(name: str) -> str:
    """The authors' name of diffusers' `name` in the text encoder, which is transformers'."""
    return f"text_model.{name.removeprefix('text_model.')}"
