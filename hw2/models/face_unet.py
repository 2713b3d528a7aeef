"""The face network of the course: its `UNet.pt` and diffusers' UNet2DModel, one read as the other.

Ho et al. 2020's network for CelebA-HQ: six levels of two residual blocks, attention at the fifth
level and in the middle with one head, GroupNorm over 32 groups, a sine-cosine embedding of t. In
`UNet.pt` it is a plain state_dict with the layers numbered through: `down1` .. `down18`, `mid1`,
`mid2`, `up1` .. `up23`. Only the padding of its downsampling differs from google/ddpm-celebahq-256:
one pixel on each side.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from diffusers import UNet2DModel
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hw2.claims import SHOWN, is_finite, misfits, shapes_of
from hw2.errors import CheckpointError, ConfigError

LEVELS = 6
ATTENTION_LEVEL = 4
NORM_GROUPS = 32
COURSE_CHANNELS = (128, 128, 256, 256, 512, 512)
FREQUENCIES = "time.0.inv_freq"  # a buffer: a constant that some state_dicts carry

State = Mapping[str, Tensor]


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


def from_course(state: State, source: str = "UNet.pt") -> FaceUNet:
    """The network whose weights the course's layout names; `source` is what errors call it.

    The widths are read off the weights. Raises CheckpointError, which names the first five
    missing, unknown or misshapen keys.
    """
    channels = _widths(state, source)
    with torch.device("meta"):  # shapes alone: a file may claim any, and no weight is drawn
        net = FaceUNet(channels)
    want = shapes_of(to_course(net))
    given = dict(state)
    frequencies = given.pop(FREQUENCIES, None)
    want.pop(FREQUENCIES)
    wrong = misfits(shapes_of(given), want)
    if frequencies is not None and not _same(frequencies, _frequencies(channels[0])):
        wrong.append(f"{FREQUENCIES} is not 10000^(-i/{channels[0] // 2})")
    # Of a shape that is wanted: a small file can claim any other, gigabytes to look through.
    fitting = {k: v for k, v in given.items() if k in want and v.shape == want[k]}
    infinite = [k for k, v in fitting.items() if not is_finite(v)]
    wrong += [f"{k} holds nan or infinite numbers" for k in infinite]
    if wrong:
        raise CheckpointError(f"{source}: {len(wrong)} keys do not fit: {'; '.join(wrong[:SHOWN])}")
    theirs = {name: given[ours].float() for ours, name in _names(net)}
    for ours, name in _attentions():
        weight, bias = (given[f"{ours}.qkv.{kind}"].float() for kind in ("weight", "bias"))
        parts = zip(("to_q", "to_k", "to_v"), weight.chunk(3), bias.chunk(3), strict=True)
        for part, matrix, shift in parts:
            theirs |= {f"{name}.{part}.weight": matrix[..., 0, 0], f"{name}.{part}.bias": shift}
        theirs[f"{name}.to_out.0.weight"] = given[f"{ours}.out.weight"].float()[..., 0, 0]
        theirs[f"{name}.to_out.0.bias"] = given[f"{ours}.out.bias"].float()
    net = net.to_empty(device="cpu")
    net.unet.load_state_dict(theirs)
    return net.eval()


def to_course(net: FaceUNet) -> dict[str, Tensor]:
    """The weights of `net` in the course's layout, the inverse of `from_course`."""
    theirs = net.unet.state_dict()
    state = {ours: theirs[name] for ours, name in _names(net)}
    for ours, name in _attentions():
        for kind in ("weight", "bias"):
            qkv = torch.cat([theirs[f"{name}.{part}.{kind}"] for part in ("to_q", "to_k", "to_v")])
            out = theirs[f"{name}.to_out.0.{kind}"]
            as_conv = (..., None, None) if kind == "weight" else (...,)
            state[f"{ours}.qkv.{kind}"], state[f"{ours}.out.{kind}"] = qkv[as_conv], out[as_conv]
    state[FREQUENCIES] = _frequencies(net.channels[0])
    return state


def _frequencies(width: int) -> Tensor:
    """10000^(-2i / width), i = 0 .. width/2 - 1 (Vaswani et al. 2017, section 3.5)."""
    return torch.exp(torch.arange(0, width, 2) * (-math.log(10000) / width))


def _same(a: Tensor, b: Tensor) -> bool:
    rounding = max(1e-6, torch.finfo(a.dtype).eps)  # of weights in half precision
    return a.shape == b.shape and torch.allclose(a.float(), b, atol=rounding)


def _widths(state: State, source: str) -> tuple[int, ...]:
    """The widths of the levels, off the first convolution of each."""
    names = [f"down{3 * level + 2}.resblocks.conv1.weight" for level in range(LEVELS)]
    missing = [name for name in names if name not in state]
    odd = [name for name in names if name in state and state[name].ndim != 4]
    if missing or odd:
        what = [f"missing {name}" for name in missing] + [f"misshapen {name}" for name in odd]
        raise CheckpointError(
            f"{source}: not the course's face network: {'; '.join(what[:SHOWN])}; want a plain "
            "state_dict with keys down1.. to up23.., time.., out.., found "
            f"{', '.join(name[:80] for name in [*state][:SHOWN]) or 'none'}"
        )
    widths = tuple(int(state[name].shape[0]) for name in names)
    if any(width % NORM_GROUPS or not width for width in widths):
        raise CheckpointError(
            f"{source}: levels of {list(widths)} channels: the {NORM_GROUPS} groups of the "
            "normalisation do not divide them"
        )
    return widths


def _blocks() -> Iterator[tuple[str, str, bool]]:
    """Each residual block: its names there and in diffusers, and whether attention follows it."""
    for level in range(LEVELS):
        for block in range(2):
            attends = level == ATTENTION_LEVEL
            yield f"down{3 * level + 2 + block}", f"down_blocks.{level}.resnets.{block}", attends
    yield "mid1", "mid_block.resnets.0", True
    yield "mid2", "mid_block.resnets.1", False
    for level in range(LEVELS):
        for block in range(3):
            attends = level == LEVELS - 1 - ATTENTION_LEVEL
            yield f"up{4 * level + 1 + block}", f"up_blocks.{level}.resnets.{block}", attends


def _attentions() -> Iterator[tuple[str, str]]:
    """Each attention: its names there and in diffusers."""
    for ours, theirs, attends in _blocks():
        if attends:
            yield f"{ours}.attention", theirs.replace("resnets", "attentions")


def _names(net: FaceUNet) -> Iterator[tuple[str, str]]:
    """All keys that hold the same tensor there and in diffusers."""
    layers = {
        "time.1": "time_embedding.linear_1",
        "time.3": "time_embedding.linear_2",
        "down1": "conv_in",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    for level in range(LEVELS - 1):
        layers[f"down{3 * level + 4}.0"] = f"down_blocks.{level}.downsamplers.0.conv"
        layers[f"up{4 * level + 4}.1"] = f"up_blocks.{level}.upsamplers.0.conv"
    inside = {part: part for part in ("norm1", "conv1", "norm2", "conv2")}
    inside |= {"time.1": "time_emb_proj", "skip": "conv_shortcut"}
    for ours, theirs, _ in _blocks():
        layers |= {f"{ours}.resblocks.{a}": f"{theirs}.{b}" for a, b in inside.items()}
    layers |= {f"{ours}.norm": f"{theirs}.group_norm" for ours, theirs in _attentions()}
    there = net.unet.state_dict()
    for ours, theirs in layers.items():
        for kind in ("weight", "bias"):
            if f"{theirs}.{kind}" in there:  # a block that keeps its width has no skip
                yield f"{ours}.{kind}", f"{theirs}.{kind}"
