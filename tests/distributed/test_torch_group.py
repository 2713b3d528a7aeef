"""Workers of a training listen where those on other nodes reach them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from hw2.distributed import torch_group
from hw2.distributed.torch_group import OwnNetworkConfig, use_own_network
from tests.jobs.command import ROOT


@ray.remote
def interface(told: str | None) -> str | None:
    os.environ.pop("GLOO_SOCKET_IFNAME", None)
    if told:
        os.environ["GLOO_SOCKET_IFNAME"] = told
    use_own_network()
    return os.environ.get("GLOO_SOCKET_IFNAME")


def test_gloo_is_told_the_interface_of_rays_address(ray_session: None) -> None:
    found = ray.get(interface.remote(None))
    listed = subprocess.run(["ip", "-json", "addr", "show", found], capture_output=True, check=True)
    addresses = [one["local"] for one in json.loads(listed.stdout)[0]["addr_info"]]
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


def test_a_group_that_ends_is_left_to_those_who_kill_it(tmp_path: Path) -> None:
    """Taken from workers that compute it would fail them, and a stopped one would be waited for."""
    file = tmp_path / "ending"
    config = OwnNetworkConfig(backend="gloo", ending=file.touch)
    config.backend_cls().on_shutdown(None, config)  # whoever asks a worker fails
    assert file.exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nodes_whose_own_name_leads_to_loopback_train_together(
    digits_tree: Path, tmp_path: Path
) -> None:
    mine = {k: v for k, v in os.environ.items() if k != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    alone = ["unshare", "--map-root-user", "--net", "--mount", sys.executable, "-m"]
    done = subprocess.run(
        [*alone, "tests.distributed.two_networks", str(digits_tree), str(tmp_path / "judge")],
        cwd=ROOT,
        env=mine,
        capture_output=True,
        text=True,
    )
    print(done.stdout, done.stderr, file=sys.stderr)
    assert done.returncode == 0
    assert (tmp_path / "judge" / "final.safetensors").is_file()
    assert "node_rank=1" in done.stderr  # the workers were not on one node
