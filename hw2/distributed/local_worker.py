"""What each process of a local Ray does first. All of them import this file: keep it light."""

import logging
import os


def prepare() -> None:
    """Called in each process of a local Ray, which has no dashboard.

    Ray Train's cleaner asks the dashboard every second whether the training lives. It warns each
    time that there is none, and fails loudly where it finds several Rays on the machine. A local
    Ray dies with its driver and leaves nothing to clean. Of a worker that died it shows a traceback
    where it stops the others, which a training outlives: its own line `worker 0 failed` says it.
    """
    import ray

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    for name in ("execution.controller.placement_group_cleaner", "callbacks.backend_setup"):
        logging.getLogger(f"ray.train.v2._internal.{name}").setLevel(logging.ERROR)
