"""Configurations: frozen models, read from YAML files and `--dotted.key value` words."""

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticSerializationError

from hw2.disclosure import masked
from hw2.errors import ConfigError
from hw2.places import as_written, from_home, uri_of
from hw2.reader import Reader
from hw2.schema import Tree, fields_of, help_text, show
from hw2.yaml_text import Dumper


class Config(BaseModel):
    """Base of all settings. A field whose type is another Config is a section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def part(self, cls: "type[P]") -> "P":
        """The settings of `cls`, of which this class has all."""
        return cls(**{key: getattr(self, key) for key in cls.model_fields})

    def shown(self) -> Tree:
        """All settings as JSON values, to be kept and shown: without the keys of addresses."""
        try:
            return masked(self.model_dump(mode="json"))
        except PydanticSerializationError as error:
            raise error.__cause__ or error from None  # of Ctrl-C pydantic makes an Exception

    def absolute(self: "P") -> "P":
        """The same for a worker, which runs in a folder of its own: with absolute paths."""

        def there(value: Any) -> Any:
            if isinstance(value, Path) and not uri_of(value):
                return value.absolute()
            return value.absolute() if isinstance(value, Config) else value

        return self.model_copy(update={name: there(value) for name, value in self})


P = TypeVar("P", bound=Config)


class ScalingConfig(Config):
    """The share of the cluster to use."""

    num_workers: int | None = Field(
        None,
        ge=0,
        description="null: as many as the cluster has room for and the work is worth (a training: "
        "one for each dozen pictures of the batch, a GPU for each 512); 0: this process, no Ray",
    )
    min_workers: int | None = Field(
        None,
        ge=1,
        description="begin and go on with as few as this when nodes are missing; a training takes "
        "those that join, up to num_workers; null: wait for them",
    )
    use_gpu: bool | None = Field(
        None, description="null: if there is one that torch can use; with num_workers 0: no"
    )
    cpus_per_worker: float | None = Field(
        None, gt=0, description="CPUs, and so threads, of a worker; null: 1"
    )

    @property
    def num_threads(self) -> int:
        """CPU threads of a worker's arithmetic: never by the machine, since they move last bits."""
        return max(1, int(self.cpus_per_worker or 1))

    @model_validator(mode="after")
    def _least_and_most(self) -> "ScalingConfig":
        if self.num_workers is not None and (self.min_workers or 0) > self.num_workers:
            raise ValueError(
                f"min_workers={self.min_workers} is more than num_workers={self.num_workers}: "
                "lower it or raise num_workers"
            )
        return self


class OwnProcessConfig(Config):
    """Where a job computes that works in its own process alone."""

    num_workers: Literal[0] = Field(0, description="it works in this process, without Ray")
    use_gpu: bool | None = Field(None, description="true: on a GPU; null: on the processor")
    cpus_per_worker: int | None = Field(
        None, ge=1, description="threads of its arithmetic; null: as many as torch takes"
    )


AnyScaling = ScalingConfig | OwnProcessConfig


def _some(path: Any) -> Any:
    if path == "":  # the working folder, as pathlib has it; rather an unset variable of a shell
        raise ValueError("want a path")
    return path


# Of all settings that are paths. pathlib folds the // of a URI, which is put back where it is kept.
Place = Annotated[
    Path,
    BeforeValidator(_some),
    AfterValidator(from_home),
    PlainSerializer(as_written, return_type=str, when_used="json"),
]


class JobConfig(Config):
    """The settings that every job has."""

    out: Place = Field(description="folder of the results, or its URI as s3://bucket/folder")
    seed: int = Field(
        0, ge=0, lt=2**63, description="seed of everything random: weights, order, noises"
    )
    name: str | None = Field(
        None, description="the run's name in MLflow; null: that of the folder OUT"
    )
    overwrite: bool = Field(False, description="move results of other settings aside, start anew")


M = TypeVar("M", bound=Config)


def load(
    model_cls: type[M],
    argv: list[str] | None = None,
    *,
    prog: str,
    description: str,
    origin: str = "on the command line",
) -> M:
    """Read the settings of a job from the words of its command line.

    Files and words count from left to right, the later over the earlier. `--help` and
    `--print_config` (YAML that `--config` takes back) print and exit with code 0.

    Args:
        model_cls: the settings; sections are Config fields, at most one Config in a union.
        argv: the words after the program's name; None: those of this process.
        prog: the command, e.g. `python -m jobs.train_ddpm`.
        description: what the job does, for `--help`.
        origin: where the words stand, for the errors.
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
    reader.read([word for word in words if word != "--print_config"], origin)
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
    print(text)
    raise SystemExit(0)


def dump(config: Config) -> str:
    """The whole resolved configuration as YAML that `--config` takes back, without secrets."""
    return yaml.dump(config.shown(), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def leaves(tree: Mapping[str, Any], exclude: Collection[str] = (), prefix: str = "") -> Tree:
    """Nested settings by dotted key, less the keys and sections in `exclude`."""
    found: Tree = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key not in exclude:
            inner = isinstance(value, Mapping) and value
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
