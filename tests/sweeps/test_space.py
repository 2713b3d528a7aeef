"""Points of a space, their names, and what is refused before anything is made."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hw2.config import load
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.digits.drawing import check_sampling
from hw2.digits.sweep import shown
from hw2.errors import ConfigError
from hw2.settings.digits import DiffusionConfig, SampleSettings
from hw2.settings.sweeps import Dimension, SearchConfig, TuneGuidanceConfig
from hw2.sweeps.report import check_metrics
from hw2.sweeps.space import Point, checked_points, key_of, label_of, points_of, resolve


def points(space: dict[str, Any], seed: int = 0, **search: Any) -> list[Point]:
    dimensions = {key: Dimension(**dimension) for key, dimension in space.items()}
    return points_of(dimensions, SearchConfig(**search), seed)


def config(space: dict[str, Any], **more: Any) -> TuneGuidanceConfig:
    return TuneGuidanceConfig.model_validate({"out": "never", "space": space} | more)


def checked(space: dict[str, Any], **more: Any) -> list[Point]:
    """As jobs.tune_guidance does."""
    made = config(space, **more)
    found = checked_points(
        made, made.part(SampleSettings), lambda one: check_sampling(one, DiffusionConfig())
    )
    check_metrics(made, shown(made.data.root))
    return found


def test_a_grid_is_every_combination_once_in_order() -> None:
    found = points({"a": {"grid": [1, 2.0, 1.0]}, "b": {"grid": ["p", "q"]}}, num_trials=7)
    assert found == [{"a": a, "b": b} for a in (1, 2.0) for b in ("p", "q")]


def test_draws_stay_within_their_ranges_and_fill_them() -> None:
    space = {
        "even": {"uniform": [-1, 3]},
        "ratio": {"loguniform": [0.01, 100]},
        "name": {"choice": ["ddim", "unipc", "dpmpp"]},
        "whole": {"randint": [-2, 3]},
    }
    found = points(space, method="random", num_trials=400)
    assert len(found) == 400
    assert list(found[0]) == list(space)
    even, ratio = [p["even"] for p in found], [p["ratio"] for p in found]
    assert -1 <= min(even) < -0.9 and 2.9 < max(even) < 3
    assert 0.01 <= min(ratio) < 0.02 and 50 < max(ratio) < 100
    # The mean of 400 even draws is normal about 1, with a deviation of 4 / sqrt(12 * 400).
    assert abs(sum(even) / 400 - 1) < 4 * 4 / math.sqrt(12 * 400)
    assert abs(sum(map(math.log10, ratio)) / 400) < 4 * 4 / math.sqrt(12 * 400)
    counts = [sum(p["name"] == name for p in found) for name in ("ddim", "unipc", "dpmpp")]
    assert min(counts) > 100
    counts = [sum(p["whole"] == whole for p in found) for whole in range(-2, 3)]  # 3 is none
    assert sum(counts) == 400 and min(counts) > 50
    assert {type(p["whole"]) for p in found} == {int}
    together = sum((e - 1) * math.log10(r) for e, r in zip(even, ratio, strict=True)) / 400
    assert abs(together) < 4 * (4 / 12**0.5) ** 2 / math.sqrt(400)  # drawn apart


def test_more_trials_keep_those_that_were_and_the_seed_decides() -> None:
    space = {"a": {"uniform": [0, 1]}, "b": {"choice": [1, 2, 3]}}
    few = points(space, method="random", num_trials=5)
    assert points(space, method="random", num_trials=9)[:5] == few
    assert points(space, method="random", num_trials=5) == few
    assert points(space, seed=1, method="random", num_trials=5) != few


def test_a_draw_is_that_of_the_place_in_the_space() -> None:
    space = {"b": {"uniform": [0, 1]}, "g": {"grid": [5]}, "a": {"uniform": [0, 1]}}
    found = points(space, seed=3, method="random", num_trials=4)
    randoms = [CounterRandom(3, trial, range(2)) for trial in range(4)]
    drawn = [random.uniform(Stream.SEARCH).tolist() for random in randoms]
    assert [[point["b"], point["a"]] for point in found] == drawn


def test_each_combination_of_grids_gets_the_same_draws() -> None:
    space = {"a": {"uniform": [0, 1]}, "b": {"grid": [True, False]}}
    found = points(space, method="random", num_trials=3)
    assert len(found) == 6
    assert {tuple(point) for point in found} == {("a", "b")}  # in the order of the space
    assert [p["a"] for p in found if p["b"]] == [p["a"] for p in found if not p["b"]]


def test_equal_draws_count_once() -> None:
    found = points({"a": {"choice": [1, 1.0]}}, method="random", num_trials=20)
    assert len(found) == 1


def test_keys_tell_values_apart_and_not_their_types() -> None:
    assert key_of({"w": 2}) == key_of({"w": 2.0})
    assert key_of({"w": (0.5, 1.0)}) == key_of({"w": [0.5, 1.0]})
    assert key_of({"w": 2, "eta": 0}) == key_of({"eta": 0.0, "w": 2})
    different = [{"w": 1}, {"w": 2}, {"w": "2"}, {"w": True}, {"v": 2}, {"w": [2.0, 2.0]}, {}]
    assert len({key_of(point) for point in different}) == len(different)


def test_labels() -> None:
    point = {"guidance_weight": 0.123456, "guidance_interval": (0.65, 1.0), "sampler": "ddim"}
    assert label_of(point) == "w=0.1235, interval=0.65-1, sampler=ddim"


def test_dimensions_of_words_switches_and_lists() -> None:
    found = checked(
        {
            "sampler": {"grid": ["ddim", "unipc"]},
            "clip_x0": {"grid": [True, False]},
            "guidance_interval": {"grid": [[0, 1], [0.65, 1]]},
        }
    )
    assert len(found) == 8
    settings = resolve(SampleSettings(), found[-1])
    assert (settings.sampler, settings.clip_x0) == ("unipc", False)
    assert settings.guidance_interval == (0.65, 1.0)


@pytest.mark.parametrize(
    ("samples", "scheduler", "want"),
    [
        (50, {"method": "fifo"}, [50]),
        (50, {"method": "asha", "grace": 10}, [10, 20, 40, 50]),
        (40, {"method": "asha", "grace": 10}, [10, 20, 40]),
        (10, {"method": "asha", "grace": 10, "reduction_factor": 3}, [10]),
    ],
)
def test_rungs(samples: int, scheduler: dict[str, Any], want: list[int]) -> None:
    space = {"guidance_weight": {"grid": [0, 1]}}
    assert config(space, samples=samples, scheduler=scheduler).rungs == want


def test_whole_numbers_are_drawn_for_what_takes_no_fraction() -> None:
    steps = {"num_inference_steps": {"randint": [5, 8]}}
    found = checked(steps, search={"method": "random", "num_trials": 40})
    assert sorted(p["num_inference_steps"] for p in found) == [5, 6, 7]  # equal ones count once
    # The upper end is never drawn, and so need not be possible: the steps are 1000 at most.
    checked({"num_inference_steps": {"randint": [999, 1001]}}, search={"method": "random"})


def test_a_range_of_whole_numbers_ends_before_its_end() -> None:
    assert Dimension(randint=(5, 9)).outermost == (5, 8)
    assert Dimension(uniform=(0.5, 2.0)).outermost == (0.5, 2.0)


def test_optuna_asks_for_its_own() -> None:
    assert checked({"guidance_weight": {"uniform": [0, 4]}}, search={"method": "optuna"}) == []


@pytest.mark.parametrize(
    ("space", "more", "said"),
    [
        (
            {"guidance_wieght": {"grid": [1]}},
            {},
            "space.guidance_wieght: no such setting to sweep: did you mean guidance_weight? Use ",
        ),
        ({"seed": {"grid": [1]}}, {}, "space.seed: no such setting to sweep: use one of sampler, "),
        (
            {"guidance_weight": {"grid": [0, -3]}},
            {},
            "space.guidance_weight: -3: want a number >= -1",
        ),
        ({"eta": {"grid": [2]}}, {}, "space.eta: 2: want a number >= 0 and <= 1"),
        ({"guidance_interval": {"grid": [[1, 0]]}}, {}, "[1.0, 0.0]: want the lower share first"),
        (
            {"num_inference_steps": {"grid": [2.5]}},
            {},
            "space.num_inference_steps: 2.5: want an integer >= 1",
        ),
        ({"clip_x0": {"grid": [1]}}, {}, "space.clip_x0: 1: want true or false"),
        ({"eta": {"grid": ["1"]}}, {}, 'space.eta: "1": want a number'),
        (
            {"sampler": {"grid": ["ddmi"]}},
            {},
            "space.sampler: ddmi: want one of ddim, ddpm, ",
        ),
        ({"num_inference_steps": {"grid": [2000]}}, {}, "space: steps=2000: "),
        (
            {"eta": {"uniform": [0, 7]}},
            {"search": {"method": "random"}},
            "space.eta: 7.0: want a number >= 0 and <= 1",
        ),
        (
            {"eta": {"uniform": [0, 7]}},
            {"search": {"method": "optuna"}},
            "space.eta: 7.0: want a number >= 0 and <= 1",
        ),
        (
            {"num_inference_steps": {"randint": [0, 50]}},
            {"search": {"method": "optuna"}},
            "space.num_inference_steps: 0: want an integer >= 1",
        ),
        (
            {"num_inference_steps": {"uniform": [5, 50]}},
            {"search": {"method": "random"}},
            "space.num_inference_steps: uniform draws fractions, and this takes whole numbers: "
            "use randint, choice or grid",
        ),
        (
            {"num_inference_steps": {"loguniform": [5, 50]}},
            {"search": {"method": "optuna"}},
            "space.num_inference_steps: loguniform draws fractions",
        ),
        ({"eta": {"grid": [0]}}, {"metric": "acuracy"}, "metric=acuracy: did you mean accuracy?"),
        ({"eta": {"grid": [0]}}, {"metric": "zzz"}, "metric=zzz: it measures accuracy, diversity"),
        (
            {"eta": {"grid": [0]}},
            {"baseline": {"guidance_weight": 0}},
            "baseline.guidance_weight: not in the space, which has eta",
        ),
        (
            {"eta": {"grid": [0] * 1000}, "num_inference_steps": {"grid": [5] * 1000}},
            {},
            "space: 1000000 points, and at most 10000 are swept",
        ),
        (
            {"eta": {"uniform": [0, 1]}},
            {"search": {"method": "random", "num_trials": 10**12}},
            "space: 1000000000000 points, and at most 10000 are swept",
        ),
    ],
)
def test_impossible_points(space: dict[str, Any], more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        checked(space, **more)
    assert said in str(refused.value)


@pytest.mark.parametrize(("eta", "told"), [(0.5, 1), (1, 0)])
def test_a_baseline_that_is_no_point_is_told(
    eta: float, told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    checked({"eta": {"grid": [0, 1]}, "clip_x0": {"grid": [True]}}, baseline={"eta": eta})
    said = capsys.readouterr().err
    assert said.count("\n") == told
    assert said.startswith("warning: baseline: eta=0.5 is none of the points: " * told)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"space": {}}, "at least 1 item"),
        ({"space": {"eta": {}}}, "want one of grid, choice, uniform, loguniform"),
        ({"space": {"eta": {"grid": [0], "choice": [1]}}}, "want one of grid, choice"),
        ({"space": {"eta": {"grid": []}}}, "at least 1 item"),
        ({"space": {"eta": {"uniform": [1, 0]}}}, "uniform: want the lower end first, not [1"),
        ({"space": {"eta": {"loguniform": [0, 1]}}}, "greater than 0"),
        ({"space": {"eta": {"randint": [5, 5]}}}, "randint: want the lower end first, not [5, 5]"),
        ({"space": {"eta": {"randint": [0, 1.5]}}}, "valid integer"),
        ({"space": {"eta": {"uniform": [0, 1]}}}, "space.eta is uniform: use grid, or search"),
        ({"search": {"method": "optuna"}}, "space.eta is grid: Optuna takes choice, uniform"),
        (
            {"scheduler": {"method": "asha"}, "scaling": {"num_workers": 0}},
            "set scaling.num_workers to 1 or more",
        ),
        ({"gpus_per_trial": 0.5, "scaling": {"num_workers": 0}}, "gpus_per_trial needs Ray"),
        (
            {"gpus_per_trial": 0.5, "scaling": {"use_gpu": False}},
            "gpus_per_trial=0.5 beside scaling.use_gpu=false: leave one of them out",
        ),
        (
            {"scheduler": {"method": "asha", "grace": 60}},
            "scheduler.grace=60 is more than samples=50",
        ),
        ({"gpus_per_trial": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(**{"space": {"eta": {"grid": [0]}}} | more)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{gird: [ddim]}", "space.sampler: unknown key gird in FILE: want one of grid, choice, un"),
        ("{grid: ddim}", "space.sampler.grid=ddim in FILE: want a list of at least one value (nu"),
        ("{grid: []}", "space.sampler.grid=[] in FILE: want a list of at least one value (number"),
        ("[ddim]", 'space.sampler=["ddim"] in FILE: want a mapping (keys: grid, choice, unif'),
        ("{}", "space.sampler={} in FILE: want one of grid, choice, uniform, loguniform"),
    ],
)
def test_a_misspelt_space_is_told_by_its_place(tmp_path: Path, values: str, said: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"space: {{sampler: {values}}}")
    with pytest.raises(ConfigError) as refused:
        load(TuneGuidanceConfig, ["--out=x", f"--config={file}"], prog="p", description="")
    assert str(refused.value).replace(str(file), "FILE").startswith(said)


def test_trials_that_share_a_gpu_are_not_counted_in_whole_ones() -> None:
    space = {"eta": {"grid": [0]}}
    shared = config(space, gpus_per_trial=0.25, scaling={"num_workers": 4})
    assert shared.session.num_workers == 1
    assert config(space, scaling={"num_workers": 4}).session.num_workers == 4


@pytest.mark.parametrize(
    ("dropout", "fit", "way", "unfit"),
    [
        (0.0, {"guidance_weight": 0.0}, "guidance_weight 0,", {"guidance_interval": (0.0, 1.0)}),
        (
            1.0,
            {"guidance_weight": -1.0, "guidance_interval": (0.0, 1.0)},
            "guidance_weight -1, guidance_interval 0,1,",
            {"guidance_weight": -1.0},  # outside the default interval labels would be told
        ),
    ],
)
def test_a_branch_that_was_never_trained_is_not_drawn_from(
    dropout: float, fit: dict[str, Any], way: str, unfit: dict[str, Any]
) -> None:
    diffusion = DiffusionConfig(label_dropout=dropout)
    check_sampling(SampleSettings(**fit), diffusion)
    for words in ({}, unfit):
        with pytest.raises(ConfigError, match=f"take {way} or train with 0.1"):
            check_sampling(SampleSettings(**words), diffusion)
    check_sampling(SampleSettings(guidance_weight=2.0), DiffusionConfig(label_dropout=0.01))


def test_guidance_that_acts_at_no_step_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    few = SampleSettings(num_inference_steps=2, guidance_interval=(0.6, 0.9))
    check_sampling(few, DiffusionConfig())
    assert capsys.readouterr().err.startswith(
        "warning: guidance_weight=2 does nothing: none of num_inference_steps=2 lies in "
        "guidance_interval=0.6,0.9"
    )
    for silent in ({"guidance_weight": 0.0}, {"guidance_interval": (0.5, 0.9)}):
        check_sampling(few.model_copy(update=silent), DiffusionConfig())
    assert not capsys.readouterr().err


def test_a_point_is_told_with_as_many_digits_as_it_needs_where_all_are_asked_for() -> None:
    point = {"eta": 0.1, "guidance_weight": 1.23412, "guidance_interval": [0.65, 1.0]}
    assert label_of(point) == "eta=0.1, w=1.234, interval=0.65-1"
    assert label_of(point, exact=True) == "eta=0.1, w=1.23412, interval=0.65-1"
