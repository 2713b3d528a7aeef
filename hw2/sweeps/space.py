"""From a search space to the list of its points."""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from hw2.config import Config
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.disclosure import warn
from hw2.errors import ConfigError, nearest
from hw2.schema import fields_of, show, want
from hw2.settings.sweeps import Dimension, SearchConfig, SweepConfig

Point = dict[str, Any]
# Keys that say which trials are run and shown; what a trial draws does not depend on them, so that
# a sweep may be widened in the same folder.
NOT_RESULTS = (
    *("space", "search", "scheduler", "samples", "metric", "mode", "rule", "baseline"),
    *("gpus_per_trial", "max_failures"),
)
MAX_POINTS = 10_000
# What figures call a setting.
SHORT = {"guidance_weight": "w", "num_inference_steps": "steps", "guidance_interval": "interval"}
C = TypeVar("C", bound=Config)


def points_of(space: Mapping[str, Dimension], search: SearchConfig, seed: int) -> list[Point]:
    """All combinations of the grids, each with `num_trials` draws of the other dimensions.

    Draw i of a dimension depends on (seed, i, place of the dimension) alone, so that more trials
    keep those that were. Equal points count once.
    """
    kinds = {key: dimension.kind_and_value for key, dimension in space.items()}
    grids = {key: value for key, (kind, value) in kinds.items() if kind == "grid"}
    drawn = [key for key in kinds if key not in grids]
    combinations = [
        dict(zip(grids, values, strict=True)) for values in itertools.product(*grids.values())
    ]
    found: dict[str, Point] = {}
    for trial in range(search.num_trials if drawn else 1):
        numbers = CounterRandom(seed, trial, range(len(drawn))).uniform(Stream.SEARCH).tolist()
        extra = {
            key: _drawn(*kinds[key], number) for key, number in zip(drawn, numbers, strict=True)
        }
        for combination in combinations:
            point = {key: (combination | extra)[key] for key in kinds}
            found.setdefault(key_of(point), point)
    return list(found.values())


def _drawn(kind: str, value: tuple[Any, ...], number: float) -> Any:
    """The value at `number` in [0, 1) of a choice or a range."""
    if kind == "choice":
        return value[int(number * len(value))]
    low, high = value
    if kind == "randint":
        return low + int(number * (high - low))
    if kind == "loguniform":
        return math.exp(math.log(low) + number * (math.log(high) - math.log(low)))
    return low + number * (high - low)


def key_of(settings: Mapping[str, Any]) -> str:
    """A short name that settings alone decide: the same for 2 and 2.0."""
    plain = {k: float(v) if type(v) is int else v for k, v in settings.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def is_number(value: Any) -> bool:
    """Whether a value of a point can be an axis: True and False cannot."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def label_of(point: Mapping[str, Any], exact: bool = False) -> str:
    """What a figure calls a point: eta=0.5, num_inference_steps=20; `exact`: with all digits."""
    return ", ".join(f"{SHORT.get(key, key)}={_shown(v, exact)}" for key, v in point.items())


def _shown(value: Any, exact: bool) -> str:
    if isinstance(value, (list, tuple)):
        return "-".join(_shown(item, exact) for item in value)
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.4g}"
    return repr(value) if exact and float(short) != value else short


def checked_points(config: SweepConfig, base: C, check: Callable[[C], object]) -> list[Point]:
    """The points of a sweep over `base`, none with Optuna, which asks for its own.

    Raises ConfigError if a point, or an end of a range, is impossible.
    """
    for key, dimension in config.space.items():
        kind, _ = dimension.kind_and_value
        field = type(base).model_fields.get(key)
        if field and field.annotation is int and kind in ("uniform", "loguniform"):
            raise ConfigError(
                f"space.{key}: {kind} draws fractions, and this takes whole numbers: use randint, "
                "choice or grid"
            )
        for value in dimension.outermost:
            resolve(base, {key: value})
    if config.search.method == "optuna":
        return []
    kinds = [dimension.kind_and_value for dimension in config.space.values()]
    count = math.prod(len(value) for kind, value in kinds if kind == "grid")
    if any(kind != "grid" for kind, _ in kinds):
        count *= config.search.num_trials
    if count > MAX_POINTS:
        raise ConfigError(
            f"space: {count} points, and at most {MAX_POINTS} are swept: give shorter grids, or "
            "fewer search.num_trials"
        )
    points = points_of(config.space, config.search, config.seed)
    for point in points:
        resolve(base, point, check)
    keys = {key_of(point) for point in points}
    known = config.baseline.keys() <= config.space.keys()
    if known and not any(key_of(point | config.baseline) in keys for point in points):
        warn(
            f"baseline: {label_of(config.baseline)} is none of the points: without it in the space "
            "there are no differences"
        )
    return points


def resolve(
    base: C, point: Mapping[str, Any], check: Callable[[C], object] = lambda settings: None
) -> C:
    """`base` with the values of `point`, checked. Raises ConfigError that names key and value."""
    fields = type(base).model_fields
    unknown = [key for key in point if key not in fields]
    if unknown:
        near = nearest(unknown[0], fields)
        hint = f"{near} Use" if near else "use"
        known = ", ".join(fields)
        raise ConfigError(f"space.{unknown[0]}: no such setting to sweep: {hint} one of {known}")
    try:
        settings = type(base).model_validate_json(
            json.dumps(base.model_dump(mode="json") | dict(point)), strict=True
        )
        check(settings)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False)[0]
        key = str(error["loc"][0]) if error["loc"] else ""
        said = error["msg"].removeprefix("Value error, ")
        if key and error["type"] != "value_error":
            schema = type(base).model_json_schema()
            said = f"want {want(fields_of(schema, schema.get('$defs', {}))[key])}"
        raise ConfigError(f"space.{key}: {show(point.get(key))}: {said}") from None
    except ConfigError as error:
        raise ConfigError(f"space: {label_of(point)}: {error}") from None
    return settings
