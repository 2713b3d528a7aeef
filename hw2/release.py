"""Released weights: small, half precision, with a card that says how to make them again."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file, save_file

from hw2.checkpoint import read_meta
from hw2.errors import CheckpointError
from hw2.locate import ASSETS, FINAL
from hw2.yaml_text import Dumper, Loader, read_yaml

CARD_FILE, PIPELINE = "card.md", "pipeline"
CARD = """# {name}

{kind}, averaged weights in half precision ({weights:,} weights, {size:.1f} MB).

Made again by: `{command}`

- data hash: `{data_hash}`
- seed: {seed}, steps: {step}

| figure | value | 95 % interval | n |
|---|---|---|---|
{rows}
{note}
Settings:

```yaml
{settings}```
"""


def card_settings(folder: Path) -> dict[str, Any]:
    """The settings that the card in `folder` shows; none where it has no card, or a broken one."""
    card = folder / CARD_FILE
    try:
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        found = re.search(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
        tree = yaml.load(found[1], Loader) if found else {}
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _row(name: str, figure: Any) -> str:
    if not isinstance(figure, dict):
        return f"| {name} | {figure:g} | | |"
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return f"| {name} | n/a | | {figure.get('n', '')} |"
    return f"| {name} | {value:.4g} | {low:.4g} to {high:.4g} | {figure.get('n', '')} |"


def release(run: Path, name: str, command: str, note: str = "") -> Path:
    """Write ASSETS/name/final.safetensors and card.md from the finished training in `run`.

    Of a training that left a folder for diffusers, OUT/pipeline, that folder is released instead.
    `note` stands below the figures.

    `run` holds final.safetensors, config.yaml and metrics.json. Raises CheckpointError if one is
    missing.
    """
    source, metrics, config = run / FINAL, run / "metrics.json", run / "config.yaml"
    meta = read_meta(source)
    for path in (metrics, config):
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; finish the training in {run} first")
    folder = ASSETS / name
    folder.mkdir(parents=True, exist_ok=True)
    if (run / PIPELINE).is_dir():
        shutil.copytree(run / PIPELINE, folder, dirs_exist_ok=True)
        files = folder.rglob("*.safetensors")
        weights = [value for path in files for value in load_file(path).values()]
    else:
        averaged = {k: v.half() for k, v in load_file(source).items() if k.startswith("ema.")}
        weights = list(averaged.values())
        part = folder / f"{FINAL}.part"
        save_file(averaged, part, metadata={"hw2": json.dumps(meta, sort_keys=True)})
        part.replace(folder / FINAL)
    figures = json.loads(metrics.read_text())
    card = CARD.format(
        name=name,
        kind=meta["kind"].replace("_", " "),
        weights=sum(value.numel() for value in weights),
        size=size_of(folder),
        command=command,
        data_hash=meta["data_hash"],
        seed=meta["seed"],
        step=meta["step"],
        # Of a score by digit the card is silent; metrics.json has it.
        rows="\n".join(_row(k, v) for k, v in figures.items() if k.count("/") < 3),
        note=f"\n{note}\n" if note else "",
        settings=yaml.dump(read_yaml(config), Dumper=Dumper, sort_keys=False),
    )
    (folder / CARD_FILE).write_text(card)
    return folder


def size_of(folder: Path) -> float:
    """MiB of all files of a released asset but its card."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != CARD_FILE]
    return sum(path.stat().st_size for path in files) / 2**20
