"""YAML as the settings use it: safe, and strict about what is a number."""

import re
from pathlib import Path
from typing import Any

import yaml

from hw2.errors import ConfigError

MAX_CHARACTERS = 2**20
# What reading YAML may raise; overflow: of a letter's number, as "\\UFFFFFFFF".
BROKEN = (yaml.YAMLError, ValueError, OverflowError, RecursionError)


class Loader(yaml.SafeLoader):
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
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _rule, list("-+.0123456789"))


class Dumper(yaml.SafeDumper):
    """Safe YAML that quotes the texts which Loader would take for something else."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers

    def represent_text(self, text: str) -> yaml.Node:
        """Within single quotes Loader would fold U+0085, a line break, to a blank."""
        style = '"' if "\x85" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


Dumper.add_representer(str, Dumper.represent_text)


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping in the file; a key need not be a text. Raises ConfigError, in one line."""
    try:
        with path.open(encoding="utf-8") as file:  # which may be a pipe: --config <(..)
            text = file.read(MAX_CHARACTERS + 1)
        if len(text) > MAX_CHARACTERS:
            raise ConfigError(f"{path}: over {MAX_CHARACTERS} characters, too long for settings")
        tree = yaml.load(text, Loader)
    except ConfigError:  # a kind of ValueError
        raise
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"broken YAML in {path}{line}: {error.problem}") from None
    except UnicodeDecodeError as error:
        said = f"{error.reason} at byte {error.start}"
        raise ConfigError(f"broken YAML in {path}: {said}: save it in UTF-8") from None
    except BROKEN as error:
        raise ConfigError(f"broken YAML in {path}: {error}") from None
    if not isinstance(tree, dict | None):
        raise ConfigError(f"{path} holds {str(tree)[:100]}: want a mapping of settings")
    return tree or {}
