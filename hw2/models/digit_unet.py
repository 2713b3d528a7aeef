"""The class-conditional digit network."""

import json

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hw2.domains import DIGITS, DOMAINS
from hw2.errors import ConfigError
from hw2.settings.digits import NetworkConfig

NORM_GROUPS = 32


class DigitUNet(nn.Module):
    """diffusers' UNet2DModel over a pixel-unshuffled picture, conditioned on digit and domain.

    Unshuffling by `patch` (Shi et al. 2016) trades pixels for channels, so that a 28x28 picture is
    worked on at 14x14, several times faster. Labels are embedded, summed and added to the time
    embedding, which shifts each residual layer or, with `scale_shift`, scales and shifts it
    (adaptive group normalisation, Dhariwal & Nichol 2021, section 3). `null_digit` and
    `null_domain` stand for "no label".

    Raises ConfigError as `check_network` does.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        check_network(config)
        from diffusers import UNet2DModel  # six seconds, for those who only check or read

        self.config = config
        self.null_digit, self.null_domain = len(DIGITS), len(DOMAINS)
        pixels = 3 * config.patch**2
        self.unet = UNet2DModel(
            sample_size=config.image_size // config.patch,
            in_channels=pixels,
            out_channels=pixels,
            layers_per_block=config.layers,
            block_out_channels=config.channels,
            down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in config.attention],
            up_block_types=[
                "AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention)
            ],
            add_attention=config.mid_attention,
            norm_num_groups=NORM_GROUPS,
            resnet_time_scale_shift="scale_shift" if config.scale_shift else "default",
            class_embed_type="identity",
        )
        width = 4 * config.channels[0]
        self.digit = nn.Embedding(self.null_digit + 1, width)
        self.domain = nn.Embedding(self.null_domain + 1, width)
        self.unshuffle = nn.PixelUnshuffle(config.patch)
        self.shuffle = nn.PixelShuffle(config.patch)

    def forward(
        self,
        xt: Float[Tensor, "b 3 h w"],
        t: Int64[Tensor, " b"],
        digit: Int64[Tensor, " b"],
        domain: Int64[Tensor, " b"],
    ) -> Float[Tensor, "b 3 h w"]:
        """The prediction for `xt` at timestep `t` in 0 .. T-1, under labels or null labels."""
        label = self.digit(digit) + self.domain(domain)
        patches = self.unshuffle(xt)
        if not (xt.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            # oneDNN's convolutions are up to a third faster so in float32. In bfloat16 they are
            # not, and torch's group normalisation is ten times slower.
            patches = patches.contiguous(memory_format=torch.channels_last)
        return self.shuffle(self.unet(patches, t, class_labels=label).sample.contiguous())


def check_network(config: NetworkConfig) -> None:
    """Raise ConfigError for what no network can be built from."""
    size, halvings = config.image_size, 2 ** (len(config.channels) - 1)
    if size % (config.patch * halvings):
        raise ConfigError(
            f"network.image_size={size} with patch={config.patch} and {len(config.channels)} "
            f"levels: must be a multiple of {config.patch * halvings}"
        )
    if any(width % NORM_GROUPS or width == NORM_GROUPS for width in config.channels):
        # With one channel a group the normalisation removes all that time and labels add.
        raise ConfigError(
            f"network.channels={list(config.channels)}: give multiples of {NORM_GROUPS}, the "
            f"groups of the normalisation, from {2 * NORM_GROUPS} on"
        )
    if len(config.attention) != len(config.channels):
        raise ConfigError(
            f"network.attention={json.dumps(config.attention)}: give one value for each of the "
            f"{len(config.channels)} levels"
        )


def build_digit_unet(config: NetworkConfig, seed: int) -> DigitUNet:
    """A fresh network whose initial weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitUNet(config)
