"""A pytest plugin: a bucket on loopback."""

from collections.abc import Iterator

import pytest

from tests.buckets import VARIABLES, BucketServer


@pytest.fixture(scope="module")
def bucket_server() -> Iterator[BucketServer]:
    """A server, whose keys this process and those that it starts have."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        started = BucketServer()
        yield started
        started.stop()
