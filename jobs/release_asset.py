"""Make a finished training a released asset: averaged weights in half precision, and a card.

python -m jobs.release_asset --model outputs/assets/digits --name digits
"""

from hw2.job import run_job
from hw2.settings.assets import ReleaseAssetConfig


def main(config: ReleaseAssetConfig) -> None:
    """Write hw2/assets/NAME/final.safetensors and card.md."""
    from hw2.release import release

    path = release(config.model, config.name, config.command, config.note)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MB, card {path.parent / 'card.md'}")


if __name__ == "__main__":
    raise SystemExit(run_job(ReleaseAssetConfig, main, doc=__doc__))
