"""The tags that say what a run was made with."""

import socket
import sys

from hw2.runlog.environment import environment_tags


def test_environment_tags_name_versions_and_commit() -> None:
    tags = environment_tags()
    assert tags["version.python"] == sys.version.split()[0]
    assert tags["version.mlflow"].startswith("3.")
    assert len(tags.get("mlflow.source.git.commit", "0" * 40)) == 40
    assert socket.gethostname() not in tags.values()
