"""A pytest plugin: the stores that tests share, because making them takes seconds."""

from collections.abc import Iterator

import pytest

from hw2.tracking import prepare_store
from tests.stores import Server


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sqlite store with its tables."""
    folder = tmp_path_factory.mktemp("store")
    for name in ("mlflow.db.new", "mlflow.db.new-journal"):  # left by a kill in the first start
        (folder / name).write_bytes(b"half a database" * 100)
    uri = f"sqlite:///{folder}/mlflow.db"
    prepare_store(uri, "digits")
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
    return uri


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[Server]:
    """A tracking server on loopback that writes to `store`."""
    server = Server(tmp_path_factory.mktemp("server"), store)
    server.start()
    server.wait()
    yield server
    server.kill()
