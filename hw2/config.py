"""Configurations: frozen models, read from YAML files and `--dotted.key value` words."""

import difflib
import json
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from hw2.disclosure import masked
from hw2.errors import ConfigError
from hw2.places import uri_of
from hw2.schema import PATH, Tree, fields_of, help_text, show, want
from hw2.yaml_text import Dumper, Loader, read_yaml


class Config(BaseModel):
    """Base of all settings. A field whose type is another Config is a section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def part(self, cls: "type[P]") -> "P":
        """The settings of `cls`, of which this class has all."""
        return cls(**{key: getattr(self, key) for key in cls.model_fields})

    def shown(self) -> Tree:
        """All settings as JSON values, to be kept and shown: without the keys of addresses."""
        return masked(self.model_dump(mode="json"))


P = TypeVar("P", bound=Config)


class ScalingConfig(Config):
    """The share of the cluster to use."""

    num_workers: int | None = Field(
        None, ge=0, description="null: as many as the cluster has; 0: this process, without Ray"
    )
    min_workers: int | None = Field(
        None,
        ge=1,
        description="begin and go on with as few as this when nodes are missing; a training takes "
        "those that join, up to num_workers; null: wait for them",
    )
    use_gpu: bool | None = Field(None, description="null: if the cluster has one")
    cpus_per_worker: float | None = Field(None, gt=0, description="null: an even share")

    @model_validator(mode="after")
    def _least_and_most(self) -> "ScalingConfig":
        if self.num_workers is not None and (self.min_workers or 0) > self.num_workers:
            raise ValueError(
                f"min_workers={self.min_workers} is more than num_workers={self.num_workers}: "
                "lower it or raise num_workers"
            )
        return self


# pathlib folds the // of a URI, which is put back where it is kept.
Place = Annotated[Path, PlainSerializer(lambda path: uri_of(path) or str(path), when_used="json")]


class JobConfig(Config):
    """The settings that every job has."""

    out: Place = Field(description="folder of the results, or its URI as s3://bucket/folder")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything drawn")
    name: str | None = Field(None, description="the run's name in MLflow; null: the job's")
    overwrite: bool = Field(False, description="move results of other settings aside, start anew")


M = TypeVar("M", bound=Config)


class Reader:
    """Gathers settings, the later over the earlier, and remembers where each came from."""

    def __init__(self, fields: dict[str, Tree]) -> None:
        self.fields = fields
        self.given: dict[str, tuple[Any, str]] = {}
        self.problems: dict[str, str] = {}
        for key, field in fields.items():
            if "properties" in field and isinstance(field.get("default"), dict):
                self.put(key, field["default"], "by default")

    def put(self, key: str, value: Any, origin: str) -> None:
        if key not in self.fields:
            near = difflib.get_close_matches(key, self.fields, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else "--help lists the keys"
            self.problems.setdefault(key, f"unknown key {key} {origin}: {hint}")
            return
        parent = key.rpartition(".")[0]
        if parent and not isinstance(self.given.get(parent, (None,))[0], dict):
            self.put(parent, {}, origin)
        if "properties" in self.fields[key] and isinstance(value, dict):
            if not isinstance(self.given.get(key, (None,))[0], dict):
                self.given[key] = ({}, origin)
            for name, inner in value.items():
                self.put(f"{key}.{name}", inner, origin)
            return
        for below in [name for name in self.given if name.startswith(f"{key}.")]:
            del self.given[below]
        self.given[key] = (value, origin)

    def read(self, words: list[str]) -> None:
        """Take `--config FILE`, `--key value`, `--key=value` and a bare `--flag`, left to right."""
        while words:
            word = words.pop(0)
            key, equals, text = word.removeprefix("--").partition("=")
            field = PATH if key == "config" else self.fields.get(key, {})
            if not word.startswith("--"):
                self.problems[word] = f"unexpected word {show(word)}: settings are --key value"
                continue
            if not equals:
                if words and not words[0].startswith("--"):
                    text = words.pop(0)
                elif field.get("type") == "boolean":
                    text = "true"
                elif field:
                    self.problems[key] = f"--{key} has no value: want {want(field)}"
                    continue
            if key != "config":
                self.put(key, parse(text, field), "on the command line")
                continue
            try:
                for name, value in read_yaml(Path(text)).items():
                    self.put(str(name), value, f"in {text}")
            except ConfigError as error:
                self.problems[key] = str(error)

    def tree(self) -> Tree:
        """The settings as nested mappings."""
        root: Tree = {}
        for key, (value, _) in self.given.items():
            *path, name = key.split(".")
            node = root
            for step in path:
                node = node[step]
            node[name] = value
        return root

    def refuse(self, invalid: ValidationError) -> None:
        """Turn pydantic's findings into one line for each key."""
        for error in invalid.errors(include_url=False):
            loc = [str(step) for step in error["loc"]]
            while loc and ".".join(loc) not in self.fields:  # positions in lists, union branches
                loc.pop()
            key = ".".join(loc)
            value, origin = self.given.get(key, (None, ""))
            said = error["msg"].removeprefix("Value error, ")
            if error["type"] == "missing":
                inner = (k for k, f in self.fields.items() if k.startswith(f"{key}."))
                key = next((k for k in inner if self.fields[k]["required"]), key)
                allowed = want(self.fields[key])
                said = f"required key {key} is missing: give --{key} ({allowed})"
            elif key:
                own = error["type"] in ("value_error", "assertion_error")  # a validator's words
                whole = key not in self.given or isinstance(value, dict)
                shown = "" if whole else f"={show(value)} {origin}"
                said = f"{key}{shown}: {said if own else 'want ' + want(self.fields[key])}"
            self.problems.setdefault(key, said)


def parse(text: str, schema: Tree) -> Any:
    """A word of the command line: as it is where the key takes texts, else as YAML.

    A list may leave its brackets out: `--domains mnistm,svhn`.
    """
    for choice in schema.get("anyOf", [schema]):
        names = choice.get("enum") or ([choice["const"]] if "const" in choice else None)
        takes = text in names if names else choice.get("type") == "string" and text != "null"
        if takes:
            return text
    choices = schema.get("anyOf", [schema])
    lists = [choice for choice in choices if choice.get("type") == "array"]
    if lists and text != "null" and not text.lstrip().startswith("["):
        texts = any(choice.get("items", {}).get("type") == "string" for choice in lists)
        if texts and not set(text) & set("\"'"):
            return [item.strip() for item in text.split(",")]  # --sources 0,2 are no numbers
        text = f"[{text}]"  # --domains mnistm,svhn
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text  # refused later, with what the key wants


def load(model_cls: type[M], argv: list[str] | None = None, *, prog: str, description: str) -> M:
    """Read the settings of a job from the words of its command line.

    Files and words count from left to right, the later over the earlier. `--help` and
    `--print_config` (YAML that `--config` takes back) print and exit with code 0.

    Args:
        model_cls: the settings; sections are Config fields, at most one Config in a union.
        argv: the words after the program's name; None: those of this process.
        prog: the command, e.g. `python -m jobs.train_ddpm`.
        description: what the job does, for `--help`.
    Raises:
        ConfigError: one line that shows the first mistake and counts the others.
        SystemExit: after `--help` and `--print_config`.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    schema = model_cls.model_json_schema()
    fields = fields_of(schema, schema.get("$defs", {}))
    if {"-h", "--help"} & set(words):
        _print_and_exit(help_text(fields, prog, description))
    reader = Reader(fields)
    reader.read([word for word in words if word != "--print_config"])
    try:
        config = model_cls.model_validate_json(json.dumps(reader.tree()), strict=True)
    except ValidationError as invalid:
        reader.refuse(invalid)
    if reader.problems:
        first, *more = reader.problems.values()
        raise ConfigError(first + f" (and {len(more)} more)" * bool(more))
    if "--print_config" in words:
        _print_and_exit(dump(config).rstrip())
    return config


def _print_and_exit(text: str) -> NoReturn:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `--help | head`: stay silent, also at the flush on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def dump(config: Config) -> str:
    """The whole resolved configuration as YAML that `--config` takes back, without secrets."""
    return yaml.dump(config.shown(), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def leaves(tree: Tree, exclude: Collection[str] = (), prefix: str = "") -> Tree:
    """Nested settings by dotted key, less the keys and sections in `exclude`."""
    found: Tree = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key not in exclude:
            inner = isinstance(value, dict) and value
            found |= leaves(value, exclude, f"{key}.") if inner else {key: value}
    return found


def difference(a: Tree, b: Tree) -> list[str]:
    """A line `key: x there, y here` for each setting that differs; a is there, b is here."""
    there, here = leaves(a), leaves(b)
    return [
        f"{key}: {show(there.get(key, 'absent'))} there, {show(here.get(key, 'absent'))} here"
        for key in there | here
        if key not in there or key not in here or there[key] != here[key]
    ]
