"""The device that a process computes on, and why it is not a GPU."""

import pickle
import warnings
from collections.abc import Iterator

import pytest
import torch

from hw2.config import ScalingConfig
from hw2.distributed import devices
from hw2.distributed.batch import PIECE, _actor
from hw2.distributed.devices import driver_device, number_format
from hw2.errors import ConfigError

OLD = "The NVIDIA driver on your system is too old (found version 12040)"
ODD = "Unexpected error from cudaGetDeviceCount(). Did you? Error 802: system not yet initialized"


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing is known of the driver yet, nor afterwards."""
    devices._said_of_driver.cache_clear()
    yield
    devices._said_of_driver.cache_clear()


@pytest.mark.parametrize(
    ("visible", "warned", "why"),
    [
        ("0", f"CUDA initialization: {OLD}. Please update your driver", f"no GPU here ({OLD})"),
        ("0", f"CUDA initialization: {ODD} (Triggered internally at x)", f"no GPU here ({ODD})"),
        ("0", "of something else", "no GPU here, or a driver that is too old for it"),
        ("", None, "CUDA_VISIBLE_DEVICES= hides all GPUs"),
        ("-1", None, "CUDA_VISIBLE_DEVICES=-1 hides all GPUs"),
    ],
)
def test_why_there_is_no_gpu_is_told(
    visible: str, warned: str | None, why: str, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsaid = [warned] if warned else []

    def is_available() -> bool:
        if unsaid:  # torch says it once in a process
            warnings.warn(unsaid.pop(), stacklevel=1)
        return False

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    for _ in range(2):
        assert str(devices.gpu_refusal()).removeprefix("torch finds ") == why


def test_a_gpu_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_device_capability() -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nSearch for it")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", get_device_capability)
    why = "the GPU does not answer (CUDA error: uncorrectable ECC error encountered)"
    assert devices.gpu_refusal() == why


def test_an_actor_on_a_node_whose_gpu_is_of_no_use_names_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "gpu_refusal", lambda: "the driver is too old")
    monkeypatch.setattr("platform.node", lambda: "there")
    batch, make = {PIECE: [pickle.dumps({})]}, _actor(lambda on_gpu: lambda piece: piece)
    told = pickle.loads(make(True)(batch)[PIECE][0])
    assert isinstance(told, ConfigError)
    assert str(told).startswith("node there: the driver is too old: mend that, or give")
    assert pickle.loads(make(False)(batch)[PIECE][0]) == {}


@pytest.mark.parametrize(
    ("num_workers", "use_gpu", "joined", "device"),
    [
        (0, None, False, "cpu"),
        (0, True, False, "cuda"),
        (None, None, False, "cuda"),
        (None, False, False, "cpu"),
        (None, None, True, "cpu"),
        (None, True, True, "cuda"),
    ],
)
def test_the_job_itself_computes_where_its_workers_did(
    num_workers: int | None,
    use_gpu: bool | None,
    joined: bool,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "joining", lambda: joined)
    monkeypatch.setattr(devices, "gpu_refusal", lambda: None)
    scaling = ScalingConfig(num_workers=num_workers, use_gpu=use_gpu)
    assert driver_device(scaling).type == device
    if num_workers is None:  # the head of a cluster may have none
        monkeypatch.setattr(devices, "gpu_refusal", lambda: "none")
        assert driver_device(scaling).type == "cpu"


@pytest.mark.parametrize("native", [False, True])
def test_auto_is_named_by_what_it_means_here_but_not_for_a_cluster(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hw2.precision.wants_bf16", lambda precision, device: native)
    scaling = ScalingConfig(num_workers=0)
    assert number_format("auto", scaling) == ("bf16" if native else "fp32")
    assert number_format("fp32", scaling) == "fp32"
    monkeypatch.setattr(devices, "joining", lambda: True)
    assert number_format("auto", scaling) == "auto"


@pytest.mark.parametrize(
    ("capability", "made_for", "runs"),
    [
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 9), ["sm_75", "sm_80", "sm_86"], True),  # code of the same generation, older
        ((6, 1), ["sm_75", "sm_80"], False),
        ((10, 3), ["sm_90a", "sm_100", "sm_120"], True),
        ((12, 1), ["sm_90", "compute_90"], True),  # made into its own when it is first used
        ((12, 1), ["sm_90", "sm_100"], False),
    ],
)
def test_which_gpus_torch_is_made_for(
    capability: tuple[int, int],
    made_for: list[str],
    runs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: made_for)
    why = devices.gpu_refusal()
    told = f"Card is of compute capability {capability[0]}.{capability[1]}, and torch "
    assert why is None if runs else why is not None and why.startswith(told)
