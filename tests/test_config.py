"""The command line, the files and the folders of a job, on a small job of its own."""

import errno
import importlib
import io
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from hw2.config import (
    Config,
    JobConfig,
    Place,
    ScalingConfig,
    difference,
    dump,
    load,
)
from hw2.errors import CheckpointError, ConfigError, DataError
from hw2.job import run_job
from hw2.results import claim_out

REPOSITORY = Path(__file__).parents[1]


class Train(Config):
    """How to train."""

    num_steps: int = Field(ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, le=4096, description="pictures a step")
    betas: tuple[Annotated[float, Field(ge=0, le=1)], float] = (0.9, 0.99)
    rate: float = Field(1e-5, gt=0)


class Judge(Config):
    """Who judges."""

    path: Place | None = None
    channels: tuple[int, ...] = (6, 16)
    limit: int | Literal["auto"] = "auto"


class Range(Config):
    """What one tag takes."""

    low: int = Field(json_schema_extra={"want": "the lower end"})
    high: int | None = None
    ends: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _order(self) -> "Range":
        if self.high is not None and self.high < self.low:
            raise ValueError("want low first")
        return self


class Demo(JobConfig):
    """A job."""

    texts: str | tuple[str, ...] = "none"
    guidance_weight: float = 2.0
    sampler: Literal["ddim", "ddpm"] = "ddim"
    skip_bad: bool = False
    tags: dict[str, int] = Field({}, description="a mapping")
    ranges: dict[Annotated[str, Field(pattern="^[a-z]+$")], Range | None] | None = Field(
        None, min_length=1
    )
    train: Train = Train(num_steps=7)
    judge: Judge | None = None
    scaling: ScalingConfig = ScalingConfig()

    @model_validator(mode="after")
    def _agree(self) -> "Demo":
        if self.sampler == "ddpm" and self.guidance_weight < 0:
            raise ValueError("ddpm wants guidance_weight >= 0")
        return self


class Needy(Config):
    """A section without default."""

    train: Train


ABOUT = "Draws.\n\npython -m jobs.demo --out x"


def read(*words: str) -> Demo:
    return load(Demo, list(words), prog="python -m jobs.demo", description=ABOUT)


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*words)
    return str(caught.value)


# --- what is accepted ---------------------------------------------------------------------


def test_defaults_and_overrides():
    config = read("--out", "x", "--train.batch_size", "64", "--train.rate=1e-3", "--skip_bad")
    assert config.out == Path("x") and config.skip_bad is True
    assert config.train == Train(num_steps=7, batch_size=64, rate=1e-3)  # num_steps: Demo's own


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("--guidance_weight -1", "guidance_weight", -1.0),
        ("--guidance_weight -1e-3", "guidance_weight", -1e-3),
        ("--guidance_weight=-.5", "guidance_weight", -0.5),
        ("--seed +5", "seed", 5),
        ("--name 42", "name", "42"),
        ("--name 1e3", "name", "1e3"),
        ("--name a:#b", "name", "a:#b"),
        ("--name null", "name", None),
        ("--name a=b", "name", "a=b"),
        ("--skip_bad true --skip_bad false", "skip_bad", False),
        ("--skip_bad --seed 3", "skip_bad", True),
        ("--out 2024", "out", Path("2024")),
        ('--tags {"a":1}', "tags", {"a": 1}),
    ],
)
def test_words_become_values(words: str, key: str, value: object):
    assert getattr(read("--out", "x", *words.split(" ")), key) == value


def test_lists_sections_and_unions():
    config = read("--out=x", "--judge.channels", "[1, 2]", "--judge.limit", "auto")
    assert config.judge == Judge(channels=(1, 2), limit="auto")
    assert read("--out=x", "--judge.channels", " [1, 2]").judge == Judge(channels=(1, 2))
    assert read("--out=x", "--judge.limit", "5").judge == Judge(limit=5)
    assert read("--out=x", "--judge", "{}").judge == Judge()
    assert read("--out=x", "--judge.limit", "5", "--judge", "null").judge is None
    assert read("--out=x", "--judge", "null", "--judge.limit=5").judge == Judge(limit=5)
    assert read("--out=x", "--train", "{batch_size: 3}").train == Train(num_steps=7, batch_size=3)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('["This is {}.", "No {}, no score."]', ("This is {}.", "No {}, no score.")),
        ("[simple, course]", ("simple", "course")),
        (" [simple, course]", ("simple", "course")),
        ("simple,course", "simple,course"),
        ("[{}] on white", "[{}] on white"),  # no list
        ("[{}]", "[{}]"),  # a list of a mapping
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_texts_in_brackets_are_a_list_where_one_is_taken(word: str, value: object):
    assert read("--out=x", "--texts", word).texts == value
    assert read("--out=x", "--name", word).name == word  # takes a text alone


class Listed(Config):
    """A list of texts."""

    sources: tuple[str, ...] | None = ("0",)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("0,2", ("0", "2")),
        ("a , b", ("a", "b")),
        ('"a, b",c', ("a, b", "c")),
        (" [a, b]", ("a", "b")),
        (" ['a']", ("a",)),
        ("null", None),
    ],
)
def test_a_list_of_texts_needs_no_brackets(word: str, value: object):
    assert load(Listed, ["--sources", word], prog="p", description="").sources == value


def test_later_wins_between_file_and_words(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("out: a\nseed: 5\ntrain:\n  batch_size: 3\n  rate: 1e-2\n")
    config = read("--seed", "1", "--config", str(file), "--train.batch_size", "4")
    assert (config.seed, config.train.batch_size, config.train.rate) == (5, 4, 0.01)


def test_a_file_behind_words_says_which_of_them_no_longer_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Often a slip, by which results go to the folder that the file names."""
    file = tmp_path / "c.yaml"
    file.write_text("out: a\ntrain:\n  batch_size: 3\n")
    words = ["--out", "x", "--seed", "1", "--train.batch_size", "4", "--config", str(file)]
    assert read(*words).out == Path("a")
    told = f"warning: {file} stands behind --train.batch_size, --out and counts: put --config first"
    assert capsys.readouterr().err == f"{told}\n"
    assert read("--config", str(file), *words[:6]).out == Path("x")
    assert capsys.readouterr().err == ""
    file.write_text("judge: null\n")
    assert read("--out", "x", "--judge.limit", "5", "--config", str(file)).judge is None
    told = f"warning: {file} stands behind --judge, --judge.limit and counts: put --config first\n"
    assert capsys.readouterr().err == told


def test_empty_file_and_two_files(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "b.yaml").write_text("train.batch_size: 9\nname: 2024-01-01\n")
    config = read("--config", f"{tmp_path}/a.yaml", f"--config={tmp_path}/b.yaml", "--out", "x")
    assert (config.train.batch_size, config.name) == (9, "2024-01-01")


def test_models_are_frozen_and_refuse_nonsense():
    with pytest.raises(ValidationError):
        read("--out", "x").seed = 3
    with pytest.raises(ValidationError):
        Train(num_steps="abc")
    with pytest.raises(ValidationError):
        ScalingConfig(num_worker=1)
    with pytest.raises(ValidationError):
        Train(num_steps=1, rate=float("inf"))


@pytest.mark.parametrize(("given", "threads"), [(None, 1), (0.5, 1), (1, 1), (2.9, 2), (3, 3)])
def test_threads_are_the_whole_cpus_of_a_worker(given: float | None, threads: int):
    assert ScalingConfig(cpus_per_worker=given).num_threads == threads


def test_paths_become_absolute_in_all_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config = read("--out", "s3://bucket/x", "--judge.path", "w.pt", "--name", "a/b").absolute()
    assert config.judge == Judge(path=tmp_path / "w.pt")
    assert (str(config.out), config.name, config.seed) == ("s3:/bucket/x", "a/b", 0)
    assert read("--out", "x").absolute().out == tmp_path / "x"


# --- what is refused, each in one line ----------------------------------------------------

SEED = "an integer >= 0 and < 2**63"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--train.batchsize 3",
            "unknown key train.batchsize on the command line: did you mean train.batch_size?",
        ),
        (
            "--tags.a 3",
            "unknown key tags.a on the command line: give --tags as a whole: '{\"a\": ..}'",
        ),
        (
            "--ranges.a.low 3",
            "unknown key ranges.a.low on the command line: give --ranges as a whole: '{\"a\": ..}'",
        ),
        ("--seed.a 3", "unknown key seed.a on the command line: did you mean seed?"),
        ("--trian", "unknown key trian on the command line: did you mean train?"),
        ("--qqq 3", "unknown key qqq on the command line: --help lists the keys"),
        ("--seed -1", f"seed=-1 on the command line: want {SEED}"),
        ("--seed 9223372036854775808", f"seed=2**63 on the command line: want {SEED}"),
        ("--seed abc", f"seed=abc on the command line: want {SEED}"),
        ("--seed 1.0", f"seed=1.0 on the command line: want {SEED}"),
        ("--seed true", f"seed=true on the command line: want {SEED}"),
        ("--seed 010", f'seed="010" on the command line: want {SEED}'),
        ("--seed [3", f"seed=[3 on the command line: want {SEED}"),
        ("--seed=", f"seed=null on the command line: want {SEED}"),
        ("--seed", f"--seed has no value: want {SEED}"),
        ("--seed --skip_bad", f"--seed has no value: want {SEED}"),
        ("--config", "--config has no value: want a path"),
        ("--skip_bad 1", "skip_bad=1 on the command line: want true or false"),
        ("--sampler x", "sampler=x on the command line: want one of ddim, ddpm"),
        ("--train.rate nan", "train.rate=nan on the command line: want a number > 0"),
        ("--train.rate .inf", "train.rate=Infinity on the command line: want a number > 0"),
        ("--train.rate .nan", "train.rate=NaN on the command line: want a number > 0"),
        (
            "--train.betas [0.9,x]",
            'train.betas=[0.9, "x"] on the command line: want [a number >= 0 and <= 1, a number]',
        ),
        (
            "--judge.channels [1,b]",
            'judge.channels=[1, "b"] on the command line: want a list, each an integer',
        ),
        ("--judge.limit x", "judge.limit=x on the command line: want an integer or auto"),
        ("--train 3", "train=3 on the command line: want a mapping"),
        (
            "--scaling.num_workers 2 --scaling.min_workers 3",
            "scaling: min_workers=3 is more than num_workers=2: lower it or raise num_workers",
        ),
        ("--scaling.num_workers -1", "want an integer >= 0 or null"),
        ("stray", "unexpected word stray: settings are --key value"),
        ("-x", "unexpected word -x: settings are --key value"),
        ("--sampler ddpm --guidance_weight -1", "ddpm wants guidance_weight >= 0"),
        ("--config nowhere.yaml", "cannot read nowhere.yaml: No such file or directory"),
    ],
)
def test_refusals(words: str, message: str):
    said = refusal("--out", "x", *words.split())
    assert said.endswith(message) if message.startswith("want") else said == message


def test_what_is_not_utf8_is_told_with_its_key(tmp_path: Path):
    word, file = os.fsdecode(b"o\xff"), tmp_path / "c.yaml"
    way_out = (
        "settings are kept in UTF-8, which this is not: rename what is called so, or give another"
    )
    assert refusal("--out", word) == f"out=o\\udcff on the command line: {way_out}"
    assert refusal("--out=x", "--seed", word).startswith("seed=o\\udcff on the command line: sett")
    file.write_text('out: x\ntexts: ["\\ud800"]\n')
    assert refusal("--config", str(file)) == f'texts=["\\ud800"] in {file}: {way_out}'
    assert read("--out", word, "--out", "x").out == Path("x")  # the later counts


def test_a_home_that_there_is_not():
    said = refusal("--out=~nobody-/x")
    assert said == (
        "out=~nobody-/x on the command line: no home folder of ~nobody-: give the whole path"
    )


def test_no_more_workers_are_needed_than_wanted():
    assert ScalingConfig(num_workers=2, min_workers=2).min_workers == 2
    assert ScalingConfig(min_workers=3).num_workers is None
    with pytest.raises(ValidationError, match="min_workers=3 is more than num_workers=2: lower it"):
        ScalingConfig(num_workers=2, min_workers=3)


def test_missing_keys():
    assert refusal() == "required key out is missing: give --out (a path)"
    with pytest.raises(ConfigError, match=r"required key train\.num_steps is missing"):
        load(Needy, [], prog="p", description="")


def test_several_mistakes_are_counted_once_a_key():
    said = refusal("--seed", "-1", "--trian.rate", "3", "--judge.limit", "[]")
    assert said.startswith("unknown key trian.rate on the command line: did you mean train.rate?")
    assert said.endswith(" (and 3 more)")  # seed, judge.limit (two branches of a union), out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  batchsize: 3", "unknown key train.batchsize in FILE: did you mean train.b"),
        ("seed: -1", f"seed=-1 in FILE: want {SEED}"),
        ("<<: {seed: 1}", "unknown key << in FILE: --help lists the keys"),
        ("3: 4", "unknown key 3 in FILE: --help lists the keys"),
        ("seed: '3'", f'seed="3" in FILE: want {SEED}'),
        ("name: 3", "name=3 in FILE: want a text or null"),
        ("seed: 1\nseed: 2", "broken YAML in FILE, line 2: seed repeated"),
        ("train:\n  rate: 1\n  rate: 2", "broken YAML in FILE, line 3: rate repeated"),
        ("seed: 1\nname: [", "broken YAML in FILE, line 2"),
        ("seed: 1\n\tname: x", "broken YAML in FILE, line 2"),
        ("tags: {a: x}", "tags.a=x in FILE: want an integer"),
        ("ranges: {}", "ranges={} in FILE: want a mapping of length >= 1 or null"),
        ("ranges: {a: 3}", "ranges.a=3 in FILE: want a mapping or null (keys: low, high, ends)"),
        ("ranges: {a: {lwo: 3}}", "ranges.a: unknown key lwo in FILE: want one of low, high, ends"),
        (
            "ranges: {a: {low: 3, lwo: 3, hihg: 3}}",
            "ranges.a: unknown key lwo in FILE: want one of low, high, ends (and 1 more)",
        ),
        ("ranges: {7: {low: 3}}", "ranges: key 7 in FILE: want a text matching ^[a-z]+$"),
        ("ranges: {a: {high: 3}}", "ranges.a.low is missing in FILE: want the lower end"),
        ("ranges: {a: {low: x}}", "ranges.a.low=x in FILE: want the lower end"),
        ("ranges: {a: {low: 1, high: x}}", "ranges.a.high=x in FILE: want an integer or null"),
        ("ranges: {a: {low: 1, ends: [2]}}", "ranges.a.ends=[2] in FILE: want [a number, a num"),
        (
            "ranges: {a: {low: 3, high: 1}}",
            'ranges.a={"low": 3, "high": 1} in FILE: want low first',
        ),
        ("- 1", "FILE holds [1]: want a mapping of settings"),
        ("name: !!python/name:os.system x", "broken YAML in FILE, line 1: tags and anchors are"),
        ("a: &a [1]\nb: *a", "broken YAML in FILE, line 1: tags and anchors are refused"),
        ("<<: *missing", "broken YAML in FILE, line 1: tags and anchors are refused"),
        ("name: " + "9" * 5000, "broken YAML in FILE"),
        ("name: \x00", "broken YAML in FILE"),
        ('name: "\\UFFFFFFFF"', "broken YAML in FILE"),
        ("[" * 50_000, "broken YAML in FILE"),
    ],
)
def test_files_refused(tmp_path: Path, text: str, message: str):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    said = refusal("--out", "x", "--config", str(file)).replace(str(file), "FILE")
    assert said.startswith(message)


def test_numbers_of_any_length_are_refused_in_a_line():
    said = refusal("--out=x", "--seed", "9" * 5000)
    assert said.startswith('seed="99999') and said.endswith(f"on the command line: want {SEED}")


def test_a_file_over_the_limit_is_no_settings(tmp_path: Path):
    (file := tmp_path / "c.yaml").write_text("#" * 2**20)
    assert read("--out=x", f"--config={file}").seed == 0
    file.write_text("#" * 2**20 + "\n")
    said = refusal("--out=x", f"--config={file}")
    assert said == f"{file}: over 1048576 characters, too long for settings"


def test_file_that_is_not_text_or_a_folder(tmp_path: Path):
    (tmp_path / "c.yaml").write_bytes(b"name: \xff\xfe")
    told = refusal("--out=x", f"--config={tmp_path}/c.yaml")
    assert told.startswith("broken YAML in")
    assert told.endswith("c.yaml: invalid start byte at byte 6: save it in UTF-8")
    assert "Is a directory" in refusal("--out=x", f"--config={tmp_path}")


# --- help, dump, difference -------------------------------------------------------


def test_help_names_every_key(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        read("--seed", "broken", "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    assert "usage: python -m jobs.demo [--config FILE]" in said and " Draws. " in said
    assert "example: python -m jobs.demo --out x --seed 0" in said
    assert "train: How to train." in said and "judge (or null): Who judges." in said
    assert (
        "--out folder of the results, or its URI as s3://bucket/folder (a path; required)" in said
    )
    assert "--train.num_steps optimiser steps (an integer >= 1; default 7)" in said
    assert "--train.batch_size pictures a step (an integer >= 1 and <= 4096; default 128)" in said
    assert "--sampler (one of ddim, ddpm; default ddim)" in said
    assert "--judge.path (a path or null; default null)" in said


def test_example_of_the_help_works(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        read("--help")
    example = next(s for s in capsys.readouterr().out.splitlines() if s.startswith("example: "))
    assert read(*example.split("jobs.demo ")[1].split()) == read("--out", "x")


def test_print_config_comes_back_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--out", "x", "--name", "1e-3", "--train.rate", "1e-7", "--judge.limit", "3"]
    with pytest.raises(SystemExit) as stop:
        read(*words, "--print_config")
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert stop.value.code == 0
    assert read("--config", f"{tmp_path}/c.yaml") == read(*words)


@pytest.mark.parametrize("name", ["1e-3", "null", "yes", "2024-01-01", "a: #b", "", "日本", "0x1"])
def test_dump_keeps_texts(tmp_path: Path, name: str):
    config = Demo(out=Path("x"), name=name)
    (tmp_path / "c.yaml").write_text(dump(config), encoding="utf-8")
    assert read("--config", f"{tmp_path}/c.yaml") == config
    assert list(yaml.safe_load(dump(config))) == list(Demo.model_fields)
    assert name in dump(config)  # as it was written, not as numbers of its letters


@pytest.mark.parametrize("name", ["\x85", "a\x85\n b", "\u2028\x85: ", "a\n\u2029\t"])
def test_dump_keeps_line_breaks_of_all_kinds(tmp_path: Path, name: str):
    config = Demo(out=Path("x"), name=name, tags={name: 1})
    (tmp_path / "c.yaml").write_text(dump(config), encoding="utf-8")
    assert read("--config", f"{tmp_path}/c.yaml") == config


def test_difference():
    a = {"seed": 0, "train": {"rate": 1.0, "betas": [1, 2]}, "judge": None}
    b = {"seed": 0, "train": {"rate": 2.0, "betas": [1, 2]}, "judge": {"path": "p"}}
    assert difference(a, b) == [
        "train.rate: 1.0 there, 2.0 here",
        "judge: null there, absent here",
        "judge.path: absent there, p here",
    ]
    assert difference(a, a) == []
    long = "x" * 200
    assert len(difference({"name": long + "1"}, {"name": long + "2"})) == 1


# --- the folder of the results ------------------------------------------------------------


def demo(out: Path, **settings: object) -> Demo:
    return Demo.model_validate({"out": out, **settings})


def test_claim_makes_and_takes_again(tmp_path: Path):
    out = claim_out(demo(tmp_path / "a" / "b"))
    (out / "result").write_text("kept")
    stored = yaml.safe_load((out / "config.yaml").read_text())
    assert out.is_absolute() and stored["train"]["num_steps"] == 7
    assert claim_out(demo(out, name="other", overwrite=True)) == out
    assert (out / "result").read_text() == "kept"  # the same settings go on, even so
    assert not list(tmp_path.glob("a/*.old-*")) and not list(out.glob("*.tmp"))


def test_home_is_expanded_and_kept_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = read("--out=~/o", "--judge.path=~/weights")
    assert (config.out, config.judge.path) == (tmp_path / "o", tmp_path / "weights")
    out = claim_out(config)
    assert out == tmp_path / "o"
    stored = yaml.safe_load((out / "config.yaml").read_text())
    assert (stored["out"], stored["judge"]["path"]) == ("~/o", "~/weights")
    assert claim_out(read("--config=~/o/config.yaml")) == out
    assert dump(config.part(Demo)) == dump(config)

    monkeypatch.setenv("HOME", str(tmp_path / "moved"))
    moved = read(f"--config={out}/config.yaml", f"--out={out}")
    assert moved.judge.path == tmp_path / "moved/weights"
    assert claim_out(moved) == out  # the same settings


SETTINGS = [
    f"hw2.settings.{module.name}" for module in pkgutil.iter_modules([REPOSITORY / "hw2/settings"])
]


@pytest.mark.parametrize("module", ["hw2.config", *SETTINGS])
def test_every_setting_that_is_a_path_takes_a_home_folder(
    module: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", "/home/me")
    for cls in vars(importlib.import_module(module)).values():
        for name, field in getattr(cls, "model_fields", {}).items():
            kind = TypeAdapter(Annotated[field.annotation, *field.metadata, None])
            schema = kind.json_schema()
            section = bool({"$defs", "properties"} & schema.keys())
            if section or '"format": "path"' not in json.dumps(schema):
                continue
            many = schema.get("type") == "array"
            found = kind.validate_python(["~/x"] if many else "~/x")
            assert found == ((Path("/home/me/x"),) if many else Path("/home/me/x")), name
            assert kind.dump_python(found, mode="json") == (["~/x"] if many else "~/x")


def test_claim_refuses_other_settings_unless_ignored(tmp_path: Path):
    claim_out(demo(tmp_path / "o"), inputs={"model": "a"})
    with pytest.raises(ConfigError) as caught:
        claim_out(demo(tmp_path / "o", seed=3))
    assert "seed: 0 there, 3 here" in str(caught.value)
    on = f"go on there by --config {tmp_path}/o/config.yaml alone, or --overwrite true"
    assert str(caught.value).endswith(f"choose another --out, {on}")
    there = yaml.safe_load((tmp_path / "o/config.yaml").read_text())
    assert claim_out(Demo.model_validate(there)) == tmp_path / "o"
    with pytest.raises(ConfigError, match=r"another model.: choose another --out, or --overwrite"):
        claim_out(demo(tmp_path / "o"), inputs={"model": "b"})
    with (tmp_path / "o/config.yaml").open("a") as file:
        file.write("older: 1\n")  # a key that would be refused
    with pytest.raises(ConfigError, match=r"absent here.: choose another --out, or --overwrite"):
        claim_out(demo(tmp_path / "o", seed=3))
    (tmp_path / "o/config.yaml").write_text(yaml.safe_dump(there))
    scaled = demo(tmp_path / "o", scaling=ScalingConfig(num_workers=2))
    assert claim_out(scaled, {"scaling"}) == tmp_path / "o"


def test_overwrite_moves_aside(tmp_path: Path):
    for seed in range(3):
        out = claim_out(demo(tmp_path / "o", seed=seed, overwrite=True))
        (out / "result").write_text(str(seed))
    kept = {p.parent.name: p.read_text() for p in tmp_path.glob("*/result")}
    assert kept == {"o.old-1": "0", "o.old-2": "1", "o": "2"}


def test_claim_refuses_what_is_not_ours(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / ".config.yaml.tmp").write_text("killed in mid-wri")
    (tmp_path / "torn" / ".job.lock").touch()
    for name in ("file", "file/below", "full"):
        with pytest.raises(ConfigError, match="choose another --out"):
            claim_out(demo(tmp_path / name, overwrite=True))
    assert claim_out(demo(tmp_path / "empty")) and claim_out(demo(tmp_path / "torn"))
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_claim_goes_on_from_the_drafts_of_a_kill(tmp_path: Path):
    for name in (".config.yaml.tmp", "inputs.tmp"):
        (tmp_path / "o").mkdir()
        (tmp_path / "o" / name).write_text('{"model": "ab')
        claim_out(demo(tmp_path / "o"), inputs={"model": "abc"})
        assert json.loads((tmp_path / "o/inputs.json").read_text()) == {"model": "abc"}
        assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["config.yaml", "inputs.json"]
        shutil.rmtree(tmp_path / "o")


def test_claim_goes_on_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ConfigError) as caught:
        patch.setattr(os, "fsync", full)
        claim_out(demo(tmp_path / "o"))
    told = f"cannot use out={tmp_path / 'o'} (No space left on device): make room"
    assert str(caught.value).startswith(told) and "another" not in str(caught.value)
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["inputs.tmp"]
    assert claim_out(demo(tmp_path / "o")) == tmp_path / "o"


def test_claim_of_a_broken_record(tmp_path: Path):
    (claim_out(demo(tmp_path / "o")) / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"broken YAML.*--overwrite true"):
        claim_out(demo(tmp_path / "o"))
    assert claim_out(demo(tmp_path / "o", overwrite=True))
    assert (tmp_path / "o.old-1" / "config.yaml").read_text() == "a: ["


def test_what_a_link_leads_to_is_moved_aside_on_its_own_disk(tmp_path: Path):
    """The link itself was, and the new results went to the disk that it should spare."""
    (tmp_path / "disk/results").mkdir(parents=True)
    (tmp_path / "o").symlink_to(tmp_path / "disk/results")
    for seed in range(3):
        out = claim_out(demo(tmp_path / "o", overwrite=True, seed=seed))
        (out / "seed").write_text(f"{seed}")
    assert (tmp_path / "o").readlink() == tmp_path / "disk/results"
    kept = {path.name: (path / "seed").read_text() for path in (tmp_path / "disk").iterdir()}
    assert kept == {"results.old-1": "0", "results.old-2": "1", "results": "2"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("o")] == ["o"]


def test_claim_of_a_link_that_leads_nowhere(tmp_path: Path):
    (tmp_path / "o").symlink_to(tmp_path / "away")
    with pytest.raises(ConfigError, match=r"o \(a link to .*/away, which is not there\): choose"):
        claim_out(demo(tmp_path / "o"))


# --- the wrapper of all jobs --------------------------------------------------------------


def test_run_job_codes(capsys: pytest.CaptureFixture[str]):
    def fail(error: BaseException):
        def main(config: Demo) -> None:
            raise error

        return run_job(Demo, main, doc="Draws.", argv=["--out", "x"])

    got: list[Demo] = []
    assert run_job(Demo, got.append, argv=["--out", "x"]) == 0 and got[0].out == Path("x")
    assert capsys.readouterr() == ("", "")
    assert run_job(Demo, got.append, argv=["--ouf", "x"]) == 2 and len(got) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert fail(DataError("a.csv:3\nlabel=x")) == 2
    assert capsys.readouterr().err == "error: a.csv:3 label=x\n"
    assert fail(CheckpointError(f"a.pt: unknown {'n' * 10**6}: give another")) == 2
    told = capsys.readouterr().err
    assert (
        len(told) < 5000 and told.startswith("error: a.pt: ") and told.endswith(": give another\n")
    )
    assert fail(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"
    assert fail(MemoryError("cannot allocate 8 TB")) == 2
    way_out = "do less at once (--help: batch_size, or a key that ends in _per_chunk)"
    told = f"error: too little memory (cannot allocate 8 TB): {way_out}\n"
    assert capsys.readouterr().err == told
    with pytest.raises(RuntimeError, match="is broken"):
        fail(RuntimeError("is broken"))
    capsys.readouterr()
    assert fail(RuntimeError("CUDA error: out of memory\nSearch for it")) == 2
    told = f"error: the GPU has too little memory for this: {way_out}, or give --scaling.use_gpu"
    assert capsys.readouterr().err == f"{told} false\n"

    def huge(config: Demo) -> None:
        import torch

        torch.empty(2**50)

    assert run_job(Demo, huge, argv=["--out", "x"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: too little memory (") and told.endswith(f": {way_out}\n")
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())
    with pytest.raises(SystemExit):
        fail(SystemExit(3))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_waiting_threads_soon_give_their_core_away_unless_told_otherwise(
    given: dict[str, str], found: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is as before after the test
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen: list[dict[str, str]] = []

    def main(config: Demo) -> None:
        seen.append({name: os.environ[name] for name in names if name in os.environ})

    assert run_job(Demo, main, argv=["--out", "x"]) == 0
    assert seen == [found]


def test_a_path_that_cannot_be_used_is_told_in_a_line(capsys: pytest.CaptureFixture[str]):
    long = Path("/tmp") / ("x" * 300)
    for look, told in (
        (lambda _: long.is_file(), f"File name too long ({long})"),
        (lambda _: Path("/dev/null/x").read_bytes(), "Not a directory (/dev/null/x)"),
    ):
        assert run_job(Demo, look, argv=["--out", "x"]) == 2
        assert capsys.readouterr().err == f"error: {told}: mend that, or give another path\n"

    def stale(config: Demo) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", "x/y.png")

    assert run_job(Demo, stale, argv=["--out", "x"]) == 2
    told = "error: Stale file handle (x/y.png): mend that, or give another path\n"
    assert capsys.readouterr().err == told

    def failing(config: Demo) -> None:
        raise OSError(errno.EIO, "Input/output error")  # as of a read

    assert run_job(Demo, failing, argv=["--out", "x"]) == 2
    told = "error: Input/output error (the results are in x): mend the disk or file server, and the"
    assert capsys.readouterr().err == f"{told} same command goes on\n"

    def full(config: Demo) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as of a write

    assert run_job(Demo, full, argv=["--out", "x"]) == 2
    told = "error: No space left on device (the results are in x): make room, and the same"
    assert capsys.readouterr().err == f"{told} command goes on\n"

    def ours(config: Demo) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")  # of what, nobody knows

    with pytest.raises(PermissionError):
        run_job(Demo, ours, argv=["--out", "x"])


def start(folder: Path, body: str, *words: str) -> subprocess.Popen[str]:
    """Run a module whose main() is `body`, as its users would."""
    (folder / "drawing.py").write_text(
        '"""Draws."""\nimport sys\nfrom hw2.config import JobConfig\nfrom hw2.job import run_job\n'
        f"def main(config):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "raise SystemExit(run_job(JobConfig, main, doc=__doc__))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-m", "drawing", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_process_help_is_light_and_mistakes_take_one_line(tmp_path: Path):
    out, err = start(tmp_path, "print(config.out)", "--help").communicate(timeout=60)
    assert out.startswith("usage: python -m drawing ") and err == ""
    process = start(tmp_path, "print(config.out)", "--out", "x", "--sead", "1")
    assert process.communicate(timeout=60) == (
        "",
        "error: unknown key sead on the command line: did you mean seed?\n",
    )
    assert process.returncode == 2
    heavy = "print({'torch', 'ray', 'mlflow', 'numpy', 'PIL', 'matplotlib'} & {*sys.modules})"
    assert start(tmp_path, heavy, "--out", "x").communicate(timeout=60) == ("set()\n", "")


def test_help_into_a_closed_pipe(tmp_path: Path):
    process = start(tmp_path, "pass", "--help")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(60) == 0


def test_process_traceback(tmp_path: Path):
    process = start(tmp_path, "1 / 0", "--out", "x")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" in err and "ZeroDivisionError" in err


SLEEP = """
import time
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("cleaned", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, "stopped by SIGTERM\n"), (signal.SIGINT, 130, "stopped by Ctrl-C\n")],
)
def test_process_stops_cleanly(tmp_path: Path, number: signal.Signals, code: int, said: str):
    process = start(tmp_path, SLEEP, "--out", "x")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("cleaned\n", said)
    assert process.returncode == code


def test_ctrl_c_while_settings_are_shown_is_no_error_of_theirs():
    class Pressed(type(Path())):
        @property
        def written(self) -> str:
            raise KeyboardInterrupt

    config = JobConfig.model_construct(out=Pressed("x"))
    with pytest.raises(KeyboardInterrupt):
        config.shown()


def test_a_signal_that_comes_again_does_not_disturb_the_end(
    monkeypatch: pytest.MonkeyPatch,
):
    ended = []

    def terminated(config: JobConfig) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            ended.append("whole")

    def interrupted(config: JobConfig) -> None:
        raise KeyboardInterrupt

    class Pressed(io.StringIO):
        def write(self, text: str) -> int:
            raise KeyboardInterrupt

    assert run_job(JobConfig, terminated, argv=["--out", "x"]) == 143
    assert ended == ["whole"]
    monkeypatch.setattr(sys, "stderr", Pressed())
    assert run_job(JobConfig, interrupted, argv=["--out", "x"]) == 130


def test_a_stopped_job_leaves_nothing_to_the_next_in_the_process():
    def terminated(config: JobConfig) -> None:
        signal.raise_signal(signal.SIGTERM)

    def interrupted(config: JobConfig) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    assert run_job(JobConfig, terminated, argv=["--out", "x"]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert run_job(JobConfig, interrupted, argv=["--out", "x"]) == 130


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_loses_does_not_make_the_job_deaf(monkeypatch: pytest.MonkeyPatch):
    """What is raised while an object is taken apart goes nowhere."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Apart:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    went_on = []

    def main(config: JobConfig) -> None:
        thing = Apart()
        del thing
        clock[0] += 1
        signal.raise_signal(signal.SIGTERM)  # the second of two at once
        went_on.append(True)
        clock[0] += 60
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("deaf")

    assert run_job(JobConfig, main, argv=["--out", "x"]) == 143
    assert went_on


def test_process_stopped_while_ray_starts(tmp_path: Path):
    process = start(tmp_path, "raise SystemExit(15)", "--out", "x")  # as Ray's own handler does
    assert process.communicate(timeout=60) == ("", "stopped by SIGTERM\n")
    assert process.returncode == 143


RAY = """
import os, signal, threading, time
import ray
from hw2.config import ScalingConfig
from hw2.distributed.session import connected
from hw2.errors import DataError
@ray.remote
def task(seed):
    if seed == 0:
        raise DataError("picture 3 is torn")
    threading.Event().wait()
with connected(ScalingConfig(num_workers=1)):
    if config.seed:
        threading.Timer(5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    try:
        ray.get(task.remote(config.seed))
    finally:
        time.sleep(4 * config.seed)  # Ray's own handler gives three seconds, then aborts
        print("cleaned", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "code", "said"), [(0, 2, "error: picture 3 is torn"), (1, 143, "stopped by SIGTERM")]
)
def test_process_under_ray(tmp_path: Path, seed: int, code: int, said: str):
    process = start(tmp_path, RAY, "--out", "x", "--seed", str(seed))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (code, "cleaned\n")
    assert err.splitlines()[-1] == said
