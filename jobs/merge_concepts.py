"""Merge concepts of Custom Diffusion, trained apart, into one model by its closed form.

python -m jobs.merge_concepts --concepts outputs/custom_0,outputs/custom_2 --out outputs/merged
"""

from hw2.job import run_job
from hw2.settings.personalize import MergeConceptsConfig


def main(config: MergeConceptsConfig) -> None:
    """Merge, save as jobs.custom_diffusion does, and report on every layer."""
    from hashlib import sha256

    from hw2.personalize.deltas import cross_attention_weights, save_deltas
    from hw2.personalize.finding import learnt_files
    from hw2.personalize.merge_report import report_merge
    from hw2.personalize.merging import (
        is_merged,
        merge_deltas,
        read_caption_texts,
        read_concepts_to_merge,
    )
    from hw2.personalize.ways import hashes_of
    from hw2.runs import job_run
    from hw2.text2image.loading import load_stable_diffusion

    captions = read_caption_texts(config.captions, config.num_captions)
    model = load_stable_diffusion(config.model)
    concepts = read_concepts_to_merge(config.concepts, model)
    merged = merge_deltas(model, concepts, captions, config.num_targets)
    hashes = hashes_of({str(place): of for place, of in enumerate(concepts)}, {})
    kept = ("model", "concepts", "captions")
    anew = {"captions": sha256("\n".join(captions).encode()).hexdigest()}
    run = job_run(config, "merge_concepts", hashes=hashes, anew=anew, not_results=kept)
    with run as (out, tracker):
        base = cross_attention_weights(model.unet)
        if not is_merged(
            out, merged.deltas, base
        ):  # else what was drawn from it would be another's
            save_deltas(out, merged.deltas, base)
        for path in learnt_files(out):
            tracker.log_file(path)
        report_merge(merged, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(MergeConceptsConfig, main, doc=__doc__))
