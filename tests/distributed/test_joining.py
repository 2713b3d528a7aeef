"""What a job sets and says where it joins a cluster, and what it holds there on its own."""

import json
import os
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.utils import check_version_info
from ray.dashboard.modules.job import common

from hw2.distributed import session
from hw2.distributed.entrypoint import held_by_entrypoint
from hw2.errors import ConfigError


def test_who_joins_a_cluster_is_told_of_its_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.setattr(ray, "init", lambda **options: done.append("init"))
    for name in ("refuse_silent", "warn_if_open", "warn_if_shared"):
        monkeypatch.setattr(session, name, lambda name=name: done.append(name))
    session._start_or_join()
    assert done == ["refuse_silent", "init", "warn_if_open", "warn_if_shared"]


@pytest.mark.parametrize("error", [ray.exceptions.AuthenticationError("no"), ConnectionError("no")])
def test_a_cluster_that_refuses_the_token(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: Any) -> None:
        raise error

    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(session, "refuse_silent", lambda: None)
    with pytest.raises(
        ConfigError, match=r"^RAY_ADDRESS=there: .* set RAY_AUTH_MODE=token and RAY"
    ):
        session._start_or_join()


def test_a_cluster_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> None:
        check_version_info({"ray_version": "2.1.0", "python_version": "3.11.1"}, "node")

    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(session, "refuse_silent", lambda: None)
    with pytest.raises(ConfigError) as told:
        session._start_or_join()
    assert str(told.value).startswith(
        "RAY_ADDRESS=there: Version mismatch: The cluster was started"
    )
    assert " with: Ray: 2.1.0 Python: 3.11.1 This" in str(told.value)


def test_only_a_ray_of_ones_own_gets_a_token_and_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"RAY_worker_niceness": "5", "RAY_TRAIN_V2_ENABLED": "0"}
    monkeypatch.setattr(os, "environ", told)
    session._set_environment()
    assert told["RAY_worker_niceness"] == "5"  # what a user has set stays
    assert told["RAY_TRAIN_V2_ENABLED"] == "1"  # but for another Train than is used here
    assert told["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert told["RAY_AUTH_MODE"] == "token" and len(told["RAY_AUTH_TOKEN"]) == 64
    assert told["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] == "30"
    assert told["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == "0.1"
    assert told["RAY_USAGE_STATS_ENABLED"] == "0"
    monkeypatch.setattr(os, "environ", told := {"RAY_ADDRESS": "there"})
    session._set_environment()
    assert told["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] == "30"
    assert told["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == "0.5"
    assert not {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} & {*told}


@pytest.mark.parametrize("terminal", [True, False])
def test_workers_speak_in_colours_on_a_terminal_alone(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", told := dict[str, str]())
    monkeypatch.setattr(session.sys, "stderr", SimpleNamespace(isatty=lambda: terminal))
    session._set_environment()
    assert told.get("RAY_COLOR_PREFIX") == (None if terminal else "0")


def test_a_token_that_a_user_has_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", told := {"RAY_AUTH_MODE": "disabled"})
    session._set_environment()
    assert told["RAY_AUTH_MODE"] == "disabled" and "RAY_AUTH_TOKEN" not in told


def test_rays_word_for_a_ray_of_ones_own_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **options: started.append(options))
    monkeypatch.setattr(session, "_own_cores", lambda: 3)
    monkeypatch.setattr(session, "_object_store_bytes", lambda: 5)
    for address in ("local", ""):
        monkeypatch.setattr(os, "environ", told := {"RAY_ADDRESS": address})
        session._set_environment()
        session._start_or_join()
        options = started.pop()
        assert options["address"] == "local" and not options["include_dashboard"]
        assert (options["num_cpus"], options["object_store_memory"]) == (3, 5)
        assert told["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0" and "RAY_AUTH_TOKEN" in told


def test_what_the_job_holds(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Jobs:
        def __init__(self, gcs_client: object) -> None:
            pass

        async def get_info(self, job: str) -> SimpleNamespace | None:
            if job != "mine":
                return None
            return SimpleNamespace(entrypoint_num_cpus=None, entrypoint_num_gpus=2)

    assert held_by_entrypoint() == (0.0, 0.0)
    monkeypatch.setattr(common, "JobInfoStorageClient", Jobs)
    told = {"metadata": {common.JOB_ID_METADATA_KEY: "mine"}}
    monkeypatch.setenv(RAY_JOB_CONFIG_JSON_ENV_VAR, json.dumps(told))
    assert held_by_entrypoint() == (0.0, 2)
    told["metadata"][common.JOB_ID_METADATA_KEY] = "unknown"  # to a head that was started again
    monkeypatch.setenv(RAY_JOB_CONFIG_JSON_ENV_VAR, json.dumps(told))
    assert held_by_entrypoint() == (0.0, 0.0)
