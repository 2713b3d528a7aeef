"""Released weights: small, half precision, with a card that says how to make them again."""

import json
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file, save_file

from hw2.checkpoint import read_meta
from hw2.errors import CheckpointError
from hw2.locate import ASSETS, FINAL

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


def _row(name: str, figure: Any) -> str:
    if not isinstance(figure, dict):
        return f"| {name} | {figure:g} | | |"
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return f"| {name} | n/a | | {figure.get('n', '')} |"
    return f"| {name} | {value:.4g} | {low:.4g} to {high:.4g} | {figure.get('n', '')} |"


def release(run: Path, name: str, command: str, note: str = "", assets: Path = ASSETS) -> Path:
    """Write ASSETS/name/final.safetensors and card.md from the finished training in `run`.

    `note` stands below the figures.

    `run` holds final.safetensors, config.yaml and metrics.json. Raises CheckpointError if one is
    missing.
    """
    source, metrics, config = run / FINAL, run / "metrics.json", run / "config.yaml"
    meta = read_meta(source)
    for path in (metrics, config):
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; finish the training in {run} first")
    averaged = {k: v.half() for k, v in load_file(source).items() if k.startswith("ema.")}
    target = assets / name / FINAL
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    save_file(averaged, part, metadata={"hw2": json.dumps(meta, sort_keys=True)})
    part.replace(target)
    figures = json.loads(metrics.read_text())
    card = CARD.format(
        name=name,
        kind=meta["kind"].replace("_", " "),
        weights=sum(v.numel() for v in averaged.values()),
        size=target.stat().st_size / 2**20,
        command=command,
        data_hash=meta["data_hash"],
        seed=meta["seed"],
        step=meta["step"],
        # Of a score by digit the card is silent; metrics.json has it.
        rows="\n".join(_row(k, v) for k, v in figures.items() if k.count("/") < 3),
        note=f"\n{note}\n" if note else "",
        settings=yaml.safe_dump(yaml.safe_load(config.read_text()), sort_keys=False),
    )
    (target.parent / "card.md").write_text(card)
    return target
