"""Which points Tune's trials are at: given ones, or those that Optuna asks for."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hw2.errors import ConfigError
from hw2.settings.sweeps import Dimension, SweepConfig
from hw2.sweeps.kept import kept_points
from hw2.sweeps.space import Point


def searched(
    points: Sequence[Point], config: SweepConfig, out: Path
) -> tuple[dict[str, Any], Any, int]:
    """Tune's space, searcher and number of trials."""
    from ray import tune

    if config.search.method != "optuna":
        return {"point": tune.grid_search(list(points))}, None, 1
    try:
        from ray.tune.search.optuna import OptunaSearch

        begun = _begun(config, out)  # comes first: its trials look it up or go on; Optuna learns
        search = OptunaSearch(
            space=_optuna_space(config.space),
            metric=config.metric,
            mode=config.mode,
            seed=(config.seed + len(begun)) % 2**32,  # with the same it would ask the same again
            points_to_evaluate=[{k: _coded(v) for k, v in p.items()} for p in begun],
        )
    except ImportError:
        raise ConfigError("search.method=optuna: pip install optuna, or use random") from None
    return {}, search, num_asked(config, out)


def num_asked(config: SweepConfig, out: Path) -> int:
    """How many trials a sweep by Optuna has: as told, those begun before counted, and no fewer."""
    return max(config.search.num_trials, len(_begun(config, out)))


def _begun(config: SweepConfig, out: Path) -> list[Point]:
    return [point for point in kept_points(out) if _lies_in(point, config.space)]


def point_of(config: Mapping[str, Any]) -> Point:
    """The point of a trial, as Tune's grid or as Optuna hands it out."""
    if "point" in config:
        return dict(config["point"])
    return {k: json.loads(v) if str(v).startswith("[") else v for k, v in config.items()}


def _coded(value: Any) -> Any:
    """`value` as Optuna can have it: a list as JSON."""
    return json.dumps(value) if isinstance(value, (list, tuple)) else value


def _lies_in(point: Point, space: Mapping[str, Dimension]) -> bool:
    """Whether Optuna could ask for `point`."""
    if point.keys() != space.keys():
        return False
    for key, dimension in space.items():
        kind, value = dimension.kind_and_value
        if kind == "choice":
            inside = _coded(point[key]) in map(_coded, value)
        elif kind == "randint":
            inside = type(point[key]) is int and value[0] <= point[key] < value[1]
        else:
            inside = isinstance(point[key], float) and value[0] <= point[key] <= value[1]
        if not inside:
            return False
    return True


def _optuna_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    of, found = optuna.distributions, dict[str, Any]()
    for key, dimension in space.items():
        kind, value = dimension.kind_and_value
        if kind == "choice":
            found[key] = of.CategoricalDistribution([_coded(choice) for choice in value])
        elif kind == "randint":
            found[key] = of.IntDistribution(value[0], value[1] - 1)  # included
        else:
            found[key] = of.FloatDistribution(value[0], value[1], log=kind == "loguniform")
    return found
