"""Configurations: frozen models, read from YAML files and `--dotted.key value` words."""

import difflib
import hashlib
import inspect
import itertools
import json
import os
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hw2.errors import ConfigError, Hw2Error


class Config(BaseModel):
    """Base of all settings. A field whose type is another Config is a section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScalingConfig(Config):
    """The share of the cluster to use."""

    num_workers: int | None = Field(
        None, ge=0, description="null: as many as the cluster has; 0: this process, without Ray"
    )
    use_gpu: bool | None = Field(None, description="null: if the cluster has one")
    cpus_per_worker: float | None = Field(None, gt=0, description="null: an even share")


class JobConfig(Config):
    """The settings that every job has."""

    out: Path = Field(description="folder of the results")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything drawn")
    name: str | None = Field(None, description="the run's name in MLflow; null: the job's")
    overwrite: bool = Field(False, description="move results of other settings aside, start anew")


M = TypeVar("M", bound=Config)
Tree = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Safe YAML with the numbers of YAML 1.2; no dates, tags, anchors or repeated keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [rule for rule in rules if rule[0].rpartition(":")[2] in ("bool", "null")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(None, None, "tags and anchors are refused", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key.value} repeated", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


for _kind, _pattern in (  # YAML 1.1, PyYAML's, takes 1e-3 for a text, 010 for 8 and 1:30 for 90
    ("int", r"[-+]?(0|[1-9]\d*)"),
    ("float", r"[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf)|\.nan"),
):
    _rule = re.compile(f"({_pattern})$")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _rule, list("-+.0123456789"))


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes the texts which _Loader would take for something else."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _read_yaml(path: Path) -> Tree:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"broken YAML in {path}{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"broken YAML in {path}: {error}") from None
    if not isinstance(tree, dict | None):
        raise ConfigError(f"{path} holds {_show(tree)}: want a mapping of settings")
    return tree or {}


def _show(value: Any) -> str:
    """A value in one short line, texts without quotes."""
    if isinstance(value, int) and value >= 2**31 and value.bit_count() == 1:
        return f"2**{value.bit_length() - 1}"
    text = value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.splitlines())
    return text if len(text) <= 100 else f"{text[:97]}..."


_KINDS = {"integer": "an integer", "number": "a number", "boolean": "true or false"}
_KINDS |= {"string": "a text", "array": "a list", "object": "a mapping", "null": "null"}
_PATH = {"type": "string", "format": "path"}
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_BOUNDS |= {"minLength": "of length >=", "minItems": "of length >=", "pattern": "matching"}


def _want(schema: Tree) -> str:
    """What a JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(_want(choice) for choice in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        choices = schema.get("enum", [schema.get("const")])
        return "one of " * (len(choices) > 1) + ", ".join(map(_show, choices))
    if "prefixItems" in schema:
        return f"[{', '.join(_want(item) for item in schema['prefixItems'])}]"
    kind = "a path" if schema.get("format") == "path" else _KINDS.get(schema.get("type", ""), "any")
    items = f", each {_want(schema['items'])}" if schema.get("items") else ""
    bounds = [f"{sign} {_show(schema[key])}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([kind, *bounds[:1], *(f"and {b}" for b in bounds[1:])]) + items


def _fields(node: Tree, defs: Tree, prefix: str = "", given: Tree | None = None) -> dict[str, Tree]:
    """All sections (with their "properties") and keys of a JSON schema by dotted name."""
    found: dict[str, Tree] = {}
    for name, field in node["properties"].items():
        key, section = prefix + name, _inline(field, defs)
        if given and name in given:  # the default of a section beats those of its class
            section["default"] = given[name]
        for choice in section.get("anyOf", []):  # an optional section
            section = (choice if "properties" in choice else {}) | section
        found[key] = section | {"required": "default" not in section}
        if "properties" in section:
            found |= _fields(section, defs, f"{key}.", section.get("default"))
    return found


def _inline(node: Any, defs: Tree) -> Any:
    """The JSON schema with its references replaced by what they name."""
    if isinstance(node, list):
        return [_inline(item, defs) for item in node]
    if not isinstance(node, dict):
        return node
    target = defs[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
    return {k: _inline(v, defs) for k, v in (target | node).items() if k != "$ref"}


class _Reader:
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
            field = _PATH if key == "config" else self.fields.get(key, {})
            if not word.startswith("--"):
                self.problems[word] = f"unexpected word {_show(word)}: settings are --key value"
                continue
            if not equals:
                if words and not words[0].startswith("--"):
                    text = words.pop(0)
                elif field.get("type") == "boolean":
                    text = "true"
                elif field:
                    self.problems[key] = f"--{key} has no value: want {_want(field)}"
                    continue
            if key != "config":
                self.put(key, _value(text, field), "on the command line")
                continue
            try:
                for name, value in _read_yaml(Path(text)).items():
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
                want = _want(self.fields[key])
                said = f"required key {key} is missing: give --{key} ({want})"
            elif key:
                own = error["type"] in ("value_error", "assertion_error")  # a validator's words
                whole = key not in self.given or isinstance(value, dict)
                shown = "" if whole else f"={_show(value)} {origin}"
                said = f"{key}{shown}: {said if own else 'want ' + _want(self.fields[key])}"
            self.problems.setdefault(key, said)


def _value(text: str, schema: Tree) -> Any:
    """A word of the command line: as it is where the key takes texts, else as YAML."""
    for choice in schema.get("anyOf", [schema]):
        names = choice.get("enum") or ([choice["const"]] if "const" in choice else None)
        takes = text in names if names else choice.get("type") == "string" and text != "null"
        if takes:
            return text
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text  # refused later, with what the key wants


def _help(fields: dict[str, Tree], prog: str, description: str) -> str:
    """Usage, one example, and each key with its meaning, type and default, by section."""
    wrap = textwrap.TextWrapper(
        width=max(60, min(100, shutil.get_terminal_size().columns)),
        subsequent_indent=" " * 30,
        break_on_hyphens=False,
    )
    groups: dict[str, list[str]] = {"": ["settings:"]}
    keys = [key for key, field in fields.items() if "properties" not in field]
    for key, field in fields.items():
        if key not in keys:
            null = " (or null)" * ("anyOf" in field)
            groups[key] = [f"{key}{null}: {field.get('description', '')}".rstrip(": ")]
            continue
        default = f"default {_show(field['default'])}" if "default" in field else "required"
        wrap.initial_indent = f"  --{key}".ljust(29) + " "
        meaning = f"{field.get('description', '')} ({_want(field)}; {default})".strip()
        groups[key.rpartition(".")[0]].append(wrap.fill(meaning))
    sample = next((key for key in keys if isinstance(fields[key].get("default"), int)), keys[-1])
    sample += f" {_show(fields[sample].get('default'))}"
    usage = f"usage: {prog} [--config FILE] [--KEY VALUE ...] [--print_config] [--help]"
    config = f"jobs/configs/{prog.split()[-1].rpartition('.')[2]}.yaml"
    example = f"example: {prog} --config {config} --{sample}"
    notes = "Files and settings count from left to right, the later over the earlier."
    parts = [usage, inspect.cleandoc(description), example, notes, *map("\n".join, groups.values())]
    return "\n\n".join(part for part in parts if part)


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
    fields = _fields(schema, schema.get("$defs", {}))
    if {"-h", "--help"} & set(words):
        _print_and_exit(_help(fields, prog, description))
    reader = _Reader(fields)
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
    """The whole resolved configuration as YAML that `--config` takes back."""
    tree = config.model_dump(mode="json")
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _leaves(tree: Tree, exclude: Collection[str] = (), prefix: str = "") -> Tree:
    """Nested settings by dotted key, less the keys and sections in `exclude`."""
    found: Tree = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key not in exclude:
            inner = isinstance(value, dict) and value
            found |= _leaves(value, exclude, f"{key}.") if inner else {key: value}
    return found


def digest(config: Config, exclude: Collection[str] = ()) -> str:
    """SHA-256 (hex) of the resolved settings, less the dotted keys and sections in `exclude`."""
    settings = _leaves(config.model_dump(mode="json"), exclude)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def difference(a: Tree, b: Tree) -> list[str]:
    """A line `key: x there, y here` for each setting that differs; a is there, b is here."""
    there, here = _leaves(a), _leaves(b)
    return [
        f"{key}: {_show(there.get(key, 'absent'))} there, {_show(here.get(key, 'absent'))} here"
        for key in there | here
        if key not in there or key not in here or there[key] != here[key]
    ]


def claim_out(config: JobConfig, ignore: Collection[str] = ()) -> Path:
    """Make the folder of the results and write the resolved settings to its config.yaml.

    The same settings claim the same folder again, so that the same command goes on. Of other
    settings, `overwrite` moves the old folder aside to OUT.old-N; without it they are refused.

    Args:
        config: the settings; `out`, `name` and `overwrite` never count as other settings.
        ignore: dotted keys and sections that do not change the results either.
    Returns: the absolute path of the folder.
    Raises:
        ConfigError: the folder holds other results, is not ours, or cannot be made.
    """
    out = config.out.expanduser().absolute()
    record, draft = out / "config.yaml", out / ".config.yaml.tmp"
    ignore = {"out", "name", "overwrite", *ignore}
    advice = "choose another --out"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if record.exists():
            here = _leaves(config.model_dump(mode="json"), ignore)
            try:
                differ = difference(_leaves(_read_yaml(record), ignore), here)
            except ConfigError as broken:
                differ = [str(broken)]
            if differ and not config.overwrite:
                found = f"results of other settings ({'; '.join(differ)})"
                raise ConfigError(f"out={out} holds {found}: {advice}, or --overwrite true")
            if differ:
                asides = (out.with_name(f"{out.name}.old-{n}") for n in itertools.count(1))
                out.rename(next(aside for aside in asides if not aside.exists()))
                out.mkdir()
        elif any(path != draft for path in out.iterdir()):
            raise ConfigError(f"out={out} holds files that no job has made: {advice}")
        with draft.open("w", encoding="utf-8") as file:
            file.write(dump(config))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(record)
    except OSError as error:
        raise ConfigError(f"cannot use out={out} ({error.strerror}): {advice}") from None
    return out


def run_job(
    model_cls: type[M],
    main: Callable[[M], object],
    *,
    doc: str | None = None,
    argv: list[str] | None = None,
) -> int:
    """Run a job: `raise SystemExit(run_job(Config, main, doc=__doc__))` at the end of its module.

    Returns: the exit code. 0: done. 2: a mistake of the user, told in one line on stderr.
        130 or 143: stopped by Ctrl-C or SIGTERM, after the `finally` blocks of `main`.
    Raises: whatever else `main` raises; its traceback then shows, with exit code 1.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    prog = f"python -m {spec.name}" if spec else f"python {Path(sys.argv[0]).name}"
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        main(load(model_cls, argv, prog=prog, description=doc or ""))
        return 0
    except Hw2Error as error:
        cause = getattr(error, "cause", error)  # Ray wraps a task's error and adds its traceback
        print("error:", " ".join(str(cause).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 128 + signal.SIGINT
    except SystemExit as stop:
        if stop.code != signal.SIGTERM:
            raise
        print("stopped by SIGTERM", file=sys.stderr)
        return 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit(number)  # as Ray's own handler does, which replaces this one in ray.init
