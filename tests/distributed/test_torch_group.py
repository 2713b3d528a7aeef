"""Workers of a training listen where those on other nodes reach them."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray

from hw2.distributed import torch_group
from hw2.distributed.leaving import Leaving, save_first
from hw2.distributed.torch_group import OwnNetworkConfig, use_own_network
from tests.jobs.command import ROOT
from tests.networks import alone
from tests.waiting import wait_for


@ray.remote
def interface(told: str | None) -> str | None:
    os.environ.pop("GLOO_SOCKET_IFNAME", None)
    if told:
        os.environ["GLOO_SOCKET_IFNAME"] = told
    use_own_network()
    return os.environ.get("GLOO_SOCKET_IFNAME")


def test_gloo_is_told_the_interface_of_rays_address(ray_session: None) -> None:
    found = ray.get(interface.remote(None))
    addresses = [one.address for one in psutil.net_if_addrs()[found]]
    assert ray.util.get_node_ip_address() in addresses


def test_an_interface_that_is_told_stays(ray_session: None) -> None:
    assert ray.get(interface.remote("eth7")) == "eth7"


class Workers:
    """Two workers, of which the second says what it is given."""

    def __init__(self, said: str | None) -> None:
        self.said = said

    def execute(self, ask: Callable[[], str | None]) -> list[str | None]:
        return [None, self.said if ask is torch_group.gpu_refusal else None]


@pytest.mark.parametrize(
    ("backend", "said", "joined"),
    [("nccl", None, "nccl"), ("nccl", "too old", "gloo"), ("gloo", "none", "gloo")],
)
def test_workers_one_of_whom_has_a_gpu_of_no_use_meet_all_the_same(
    backend: str, said: str | None, joined: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = OwnNetworkConfig(backend=backend).backend_cls
    begun: list[str] = []
    monkeypatch.setattr(
        kind.__base__, "on_start", lambda _, group, config: begun.append(config.backend)
    )
    kind().on_start(Workers(said), OwnNetworkConfig(backend=backend))
    assert begun == [joined]


class Ending:
    """A group that ends, and notes which ranks of it are asked for what."""

    def __init__(self, status: object, answer: Callable[[], object]) -> None:
        self.status, self.answer = status, answer
        self.asked: list[tuple[int, object]] = []

    def get_latest_poll_status(self) -> object:
        """As Ray's: what it last heard of the workers."""
        return self.status

    def execute_single_async(self, rank: int, ask: object, seconds: float) -> ray.ObjectRef:
        """As Ray's; `answer` is what the worker does."""
        self.asked.append((rank, ask))
        return ray.remote(max_retries=0)(self.answer).remote()


def well() -> bool:
    """A worker that saves."""
    return True


def lost() -> None:
    """A worker that is gone."""
    os._exit(1)


WELL = SimpleNamespace(finished=False, errors={})


@pytest.mark.parametrize(
    ("status", "answer", "asked"),
    [
        (WELL, well, True),
        (WELL, lost, True),
        (None, well, False),
        (SimpleNamespace(finished=True, errors={}), well, False),
        (SimpleNamespace(finished=False, errors={1: ValueError()}), well, False),
    ],
)
def test_a_group_that_ends_is_left_to_those_who_kill_it(
    ray_session: None,
    tmp_path: Path,
    status: object,
    answer: Callable[[], object],
    asked: bool,
) -> None:
    """Only where all are well, and so to be more or fewer, does worker 0 save before."""
    file, group = tmp_path / "ending", Ending(status, answer)
    config = OwnNetworkConfig(backend="gloo", ending=file.touch)
    config.backend_cls().on_shutdown(group, config)
    assert group.asked == [(0, save_first)] * asked
    assert file.exists()


def test_a_training_beside_is_waited_for_until_it_has_saved() -> None:
    context = SimpleNamespace(preemption_context=SimpleNamespace(preemption_info=None))
    leaving, looked = Leaving(), list[bool]()
    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(1) as beside:
        patched.setattr("ray.train.v2._internal.execution.context.get_train_context",
                        lambda: context)  # fmt: skip
        assert not leaving()
        saved = beside.submit(save_first, 30.0)
        wait_for(lambda: looked.append(leaving()) or looked[-1])
        assert not saved.done()  # it is about to
        assert not leaving()
        assert saved.result()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nodes_whose_own_name_leads_to_loopback_train_together(
    digits_tree: Path, tmp_path: Path
) -> None:
    mine = {k: v for k, v in os.environ.items() if k != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    command = [*alone("--mount"), sys.executable, "-m", "tests.distributed.two_networks"]
    done = subprocess.run(
        [*command, str(digits_tree), str(tmp_path / "judge")],
        cwd=ROOT,
        env=mine,
        capture_output=True,
        text=True,
    )
    print(done.stdout, done.stderr, file=sys.stderr)
    assert done.returncode == 0
    assert (tmp_path / "judge" / "final.safetensors").is_file()
    assert "node_rank=1" in done.stderr  # the workers were not on one node
