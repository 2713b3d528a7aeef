"""What each process of a local Ray does first. All of them import this file: keep it light."""

import logging
import os


def prepare() -> None:
    """Called in each process of a local Ray, which has no dashboard.

    Ray Train's cleaner asks the dashboard every second whether the training lives. It warns each
    time that there is none, and fails loudly where it finds several Rays on the machine. A local
    Ray dies with its driver and leaves nothing to clean.
    """
    import ray

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    cleaner = "ray.train.v2._internal.execution.controller.placement_group_cleaner"
    logging.getLogger(cleaner).setLevel(logging.ERROR)
