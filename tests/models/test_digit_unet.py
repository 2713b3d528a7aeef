"""The digit network: shapes, refusals, and weights that depend on the seed alone."""

import pytest
import torch
from torch.testing import assert_close

from hw2.errors import ConfigError
from hw2.models.digit_unet import DigitUNet, build_digit_unet
from hw2.settings.digits import NetworkConfig

SMALL = NetworkConfig(channels=(64, 64), layers=1)
SCALED = NetworkConfig(channels=(64, 64), layers=1, scale_shift=True)


def inputs(batch: int = 2, size: int = 28) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    xt = torch.randn(batch, 3, size, size, generator=generator)
    t = torch.tensor([0, 999, 500, 1])[:batch]
    return xt, t, torch.arange(batch), torch.arange(batch) % 2


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        SCALED,
        NetworkConfig(image_size=32, patch=4, channels=(64, 64, 96), attention=(False, True, True)),
        NetworkConfig(channels=(64,), attention=(True,), patch=1, image_size=9, mid_attention=True),
    ],
)
def test_keeps_the_shape_of_pictures(config: NetworkConfig) -> None:
    net = build_digit_unet(config, 0).eval()
    given = inputs(size=config.image_size)
    with torch.no_grad():
        output = net(*given)
    assert output.shape == given[0].shape and bool(output.isfinite().all())


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build_digit_unet(SMALL, 3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two, other = build_digit_unet(SMALL, 3).state_dict(), build_digit_unet(SMALL, 4).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["unet.conv_in.weight"], other["unet.conv_in.weight"])


@pytest.mark.parametrize("config", [SMALL, SCALED])
def test_every_input_matters_and_null_labels_are_no_labels_of_their_own(
    config: NetworkConfig,
) -> None:
    net = build_digit_unet(config, 0).eval()
    xt, t, digit, domain = inputs(1)
    assert (net.null_digit, net.null_domain) == (10, 2)
    with torch.no_grad():
        base = net(xt, t, digit, domain)
        for change in (
            (xt + 1, t, digit, domain),
            (xt, t + 500, digit, domain),
            *((xt, t, torch.tensor([d]), domain) for d in range(1, 11)),
            *((xt, t, digit, torch.tensor([d])) for d in range(1, 3)),
        ):
            assert float((net(*change) - base).abs().max()) > 1e-2


def test_labels_scale_a_layer_only_if_told_so() -> None:
    """Of the middle block: (1 + scale) norm(x) + shift against norm(x + shift)."""
    shifted, block = (
        build_digit_unet(config, 0).unet.mid_block.resnets[0] for config in (SMALL, SCALED)
    )
    assert shifted.time_emb_proj.out_features == 64
    assert block.time_emb_proj.out_features == 2 * 64
    given, told = torch.randn(1, 64, 7, 7), torch.zeros(1, 256)
    block.time_emb_proj.bias.data = torch.cat([torch.full((64,), -1.0), torch.full((64,), 0.5)])
    block.conv2.weight.data, block.conv2.bias.data = torch.ones(64, 64, 3, 3), torch.zeros(64)
    with torch.no_grad():
        output = block(given, told) - given
    # A scale of 1 - 1 leaves the shift alone: silu(0.5) in 64 channels of nine pixels.
    assert_close(
        output[..., 1:-1, 1:-1], torch.full((1, 64, 5, 5), 64 * 9 * 0.3112297), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("bf16", [False, True])
def test_convolutions_are_laid_out_as_the_processor_is_fast(bf16: bool) -> None:
    net, seen = build_digit_unet(NetworkConfig(), 0), []
    net.unet.conv_in.register_forward_pre_hook(lambda _, told: seen.append(told[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        net(torch.zeros(2, 3, 28, 28), *torch.zeros(3, 2, dtype=torch.int64))
    assert seen[0].is_contiguous(memory_format=torch.channels_last) is not bf16


def test_rows_of_a_batch_do_not_mix() -> None:
    net = build_digit_unet(SMALL, 0).eval()
    xt, t, digit, domain = inputs(4)
    with torch.no_grad():
        whole = net(xt, t, digit, domain)
        rows = [
            net(xt[i : i + 1], t[i : i + 1], digit[i : i + 1], domain[i : i + 1]) for i in range(4)
        ]
    assert_close(whole, torch.cat(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig(image_size=30), r"network.image_size=30 with patch=2 and 2 levels: .* of 4"),
        (NetworkConfig(patch=3), r"network.image_size=28 with patch=3 .* multiple of 6"),
        (NetworkConfig(channels=(64,)), r"network.attention=.*one value for each of the 1 levels"),
        (NetworkConfig(attention=(True,)), r"network.attention=.*each of the 2 levels"),
    ],
)
def test_refusals(config: NetworkConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DigitUNet(config)


@pytest.mark.parametrize("channels", [(48, 64), (100, 128), (64, 32)])
def test_channels_that_do_not_divide_into_groups_of_several(channels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"network.channels=.*multiples of 32.*from 64 on"):
        DigitUNet(NetworkConfig(channels=channels))


def test_attention_is_at_the_level_told_on_both_ways() -> None:
    net = build_digit_unet(NetworkConfig(channels=(64, 64), attention=(False, True)), 0)
    blocks = {name.split(".attentions")[0] for name in net.state_dict() if ".attentions" in name}
    assert blocks == {"unet.down_blocks.1", "unet.up_blocks.0"}
