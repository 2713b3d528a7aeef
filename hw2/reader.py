"""Settings from YAML files and `--dotted.key value` words, and what is wrong with them."""

import json
import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hw2.disclosure import plain, warn, writable
from hw2.errors import ConfigError, nearest
from hw2.schema import PATH, Tree, below, names_in, show, want
from hw2.yaml_text import BROKEN, Loader, read_yaml


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
            hint = nearest(key, self.fields) or "--help lists the keys"
            whole, _, inner = key.partition(".")
            name = inner.partition(".")[0]
            if below(self.fields.get(whole, {}), name) is not None:  # a mapping of free names
                hint = f"give --{whole} as a whole: '{{\"{name}\": ..}}'"
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
        for lower in [name for name in self.given if name.startswith(f"{key}.")]:
            del self.given[lower]
        self.given[key] = (value, origin)

    def read(self, words: list[str], origin: str) -> None:
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
                self.put(key, parse(text, field), origin)
                continue
            typed = [name for name, (_, whence) in self.given.items() if whence == origin]
            try:
                for name, value in read_yaml(Path(os.path.expanduser(text))).items():
                    self.put(str(name), value, f"in {text}")
            except ConfigError as error:
                self.problems[key] = str(error)
            if lost := [n for n in typed if self.given.get(n, ("", ""))[1] != origin]:
                words_lost = ", ".join(f"--{name}" for name in lost)
                warn(f"{text} stands behind {words_lost} and counts: put --config first")

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
        """Turn pydantic's findings into one line for each key, unknown keys first."""
        foreign = {
            key: f"{key}={plain(show(value))} {origin}: settings are kept in UTF-8, which this is "
            "not: rename what is called so, or give another"
            for key, (value, origin) in self.given.items()
            if not writable(json.dumps(value, ensure_ascii=False))
        }
        if foreign:  # of which pydantic tells no key, and looks at nothing else
            self.problems |= foreign
            return
        found = invalid.errors(include_url=False)
        for error in sorted(found, key=lambda error: error["type"] != "extra_forbidden"):
            key, schema, value, origin, rest = self._at([str(step) for step in error["loc"]])
            said = error["msg"].removeprefix("Value error, ")
            if error["type"] == "extra_forbidden":
                said = f"{key}: unknown key {rest[0]} {origin}: want one of {names_in(schema)}"
                key = f"{key}.{rest[0]}"
            elif error["type"] == "missing" and not rest:
                inner = (k for k, f in self.fields.items() if k.startswith(f"{key}."))
                key = next((k for k in inner if self.fields[k]["required"]), key)
                allowed = want(self.fields[key])
                said = f"required key {key} is missing: give --{key} ({allowed})"
            elif error["type"] == "missing" and isinstance(value, dict):  # else a list's item
                allowed = want(below(schema, rest[0]) or {})
                key = f"{key}.{rest[0]}"
                said = f"{key} is missing {origin}: want {allowed}"
            elif rest == ["[key]"]:  # the mapping's key, not its value
                parent, _, name = key.rpartition(".")
                allowed = want({"type": "string"} | error.get("ctx", {}))
                said = f"{parent}: key {name} {origin}: want {allowed}"
            elif key:
                own = error["type"] in ("value_error", "assertion_error")  # a validator's words
                section = "properties" in self.fields.get(key, {}) and isinstance(value, dict)
                shown = f"={show(value)} {origin}" if origin and not section else ""
                names = "" if key in self.fields else names_in(schema)
                allowed = want(schema) + f" (keys: {names})" * bool(names)
                said = f"{key}{shown}: {said if own else 'want ' + allowed}"
            self.problems.setdefault(key, said)

    def _at(self, loc: list[str]) -> tuple[str, Tree, Any, str, list[str]]:
        """Where `loc` leads: the key, what it allows, what was given and where.

        Last what is left of `loc`: positions in lists, branches of unions, a name without a place.
        """
        known = len(loc)
        while known and ".".join(loc[:known]) not in self.fields:
            known -= 1
        key, rest = ".".join(loc[:known]), loc[known:]
        schema, (value, origin) = self.fields.get(key, {}), self.given.get(key, (None, ""))
        value = json.loads(json.dumps(value))  # as pydantic sees it: keys are texts
        while rest and isinstance(value, dict) and rest[0] in value:
            inner = below(schema, rest[0])
            if inner is None:
                break
            key, schema, value, rest = f"{key}.{rest[0]}", inner, value[rest[0]], rest[1:]
        return key, schema, value, origin, rest


def parse(text: str, schema: Tree) -> Any:
    """A word of the command line: as it is where the key takes texts, else as YAML.

    A list may leave its brackets out: `--domains mnistm,svhn`. With them it is one where the key
    takes a text as well: `--templates '["a {}.", "no {}."]'`.
    """
    choices = schema.get("anyOf", [schema])
    lists = [choice for choice in choices if choice.get("type") == "array"]
    if lists and text.lstrip().startswith("["):
        found = _from_yaml(text)
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return found
    for choice in choices:
        names = choice.get("enum") or ([choice["const"]] if "const" in choice else None)
        takes = text in names if names else choice.get("type") == "string" and text != "null"
        if takes:
            return text
    if lists and text != "null" and not text.lstrip().startswith("["):
        texts = any(choice.get("items", {}).get("type") == "string" for choice in lists)
        if texts and not set(text) & set("\"'"):
            return [item.strip() for item in text.split(",")]  # --sources 0,2 are no numbers
        text = f"[{text}]"  # --domains mnistm,svhn
    return _from_yaml(text)


def _from_yaml(text: str) -> Any:
    """What `text` is as YAML, or else itself: refused later, with what the key wants."""
    try:
        return yaml.load(text, Loader)
    except BROKEN:
        return text
