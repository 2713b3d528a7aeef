"""The face network of the course, as diffusers' UNet2DModel.

Ho et al. 2020's network for CelebA-HQ: six levels of two residual blocks, attention at the fifth
level and in the middle with one head, GroupNorm over 32 groups, a sine-cosine embedding of t. Only
the padding of its downsampling differs from google/ddpm-celebahq-256: one pixel on each side.
"""

import torch
from diffusers import UNet2DModel
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hw2.errors import ConfigError

LEVELS = 6
ATTENTION_LEVEL = 4
NORM_GROUPS = 32
COURSE_CHANNELS = (128, 128, 256, 256, 512, 512)


class DiffusersUNet(nn.Module):
    """Any unconditional UNet2DModel over pictures, called as networks are here."""

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, xt: Float[Tensor, "b 3 h w"], t: Int64[Tensor, " b"]
    ) -> Float[Tensor, "b 3 h w"]:
        """Predicted noise in `xt` (of the course's, sides multiples of 32) at t in 0 .. T-1."""
        return self.unet(xt, t).sample


class FaceUNet(DiffusersUNet):
    """diffusers' UNet2DModel with the settings that make it the course's network.

    Args:
        channels: a width for each of the six levels, multiples of 32.

    Raises:
        ConfigError: a wrong number of widths, or one that is no such multiple.
    """

    def __init__(self, channels: tuple[int, ...] = COURSE_CHANNELS) -> None:
        if len(channels) != LEVELS or any(width % NORM_GROUPS or width < 1 for width in channels):
            raise ConfigError(
                f"network.channels={list(channels)}: give {LEVELS} multiples of {NORM_GROUPS}"
            )
        down, up = ["DownBlock2D"] * LEVELS, ["UpBlock2D"] * LEVELS
        down[ATTENTION_LEVEL] = "AttnDownBlock2D"
        up[LEVELS - 1 - ATTENTION_LEVEL] = "AttnUpBlock2D"
        unet = UNet2DModel(
            sample_size=None,
            in_channels=3,
            out_channels=3,
            layers_per_block=2,
            block_out_channels=channels,
            down_block_types=down,
            up_block_types=up,
            attention_head_dim=None,  # one head as wide as its level
            downsample_padding=1,
            freq_shift=0,
            flip_sin_to_cos=False,
            norm_eps=1e-5,
            norm_num_groups=NORM_GROUPS,
        )
        super().__init__(unet)
        self.channels = tuple(channels)


def build_face_unet(channels: tuple[int, ...], seed: int) -> FaceUNet:
    """A fresh network, whose initial weights depend on `seed` alone, and whose answer is its input.

    That is nearly right where the input is nearly noise, and there a small error in eps is a large
    one in the picture. With two channels a group the normalisation takes out mean and contrast, and
    to lead them through is learned slowly; so the way is there from the start. With other widths of
    the first level than 64 and 128 there is no such way, and the network begins as torch draws it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = FaceUNet(channels)
    if channels[0] // NORM_GROUPS in (2, 4):
        _answer_with_the_input(net.unet)
    return net


@torch.no_grad()
def _answer_with_the_input(unet: UNet2DModel) -> None:
    """Lead each colour x from the first convolution to the last, around all blocks.

    With two channels a group, GroupNorm makes of (gain x, level) a channel x - m, m being the
    picture's mean, and leaves the contrast, since the level has hardly less than all variance; and
    of (x, 0) a channel -m. Each is led with its mirror image, for silu(u) - silu(-u) = u ("looks
    linear", Balduzzi et al. 2017, section 4.1): eight channels a colour. In groups of four, where
    mirror images meet, the first is x and the second 0.
    """
    gain, level = 0.5, 3.0
    last = unet.up_blocks[-1].resnets[-1]
    skipped = last.conv_shortcut.in_channels - unet.conv_in.out_channels
    for layer in (unet.conv_in, last.conv_shortcut, last.conv2):
        layer.weight[:24] = 0
        layer.bias[:24] = 0
    unet.conv_out.weight.zero_()
    unet.conv_out.bias.zero_()
    for channel in range(24):
        last.conv_shortcut.weight[channel, skipped + channel, 0, 0] = 1
    norm = unet.conv_norm_out
    for colour in range(3):
        for first, sign in ((8 * colour, 1), (8 * colour + 2, -1)):
            unet.conv_in.weight[first, colour, 1, 1] = sign * gain
            unet.conv_in.bias[first + 1] = level
            norm.weight[first] = (gain**2 / 2 + level**2 / 4) ** 0.5 / gain  # for variance 1
            norm.bias[first] = level / (2 * gain)
            unet.conv_out.weight[colour, first, 1, 1] = sign
            unet.conv_in.weight[first + 4, colour, 1, 1] = sign
            norm.weight[first + 5] = 2**0.5
            unet.conv_out.weight[colour, first + 5, 1, 1] = -sign
