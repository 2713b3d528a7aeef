"""What a model of settings allows, in words: from its JSON schema."""

import inspect
import json
import re
import shutil
import textwrap
from typing import Any

Tree = dict[str, Any]


_OTHER = re.compile(r"[-+.0-9]+(e[-+]?[0-9]+)?|true|false|null")


def show(value: Any) -> str:
    """A value in one short line, texts without quotes unless they look like something else."""
    if isinstance(value, int) and value >= 2**31 and value.bit_count() == 1:
        return f"2**{value.bit_length() - 1}"
    plain = isinstance(value, str) and value and not _OTHER.fullmatch(value)
    text = value if plain else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.splitlines())
    return text if len(text) <= 100 else f"{text[:97]}..."


_KINDS = {"integer": "an integer", "number": "a number", "boolean": "true or false"}
_KINDS |= {"string": "a text", "array": "a list", "object": "a mapping", "null": "null"}
PATH = {"type": "string", "format": "path"}
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_BOUNDS |= dict.fromkeys(("minLength", "minItems", "minProperties"), "of length >=")
_BOUNDS |= dict.fromkeys(("maxLength", "maxItems"), "of length <=")
_BOUNDS |= {"multipleOf": "a multiple of", "pattern": "matching"}


def want(schema: Tree) -> str:
    """What a JSON schema allows, in words: its own as "want", or those of its type and bounds."""
    if "want" in schema:
        return str(schema["want"])
    if "anyOf" in schema:
        return " or ".join(want(choice) for choice in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        choices = schema.get("enum", [schema.get("const")])
        return "one of " * (len(choices) > 1) + ", ".join(map(show, choices))
    if "prefixItems" in schema:
        return f"[{', '.join(want(item) for item in schema['prefixItems'])}]"
    kind = "a path" if schema.get("format") == "path" else _KINDS.get(schema.get("type", ""), "any")
    items = f", each {want(schema['items'])}" if schema.get("items") else ""
    bounds = [f"{sign} {show(schema[key])}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([kind, *bounds[:1], *(f"and {b}" for b in bounds[1:])]) + items


def below(schema: Tree, name: str) -> Tree | None:
    """What a JSON schema allows under a key of a mapping; None: no mapping, or no such key."""
    for choice in schema.get("anyOf", [schema]):
        free = [*choice.get("patternProperties", {}).values(), choice.get("additionalProperties")]
        for inner in (choice.get("properties", {}).get(name), *free):
            if inner:
                return {} if inner is True else dict(inner)
    return None


def names_in(schema: Tree) -> str:
    """The names that a JSON schema lists of a mapping's keys."""
    choices = schema.get("anyOf", [schema])
    return ", ".join(name for choice in choices for name in choice.get("properties", []))


def fields_of(
    node: Tree, defs: Tree, prefix: str = "", given: Tree | None = None
) -> dict[str, Tree]:
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
            found |= fields_of(section, defs, f"{key}.", section.get("default"))
    return found


def _inline(node: Any, defs: Tree) -> Any:
    """The JSON schema with its references replaced by what they name."""
    if isinstance(node, list):
        return [_inline(item, defs) for item in node]
    if not isinstance(node, dict):
        return node
    target = defs[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
    return {k: _inline(v, defs) for k, v in (target | node).items() if k != "$ref"}


def help_text(fields: dict[str, Tree], prog: str, description: str) -> str:
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
        default = f"default {show(field['default'])}" if "default" in field else "required"
        wrap.initial_indent = f"  --{key}".ljust(29) + " "
        meaning = f"{field.get('description', '')} ({want(field)}; {default})".strip()
        groups[key.rpartition(".")[0]].append(wrap.fill(meaning))
    sample = next((key for key in keys if isinstance(fields[key].get("default"), int)), keys[-1])
    sample += f" {show(fields[sample].get('default'))}"
    usage = f"usage: {prog} [--config FILE] [--KEY VALUE ...] [--print_config] [--help]"
    commands = [line for line in inspect.cleandoc(description).splitlines() if prog in line]
    example = f"example: {(commands or [prog])[0]} --{sample}"
    notes = "Files and settings count from left to right, the later over the earlier."
    parts = [usage, inspect.cleandoc(description), example, notes, *map("\n".join, groups.values())]
    return "\n\n".join(part for part in parts if part)
