"""What is said when the workers of a training fail."""

import pytest
from ray.exceptions import RayActorError
from ray.train.v2.api.exceptions import WorkerGroupError

from hw2.distributed.failures import MAX_FAILURES, Failures

AGAIN = "the workers start again from the newest checkpoint, at most 8 times in all"
GIVEN_UP = "the workers failed more than 8 times: given up"


def test_the_last_failure_promises_no_new_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Against Ray's own policy, which decides after it has told."""
    from ray.train import FailureConfig
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
    from ray.train.v2._internal.execution.failure_handling import create_failure_policy

    policy = create_failure_policy(FailureConfig(max_failures=MAX_FAILURES))
    away = RayActorError(preempted=True)
    taken = [WorkerHealthCheckFailedError("away", away), away, away]
    errors = [ValueError("mine")] * 5 + taken + [ValueError("mine")] * 4
    failures, said, decided = Failures(), [], []
    for error in errors:
        failures.tell({1: error, 0: KeyError("of the other")})
        first, second, follows = capsys.readouterr().err.splitlines()
        assert first == "worker 0 failed: KeyError"
        assert second == f"worker 1 failed: {type(error).__name__}"
        said.append(follows)
        decision = policy.make_decision(WorkerGroupError("", {1: error}))
        decided.append({"RETRY": AGAIN, "RAISE": GIVEN_UP}[decision.value])
    assert said == decided == [AGAIN] * 11 + [GIVEN_UP]
