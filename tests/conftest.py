"""What all tests share: shapes checked at run time, a quiet environment, one Ray, one tree."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Read by Ray, MLflow and OpenMP when they are imported, and inherited by every process started.
os.environ.update(
    RAY_AUTH_MODE="disabled",  # this Ray listens on loopback alone; the default writes ~/.ray
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # by this name Ray binds all its ports to loopback
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.1",  # `report` waits for it: 1.5 s by default
    RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="60",
    RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S="120",  # a hang fails a test, not after 30 minutes
    MLFLOW_DISABLE_TELEMETRY="true",
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",  # seven more processes, for judging language models
    DO_NOT_TRACK="true",
    OMP_NUM_THREADS="1",
    MPLBACKEND="Agg",
)
# Where a shell starts the tests in its background, Ctrl-C is ignored, by their processes too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)  # tests never write into a cluster or store of the user's

# Shapes and types of all annotations in hw2 are checked; so hw2 must not be imported before this.
# The "tower" lets an int pass for a float, as Python's typing does.
install_import_hook("hw2", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


class ByFixtures(LoadScopeScheduling):
    """A file's tests in one process, for the fixtures that they share; a tracking server's too."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file == "tests/attacks/test_secrets.py":
            return "tests/runlog/test_tracking_server.py"
        return "tests/mlflow_server" if file.startswith("tests/mlflow_server/") else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest group first: at the end no process works alone."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/mlflow_server/"))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFixtures:
    return ByFixtures(config, log)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums in the same order on every machine, and no fight over few cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Makes the tables of a tracking store in a new file: a copy of the first that MLflow made."""
    from hw2 import tracking

    first, make = tmp_path_factory.mktemp("tables") / "tables.db", tracking._make_tables

    def copied(path: Path) -> None:
        if not first.exists():
            make(first)
        shutil.copyfile(first, path)

    return copied


@pytest.fixture(scope="module", autouse=True)
def tables_made_once(make_tables: Callable[[Path], None]) -> Iterator[None]:
    """A new store costs no second, but for processes that tests start.

    A module that has a fixture of this name has MLflow make each.
    """
    from hw2 import tracking

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "_make_tables", make_tables)
        yield


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests of the session; four logical CPUs whatever the machine has."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=150 * 2**20,
        _node_ip_address="127.0.0.1",
        logging_level="WARNING",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def digits_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An offline tree of 200 train and 100 val pictures a domain. Do not change it."""
    from hw2.data.tree import prepare_digits

    root = tmp_path_factory.mktemp("tree")
    prepare_digits(root, seed=0, num_train=200, num_val=100)
    return root
