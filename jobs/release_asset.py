"""Make a finished training a released asset: averaged weights in half precision, and a card.

python -m jobs.release_asset --model outputs/assets/digits --name digits
"""

from hw2.job import run_job
from hw2.settings.assets import ReleaseAssetConfig


def main(config: ReleaseAssetConfig) -> None:
    """Write hw2/assets/NAME with its weights and card.md."""
    from hw2.release import CARD_FILE, release, size_of

    folder = release(config.model, config.name, config.command, config.note)
    print(f"{folder}: {size_of(folder):.1f} MB, card {folder / CARD_FILE}")


if __name__ == "__main__":
    raise SystemExit(run_job(ReleaseAssetConfig, main, doc=__doc__))
