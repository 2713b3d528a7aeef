"""Connecting to Ray: a running cluster where there is one, else a private one on this machine."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hw2.bucket.mirror import Mirror
from hw2.config import ScalingConfig
from hw2.distributed.devices import own_device
from hw2.distributed.exposure import warn_if_open
from hw2.distributed.reach import joining, refuse_long_folder, refuse_silent
from hw2.distributed.room import share_of_cluster
from hw2.distributed.token_file import warn_if_shared
from hw2.errors import ConfigError, StorageError

OBJECT_STORE_BYTES = 200 * 2**20  # of a local Ray, for each CORES_A_STORE
CORES_A_STORE = 8
SHARED_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def connected(scaling: ScalingConfig) -> Iterator[None]:
    """Ray, connected inside the block; in a block within, the same Ray.

    With RAY_ADDRESS set, as under `ray job submit`, that cluster is joined. Otherwise a local Ray
    starts, bound to loopback, with a token that only this process and its workers know, and stops
    with the block. `scaling.num_workers` 0 wants no Ray.

    Raises ConfigError if the cluster is smaller than `scaling`, does not answer or refuses us, and
    StorageError for what does not fit into a node's object store, nor on the disk behind it.
    """
    if scaling.num_workers == 0:
        own_device(scaling)  # refused before anything is written
        yield
        return
    _set_environment()
    import ray

    with contextlib.ExitStack() as begun:
        if not ray.is_initialized():
            with _own_signals():
                _start_or_join()
            begun.callback(ray.shutdown)
        share_of_cluster(scaling, 1)
        with _refusing_full():
            yield


@contextlib.contextmanager
def _refusing_full() -> Iterator[None]:
    import ray

    try:
        yield
    except (ray.exceptions.OutOfDiskError, ray.exceptions.ObjectStoreFullError):
        raise StorageError(
            "a node's object store is full, and so is the disk that Ray moves objects to (below "
            "RAY_TMPDIR, else /tmp): make room there, or give each piece of work less to do at once"
        ) from None


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """What SIGTERM does is after the block what it was before, also if Ray does not start.

    By Ray's handlers the process aborts three seconds after the signal, and the SystemExit before
    that is lost where the driver waits in `ray.get`.
    """
    mine = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(mine) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, mine)


def _start_or_join() -> None:
    import ray
    import ray._private.ray_logging as told

    if not sys.stderr.isatty():
        told._color = str  # else escapes around "repeated 2x", which RAY_COLOR_PREFIX leaves
    if joining():
        refuse_silent()
        try:
            ray.init(logging_level=logging.WARNING)
        # Without a token Ray says only that it cannot connect.
        except (ray.exceptions.AuthenticationError, ConnectionError) as error:
            raise ConfigError(
                f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: the cluster answers and cannot be joined"
                " (it refuses this token, or wants one): set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN_PATH to the cluster's token file"
            ) from error
        except RuntimeError as error:
            if not str(error).startswith("Version mismatch"):
                raise
            raise ConfigError(
                f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: {' '.join(str(error).split())}: "
                "take the cluster's Python and Ray, or submit the job (`ray job submit`)"
            ) from error
        warn_if_open()
        warn_if_shared()
    else:
        refuse_long_folder()
        ray.init(
            address="local",
            num_cpus=_own_cores(),
            include_dashboard=False,
            object_store_memory=_object_store_bytes(),
            logging_level=logging.WARNING,
        )


def _own_cores() -> int | None:
    """The cores that this process was given (taskset, Slurm) where those are not the machine's.

    Ray knows of containers' quotas alone.
    """
    cores = len(os.sched_getaffinity(0))
    return cores if cores < (os.cpu_count() or 1) else None


def _object_store_bytes() -> int:
    """More on a large machine, whose readers and GPUs hold more at once, if there is room."""
    wanted = OBJECT_STORE_BYTES * ((os.cpu_count() or 1) // CORES_A_STORE)
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return max(OBJECT_STORE_BYTES, min(wanted, free // 4))


def _set_environment() -> None:
    """Ray reads these once, when it is imported."""
    wanted = {
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "30",  # 10 minutes until a stuck one is replaced
    }
    if not sys.stderr.isatty():
        wanted["RAY_COLOR_PREFIX"] = "0"  # no escapes in `ray job logs` before what workers say
    if joining():
        wanted["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.5"
    else:
        wanted |= {
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # `report` waits for the next of them
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes this machine away
            # By this name Ray binds all to loopback, on any system; a node IP of 127.0.0.1, which
            # would say it better, is replaced by the machine's own address.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_prestart_worker_first_driver": "0",  # one a core, of which a training uses none
            "RAY_worker_niceness": "0",  # 15: whatever else the machine does would come first
            "RAY_USAGE_STATS_ENABLED": "0",  # an actor for them in each job, and words to the maker
        }
        if "RAY_AUTH_MODE" not in os.environ:
            wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"  # others switch it off; this is built on it


def ray_storage(out: Path, mirror: Mirror | None) -> dict[str, Any]:
    """Where Ray keeps what it wants to keep for itself, which all nodes must see: OUT/ray."""
    if mirror is None:
        return {"storage_path": str((out / "ray").resolve())}
    return {"storage_path": mirror.bucket.path("ray"), "storage_filesystem": mirror.bucket.files}


def clear_ray_storage(out: Path, mirror: Mirror | None) -> None:
    """Remove what Ray kept there, from which nothing goes on."""
    if mirror is None:
        shutil.rmtree(out / "ray", ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            mirror.bucket.files.delete_dir(mirror.bucket.path("ray"))
