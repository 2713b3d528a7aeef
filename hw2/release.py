"""Released weights: small, half precision, with a card that says how to make them again."""

import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file

from hw2.claims import refuse_infinite
from hw2.data.files import inside, planted, read_json
from hw2.data.replacing import whole_folder
from hw2.disclosure import describe
from hw2.errors import CheckpointError
from hw2.locate import ASSETS, FINAL
from hw2.lock import refuse_at_work
from hw2.text2image.finding import PIPELINE
from hw2.weights import described, read_meta, write_tensors
from hw2.yaml_text import BROKEN, Dumper, Loader, read_yaml

CARD_FILE = "card.md"
# What a job takes as asset:NAME, by itself and as a folder for diffusers.
KINDS = ("judge", "digit_ddpm", "face_ddpm", "clip", "autoencoder")
PIPELINES = ("text2image",)
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
    except (OSError, *BROKEN):
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
    `note` stands below the figures. The asset appears whole or not at all.

    `run` holds final.safetensors, config.yaml and metrics.json. Raises CheckpointError if one is
    missing or damaged, or if the weights are none that a job could take; BusyError while a
    job is at work there, which may write any of them again.
    """
    refuse_at_work(run)
    source, pipeline = _present(run, FINAL), run / PIPELINE
    meta = read_meta(source)
    has_pipeline = pipeline.is_dir()
    kinds = PIPELINES if has_pipeline else KINDS
    if meta["kind"] not in kinds:
        raise CheckpointError(
            f"{source}: kind {str(meta['kind'])[:80]}{', with a pipeline' * has_pipeline}: no job "
            f"could take it as an asset; want {' or '.join(kinds)}"
        )
    rows, settings = _rows(run), read_yaml(_present(run, "config.yaml"))
    folder = ASSETS / name
    with whole_folder(folder) as part:
        weights = _pipeline(pipeline, part) if has_pipeline else _averaged(source, meta, part)
        card = CARD.format(
            name=name,
            kind=meta["kind"].replace("_", " "),
            weights=weights,
            size=size_of(part),
            command=command,
            data_hash=meta["data_hash"],
            seed=meta["seed"],
            step=meta["step"],
            rows=rows,
            note=f"\n{note}\n" if note else "",
            settings=yaml.dump(settings, Dumper=Dumper, sort_keys=False),
        )
        (part / CARD_FILE).write_text(card, encoding="utf-8")
    return folder


def _present(run: Path, name: str) -> Path:
    path = run / name
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; finish the training in {run} first")
    return path


def _rows(run: Path) -> str:
    """The card's figures. Of a score by digit it is silent; metrics.json has it."""
    path = _present(run, "metrics.json")
    try:
        figures = read_json(path)
        return "\n".join(_row(k, v) for k, v in figures.items() if k.count("/") < 3)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{path}: not the figures of a training ({describe(error)}): run it again in {run}"
        ) from None


def _averaged(source: Path, meta: dict[str, Any], folder: Path) -> int:
    """Write the averaged weights into the new `folder`; their number."""
    averaged = {k: v for k, v in load_file(source).items() if k.startswith("ema.")}
    if not averaged:
        raise CheckpointError(f"{source}: holds no averaged weights (ema.*): train it again")
    refuse_infinite(str(source), averaged)
    halves = {k: v.half() if v.is_floating_point() else v for k, v in averaged.items()}
    refuse_infinite(f"{source} in half precision", halves)
    folder.mkdir(parents=True)
    write_tensors(folder / FINAL, halves, described(meta))
    return sum(value.numel() for value in halves.values())


def _pipeline(source: Path, folder: Path) -> int:
    """Copy a pipeline that loads to `folder`; the number of its weights."""
    from hw2.text2image.loading import load_stable_diffusion  # diffusers takes seconds to import

    trap = planted(source)
    if source.is_symlink() and not inside(source, source.parent):
        trap = f"{source} is a link that leads out of it"
    if trap:
        raise CheckpointError(f"{trap}: an asset holds the files of its training alone")
    load_stable_diffusion(str(source))
    shutil.copytree(source, folder)
    files = folder.rglob("*.safetensors")
    return sum(value.numel() for path in files for value in load_file(path).values())


def size_of(folder: Path) -> float:
    """MB of all files of a released asset but its card."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != CARD_FILE]
    return sum(path.stat().st_size for path in files) / 10**6
