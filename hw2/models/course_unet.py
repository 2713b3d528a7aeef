"""The course's `UNet.pt` and diffusers' UNet2DModel, one read as the other.

`UNet.pt` is a plain state_dict with the layers numbered through: `down1` .. `down18`, `mid1`,
`mid2`, `up1` .. `up23`.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from hw2.claims import SHOWN, is_finite, misfits, shapes_of
from hw2.errors import CheckpointError
from hw2.models.face_unet import ATTENTION_LEVEL, LEVELS, NORM_GROUPS, FaceUNet

FREQUENCIES = "time.0.inv_freq"  # a buffer: a constant that some state_dicts carry

State = Mapping[str, Tensor]


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
