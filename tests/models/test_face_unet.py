"""The face network against the course's own, written out here from the names of its weights."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from hw2.errors import CheckpointError, ConfigError
from hw2.models.course_unet import FREQUENCIES, from_course, to_course
from hw2.models.face_unet import FaceUNet, build_face_unet

State = dict[str, Tensor]
WIDTHS = [(32,) * 6, (64, 64, 32, 32, 96, 96), (96, 64, 128, 64, 64, 96)]
# With 32 channels, one a group, the normalisation takes out all that is added to a whole channel.
HEARD = (64, 64, 96, 64, 96, 64)


class CourseUNet:
    """The course's network as functions of its state_dict, in the state's precision."""

    def __init__(self, state: State) -> None:
        self.state = state

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        return F.conv2d(x, weight, self.state[f"{name}.bias"], stride=stride, padding=padding)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def time(self, t: Tensor) -> Tensor:
        width = self.state["down1.weight"].shape[0]
        half = torch.arange(width // 2, dtype=torch.float64)
        angle = t.double()[:, None] * 10000 ** (-half / (width / 2))
        embedding = torch.cat([angle.sin(), angle.cos()], 1).to(self.state["time.1.weight"])
        return self.linear("time.3", F.silu(self.linear("time.1", embedding)))

    def resblock(self, name: str, x: Tensor, time: Tensor) -> Tensor:
        name = f"{name}.resblocks"
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)))
        h = h + self.linear(f"{name}.time.1", F.silu(time))[:, :, None, None]
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h)))
        return h + (self.conv(f"{name}.skip", x) if f"{name}.skip.weight" in self.state else x)

    def attention(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.attention.qkv.weight" not in self.state:
            return x
        name = f"{name}.attention"
        query, key, value = self.conv(f"{name}.qkv", self.norm(f"{name}.norm", x)).chunk(3, 1)
        score = torch.einsum("bchw,bcyx->bhwyx", query, key) / math.sqrt(x.shape[1])
        weight = score.flatten(3).softmax(-1).view(score.shape)
        return x + self.conv(f"{name}.out", torch.einsum("bhwyx,bcyx->bchw", weight, value))

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time(t)
        x = self.conv("down1", x)
        skips = [x]
        for index in range(2, 19):
            name = f"down{index}"
            if f"{name}.0.weight" in self.state:
                x = self.conv(f"{name}.0", x, stride=2)
            else:
                x = self.attention(name, self.resblock(name, x, time))
            skips.append(x)
        for name in ("mid1", "mid2"):
            x = self.attention(name, self.resblock(name, x, time))
        for index in range(1, 24):
            name = f"up{index}"
            if f"{name}.1.weight" in self.state:
                x = self.conv(f"{name}.1", x.repeat_interleave(2, -1).repeat_interleave(2, -2))
            else:
                x = torch.cat([x, skips.pop()], 1)
                x = self.attention(name, self.resblock(name, x, time))
        assert not skips
        return self.conv("out.2", F.silu(self.norm("out.0", x)))


def random_state(channels: tuple[int, ...]) -> State:
    """Weights of which each matters: gains near 1, shifts that are felt."""
    generator = torch.Generator().manual_seed(0)
    state = to_course(build_face_unet(channels, 0))
    for name, value in state.items():
        if name == FREQUENCIES:
            continue
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            state[name] = noise / value[0].numel() ** 0.5
        else:
            state[name] = 0.3 * noise + (1 if "norm" in name or name == "out.0.weight" else 0)
    return state


def inputs(side: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 3, side, side, generator=generator),
        torch.tensor([981, 1, 400])[:batch],
    )


@torch.no_grad()
@pytest.mark.parametrize("channels", WIDTHS)
@pytest.mark.parametrize("side", [32, 64])
def test_equals_the_courses_network(channels: tuple[int, ...], side: int) -> None:
    state, given = random_state(channels), inputs(side, 2)
    ours, theirs = from_course(state)(*given), CourseUNet(state)(*given)
    assert 0.3 < float(theirs.std()) < 10
    assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_every_weight_is_heard() -> None:
    """To change any one tensor of weights by its own norm moves the output, to first order."""
    state = random_state(HEARD)
    state.pop(FREQUENCIES)
    for value in state.values():
        value.requires_grad_()
    output = CourseUNet(state)(*inputs(64))
    generator = torch.Generator().manual_seed(2)
    probe = torch.randn(output.shape, generator=generator)
    gradients = torch.autograd.grad((output * probe).sum(), list(state.values()))
    for (name, value), gradient in zip(state.items(), gradients, strict=True):
        moved = float(gradient.norm() * value.detach().norm() / output.detach().norm())
        assert moved > 1e-3, f"{name} moves {moved}"


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    [
        "time.3.bias",
        "down7.0.bias",
        "down15.attention.norm.weight",
        "mid1.attention.out.bias",
        "up7.resblocks.skip.bias",
        "up12.1.weight",
        "out.0.bias",
    ],
)
def test_a_changed_weight_changes_both_networks_alike(name: str) -> None:
    state, given = random_state(HEARD), inputs(32)
    before = CourseUNet(state)(*given)
    state[name] = 2 * state[name].roll(1, 0)
    after = CourseUNet(state)(*given)
    assert float((after - before).abs().max()) > 1e-3
    assert_close(from_course(state)(*given), after, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("width", "most"), [(64, 0.1), (128, 0.02), (96, 1.2)])
def test_a_fresh_network_answers_with_its_input(width: int, most: float) -> None:
    """Of any mean and contrast; of a width without that way it is hardly further than zeros are."""
    net = build_face_unet((width, *[64] * 5), 0).eval()
    xt, t = inputs(32, 3)
    for row, (contrast, mean) in enumerate(((1.0, 0.0), (0.8, 0.4), (1.2, -0.3))):
        xt[row] = contrast * xt[row] + mean
    assert float((net(xt, t) - xt).square().mean().sqrt()) < most


def test_the_courses_size() -> None:
    with torch.device("meta"):
        net = FaceUNet()
    assert sum(parameter.numel() for parameter in net.parameters()) == 113_673_219
    state = to_course(net)
    assert len(state) == 427 and state["down17.resblocks.conv1.weight"].shape == (512, 512, 3, 3)
    assert state["up1.resblocks.conv1.weight"].shape == (512, 1024, 3, 3)


@pytest.mark.parametrize("channels", WIDTHS)
def test_round_trip_is_bit_equal(channels: tuple[int, ...]) -> None:
    state = random_state(channels)
    back = to_course(from_course(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_loading_draws_nothing_and_shares_no_memory() -> None:
    state = random_state((32,) * 6)
    before = torch.get_rng_state()
    net = from_course(state)
    assert torch.equal(torch.get_rng_state(), before) and not net.training
    kept = {name: value.clone() for name, value in to_course(net).items()}
    for value in state.values():
        value.zero_()
    assert all(torch.equal(value, kept[name]) for name, value in to_course(net).items())


def test_half_weights_and_no_frequencies() -> None:
    state = random_state((32,) * 6)
    half = {name: value.half() for name, value in state.items() if name != FREQUENCIES}
    back = to_course(from_course(half))
    assert all(torch.equal(back[name], value.float()) for name, value in half.items())
    assert_close(back[FREQUENCIES], 10000 ** (-torch.arange(16) / 16))
    with_it = to_course(from_course(half | {FREQUENCIES: state[FREQUENCIES].half()}))
    assert all(torch.equal(value, back[name]) for name, value in with_it.items())


def refusal(state: State) -> str:
    with pytest.raises(CheckpointError) as error:
        from_course(state, "given.pt")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refusals_name_five_keys() -> None:
    state = random_state((32,) * 6)
    renamed = {f"module.{name}": value for name, value in state.items()}
    message = refusal(renamed)
    assert message.startswith("given.pt: not the course's face network: missing down2.resblocks.")
    assert message.count("missing") == 5 and message.count("module.") == 5
    assert refusal({}).endswith("with keys down1.. to up23.., time.., out.., found none")

    first = [name for name in state if name != FREQUENCIES][:7]
    message = refusal({name: value for name, value in state.items() if name not in first})
    assert message.startswith("given.pt: 7 keys do not fit: missing ")
    assert message.count("missing") == 5 and message.endswith(first[4])

    message = refusal(state | {"ema.decay": torch.zeros(())})
    assert message == "given.pt: 1 keys do not fit: unknown ema.decay"
    message = refusal(state | {"out.2.bias": torch.zeros(6)})
    assert message == "given.pt: 1 keys do not fit: out.2.bias is (6,), want (3,)"
    message = refusal(state | {"down15.attention.qkv.weight": torch.zeros(96, 32)})
    assert message.endswith("down15.attention.qkv.weight is (96, 32), want (96, 32, 1, 1)")


def test_refusals_of_other_networks() -> None:
    state = random_state((32,) * 6)
    name = "down8.resblocks.conv1.weight"
    assert refusal(state | {name: torch.zeros(32)}).startswith(
        f"given.pt: not the course's face network: misshapen {name}; want a plain state_dict"
    )
    for width in (0, 40):
        message = refusal(state | {name: torch.zeros(width, 32, 3, 3)})
        assert message.startswith(f"given.pt: levels of [32, 32, {width}, 32, 32, 32] channels: ")
    frequencies = state[FREQUENCIES]
    for wrong in (frequencies[:8], 2 * frequencies, frequencies * float("nan")):
        message = refusal(state | {FREQUENCIES: wrong})
        assert message == f"given.pt: 1 keys do not fit: {FREQUENCIES} is not 10000^(-i/16)"


def test_claimed_widths_cost_no_memory() -> None:
    """One number repeated can claim any shape; a network of it would hold petabytes."""
    state = random_state((32,) * 6)
    for level in range(6):
        name = f"down{3 * level + 2}.resblocks.conv1.weight"
        state[name] = torch.zeros(1).expand(2**23, 32, 3, 3)
    assert "time.1.bias is (128,), want (33554432,)" in refusal(state)


@pytest.mark.parametrize("channels", [(64,) * 5, (64,) * 7, (64, 64, 64, 64, 64, 48), (0,) * 6])
def test_refused_widths(channels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"network\.channels=\[.*give 6 multiples of 32"):
        FaceUNet(channels)
