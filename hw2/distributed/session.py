"""Connecting to Ray: a running cluster where there is one, else a private one on this machine."""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator

LOCAL_OBJECT_STORE_BYTES = 200 * 2**20


@contextlib.contextmanager
def connected(num_cpus: int | None = None) -> Iterator[None]:
    """Ray, connected inside the block.

    Under `ray job submit`, or with RAY_ADDRESS set, that cluster is joined. Otherwise a local Ray
    starts, bound to loopback, with a token that only this process and its workers know, and stops
    with the block.
    """
    joining = bool(os.environ.get("RAY_ADDRESS"))
    _set_environment(joining)
    import ray

    quiet = {"logging_level": logging.WARNING}
    if ray.is_initialized():
        yield
        return
    if joining:
        ray.init(**quiet)
    else:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=LOCAL_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            runtime_env={"worker_process_setup_hook": f"{__name__}.quiet_worker"},
            **quiet,
        )
    try:
        yield
    finally:
        ray.shutdown()


def quiet_worker() -> None:
    """Run in each worker process of a local Ray, which has no dashboard.

    Ray Train's cleaner asks the dashboard every second whether the training lives, and warns each
    time that it cannot be asked. A local Ray dies with its driver and leaves nothing to clean.
    """
    name = "ray.train.v2._internal.execution.controller.placement_group_cleaner"
    logging.getLogger(name).setLevel(logging.ERROR)


def _set_environment(joining: bool) -> None:
    """Ray reads these once, when it is imported."""
    wanted = {
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # `report` waits for the next poll. Many workers on a cluster are polled less often.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5" if joining else "0.1",
    }
    if not joining:
        wanted["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # nobody takes this machine away
        wanted["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # DDP warns that it found no unused weights
        if "RAY_AUTH_MODE" not in os.environ:
            wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def cluster_cpus_and_gpus() -> tuple[int, int]:
    """Whole CPUs and GPUs of the connected cluster."""
    import ray

    resources = ray.cluster_resources()
    return int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
