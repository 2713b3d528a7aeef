"""What is said when the workers of a training fail."""

import logging

import pytest
from ray.exceptions import RayActorError
from ray.train.v2._internal.util import construct_user_exception_with_traceback
from ray.train.v2.api.exceptions import WorkerGroupError

from hw2.distributed import failures as told
from hw2.distributed.failures import MAX_FAILURES, Failures, LostAnotherWorker, seeing_lost

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


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[pair.cc:545] Read error [10.0.0.2]:3483: Connection reset by peer."), True),
        (RuntimeError("[pair.cc:553] Connection closed by peer [10.0.0.2]:9"), True),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ConnectionResetError("Connection reset by peer"), False),  # of a file server, say
    ],
)
def test_whoever_lost_another_worker_says_so(
    error: Exception, lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    tracebacks = logging.getLogger(told.TRACEBACKS)
    before = list(tracebacks.filters)
    try:
        with pytest.raises(LostAnotherWorker if lost else type(error)) as found, seeing_lost():
            raise error
        construct_user_exception_with_traceback(found.value)
    finally:
        tracebacks.filters[:] = before
    assert str(found.value) == str(error) and (found.value is not error) == lost
    assert bool(caplog.records) != lost


def test_rays_controller_tells_what_we_do_not(caplog: pytest.LogCaptureFixture) -> None:
    """A group that could not begin in a line, decisions not at all, anything else as it is."""
    names = [f"{told.CONTROLLER}.{name}" for name in ("controller.controller", "failure_handling")]
    loggers = [logging.getLogger(names[0]), logging.getLogger(f"{names[1]}.default")]
    before = [list(logger.filters) for logger in loggers]
    caplog.set_level(logging.INFO)
    try:
        told.say_less()
        for error in (ValueError("The worker group startup timed out after 20 s"), KeyError("x")):
            try:
                raise error
            except (ValueError, KeyError) as raised:
                loggers[0].exception("Error in control loop iteration: %s", raised)
        loggers[1].info("[FailurePolicy] RETRY")
    finally:
        for logger, filters in zip(loggers, before, strict=True):
            logger.filters[:] = filters
    first, second = caplog.records
    assert first.getMessage().startswith("not all workers could begin") and not first.exc_info
    assert second.getMessage().startswith("Error in control loop") and second.exc_info
