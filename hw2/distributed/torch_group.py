"""How workers of a training find each other: torch's process group on the nodes' own network."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig

from hw2.distributed.devices import gpu_refusal
from hw2.distributed.leaving import save_first

SAVING_SECONDS = 15.0  # a step and a checkpoint; else what follows the one before is repeated


def use_own_network() -> None:
    """Let gloo listen on the interface that has the address by which Ray knows this node.

    By itself it takes the address of the machine's name, which is a loopback one on Debian and
    Ubuntu (127.0.1.1 in /etc/hosts): other nodes do not reach it. A GLOO_SOCKET_IFNAME that is set
    stays, and where no interface has Ray's address gloo is left to itself.
    """
    own = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if own in (address.address for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


@dataclass
class OwnNetworkConfig(TorchConfig):
    """Ray's TorchConfig, with `use_own_network` in each worker before it joins the group.

    Where a GPU is of no use, the group is one of processors: by it the workers tell why.
    `ending` is called, on the job's node, as the workers are about to be ended.
    """

    ending: Callable[[], None] = lambda: None

    @property
    def backend_cls(self) -> type:
        return _Backend


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(use_own_network)
        if backend_config.backend == "nccl" and any(worker_group.execute(gpu_refusal)):
            backend_config = replace(backend_config, backend="gloo")
        super().on_start(worker_group, backend_config)

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Have workers that are well save what they did, for a group of another size that follows.

        The group stays as it is: its processes are killed next.
        Ray's own takes it from a worker that computes, which fails with a traceback, and waits half
        a minute for one that is stopped.
        """
        status = worker_group.get_latest_poll_status()
        if status is not None and not status.finished and not status.errors:
            with contextlib.suppress(ray.exceptions.RayError):  # of one that is lost just now
                saving = worker_group.execute_single_async(0, save_first, SAVING_SECONDS)
                ray.get(saving, timeout=SAVING_SECONDS)
        if isinstance(backend_config, OwnNetworkConfig):
            backend_config.ending()
