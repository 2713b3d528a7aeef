"""Learn concepts by keys and values of the cross-attention and a token each (Custom Diffusion).

python -m jobs.custom_diffusion --config jobs/configs/custom_diffusion.yaml --sources 0 --out OUT
"""

from hw2.job import run_job
from hw2.settings.personalize import CustomDiffusionConfig


def main(config: CustomDiffusionConfig) -> None:
    """Draw pictures of the concepts' classes, train (or continue), and save what has changed."""
    from hw2.distributed.batch import map_pieces
    from hw2.distributed.devices import driver_device
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training_on
    from hw2.locate import FINAL
    from hw2.personalize import generating, prior
    from hw2.personalize.custom_diffusion import (
        custom_diffusion_training,
        custom_inputs,
        write_deltas,
    )
    from hw2.personalize.finding import learnt_files
    from hw2.personalize.report import report_training
    from hw2.progress import progress
    from hw2.runs import job_run

    hashes, captions = custom_inputs(config)  # refuses what cannot be trained before OUT is made
    kept = ("input", "model", "num_shown", "prior.folder")
    run = job_run(config, "custom_diffusion", hashes=hashes, not_results=kept)
    with connected(config.scaling), run as (out, tracker):
        chunk_size = config.prior.pictures_per_chunk
        pieces = prior.pieces_to_draw(captions, out / prior.PRIOR, chunk_size)
        with progress(len(captions), "drawing the classes", "pictures", quiet=not pieces) as bar:
            results = map_pieces(generating.make_worker(config, {}), pieces, config.scaling)
            for count in generating.write_pieces(results):
                bar.advance(count)
        if captions:
            prior.write_captions(captions, out / prior.PRIOR)
        run_training_on(custom_diffusion_training, config, "custom_diffusion", tracker)
        energy = write_deltas(config, out / FINAL, out)
        for path in learnt_files(out):
            tracker.log_file(path)
        device = driver_device(config.scaling)
        training = custom_diffusion_training(config, out, device, with_priors=False)
        report_training(training, tracker, {"eval/kept_energy": energy}, device)
        energy_kept = f"kept energy of the changes: {energy:.4%}; " if config.rank else ""
        print(f"{energy_kept}weights and tokens: {out}")


if __name__ == "__main__":
    raise SystemExit(run_job(CustomDiffusionConfig, main, doc=__doc__))
