"""What `ray job submit` would lose: a job runs in a copy of the code that Ray throws away."""

from pathlib import Path

from hw2.config import Config, JobConfig
from hw2.errors import ConfigError
from hw2.places import uri_of
from hw2.runlog.addresses import resolve_uri

COPIES = "/runtime_resources/working_dir_files/"  # of a node's session folder


def refuse_lost(config: Config) -> None:
    """Raise ConfigError if the results, or the metrics in a local store, would go to such a copy.

    They would even on a cluster of one node: the next change of the code has another copy.
    """
    out = getattr(config, "out", None)
    if isinstance(out, Path) and not uri_of(out) and COPIES in str(out.absolute()):
        raise ConfigError(
            f"out={out} lies in this job's copy of the code, which Ray throws away: give a path "
            "outside, on storage that all nodes share, or a URI as s3://bucket/folder"
        )
    if isinstance(config, JobConfig) and COPIES in resolve_uri():
        raise ConfigError(
            "the metrics would go to this job's copy of the code, which Ray throws away: give "
            'MLFLOW_TRACKING_URI, by --runtime-env-json \'{"env_vars": {"MLFLOW_TRACKING_URI": '
            '"http://HOST:5000"}}\''
        )
