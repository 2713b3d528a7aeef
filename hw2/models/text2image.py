"""A small Stable Diffusion 1.x: diffusers' and transformers' own networks, a 300th in size."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from hw2.settings.text2image import AutoencoderConfig, LatentUNetConfig, TextEncoderConfig

GROUPS = 8


def build_autoencoder(config: AutoencoderConfig, image_size: int, seed: int) -> AutoencoderKL:
    """A fresh autoencoder of pictures (b, 3, h, w) whose initial weights depend on `seed` alone."""
    levels = len(config.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            latent_channels=config.latent_channels,
            # Two channels a group lose the picture's colour for hundreds of steps.
            norm_num_groups=1,
            sample_size=image_size,
        )
    _lead_colour_through(vae)
    return vae


@torch.no_grad()
def _lead_colour_through(vae: AutoencoderKL) -> None:
    """Start with silent residual branches and a trunk that keeps the size of what it carries.

    Otherwise the normalised branches drown the picture's colour, which is then learnt last. The
    factor makes PyTorch's default (uniform, a = sqrt 5) a LeCun initialisation.
    """
    for name, module in vae.named_modules():
        if name.endswith(("conv2", "to_out.0")):
            module.weight.zero_()
            module.bias.zero_()
        elif isinstance(module, nn.Conv2d) and not name.endswith("conv1"):
            module.weight.mul_(3**0.5)


def build_text_encoder(config: TextEncoderConfig, vocabulary: int, seed: int) -> CLIPTextModel:
    """A fresh text encoder from tokens (b, n) to features (b, n, width).

    As in CLIP's own vocabulary the last two tokens are start and end.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=config.width,
                intermediate_size=4 * config.width,
                projection_dim=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=config.context_length,
                hidden_act="quick_gelu",
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
            )
        )


def build_latent_unet(
    config: LatentUNetConfig, latent_channels: int, sample_size: int, text_width: int, seed: int
) -> UNet2DConditionModel:
    """A fresh denoiser of latents (b, c, h, w) told a timestep and text features (b, n, width)."""
    deeper = len(config.channels) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            sample_size=sample_size,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * deeper),
            up_block_types=(*["CrossAttnUpBlock2D"] * deeper, "UpBlock2D"),
            cross_attention_dim=text_width,
            # diffusers reads this as the number of heads (its issue 2011).
            attention_head_dim=config.heads,
            norm_num_groups=GROUPS,
        )


class Text2Image(nn.Module):
    """A denoiser that reads text: latents (b, c, h, w), timesteps (b,), tokens (b, n)."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(
        self,
        latents: Float[Tensor, "b c h w"],
        t: Int64[Tensor, " b"],
        tokens: Int64[Tensor, "b n"],
    ) -> Float[Tensor, "b c h w"]:
        """What the denoiser predicts of `latents` at `t`, told `tokens`."""
        return self.unet(latents, t, self.text_encoder(tokens).last_hidden_state).sample
