"""What the workers of a training agree on before they begin, and how many there are."""

import json
from typing import Any

import pytest

from hw2.config import ScalingConfig
from hw2.distributed import session
from hw2.distributed.train import _refuse_unlike, _workers
from hw2.errors import ConfigError


def test_workers_that_read_other_files_are_refused() -> None:
    same = json.dumps({"kind": "judge", "data_hash": "aa"})
    other = json.dumps({"kind": "judge", "data_hash": "bb"})
    _refuse_unlike([same, same])
    with pytest.raises(ConfigError, match="data_hash=bb on worker 2, aa on worker 0: the nodes"):
        _refuse_unlike([same, same, other])


@pytest.mark.parametrize(
    ("nodes", "told", "workers"),
    [
        ([(8, 0)], {}, 8),
        ([(4, 1)] * 4, {}, 1),  # a small network keeps one waiting
        ([(4, 1)] * 4, {"num_workers": 4}, 4),
        ([(4, 0)] * 2, {"min_workers": 1}, (1, 21)),
    ],
)
@pytest.mark.parametrize("grows", [False, True])
def test_how_many_workers_a_training_has(
    nodes: list[tuple[float, float]],
    told: dict[str, int],
    workers: Any,
    grows: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "_nodes", lambda: nodes)
    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.setenv("HW2_CLUSTER_GROWS", "1" if grows else "0")
    if grows and told == {"min_workers": 1}:
        workers = (1, 8)  # those that are there: for what nobody told none is brought
    assert _workers(ScalingConfig(**told), 256) == (workers, nodes[0][1] > 0)
