"""Classify pictures by CLIP without training, from the names of the classes alone.

python -m jobs.clip_zero_shot --images hw2_data/clip_zeroshot/val --out outputs/clip
"""

import time

from hw2.job import run_job
from hw2.settings.zero_shot import ClipZeroShotConfig


def main(config: ClipZeroShotConfig) -> None:
    """Embed pictures and prompts on Ray Data actors, then rank and report, as one MLflow run."""
    began = time.time()
    from hw2.clip.cuts import warn_of_prompts
    from hw2.clip.finding import find_clip
    from hw2.clip.plan import Plan, find_pictures
    from hw2.clip.prompts import prompt_sets
    from hw2.clip.report import report_zero_shot
    from hw2.clip.tokenizing import load_tokenizer
    from hw2.clip.work import make_encoder, make_reader
    from hw2.config import ScalingConfig
    from hw2.distributed.batch import map_pieces
    from hw2.distributed.devices import number_format
    from hw2.distributed.session import connected
    from hw2.progress import progress
    from hw2.runs import job_run

    sets = prompt_sets(config.asked_templates, config.clean_names)
    listing = find_pictures(config)
    source = find_clip(config.model, config.pretrained)
    precision = number_format(config.precision, config.scaling)
    plan = Plan.make(config, source, listing, sets, began, precision)
    cut = warn_of_prompts(load_tokenizer(source), plan.prompts, listing.labels.names)
    pieces = plan.pieces()
    scaling = config.scaling if pieces else ScalingConfig(num_workers=0)  # Ray takes seconds
    run = job_run(
        config,
        "clip_zero_shot",
        hashes=source.hashes | plan.hashes | listing.hashes,
        not_results=("images", "labels", "cache", "max_bad_share", "num_examples"),
        shared=[plan.store.folder] if pieces else [],
    )
    with connected(scaling), run as (_, tracker):
        with progress(plan.num_pictures, "embedding", "pictures", plan.num_known) as bar:
            encoder = make_encoder(source, plan.store, config.batch_size, config.precision)
            reader = make_reader(source.preprocess, plan.store)
            for count in plan.take(map_pieces(encoder, pieces, scaling, reader)):
                bar.advance(count)
        report_zero_shot(config, source, listing, plan, cut, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(ClipZeroShotConfig, main, doc=__doc__))
