"""Learn a concept from a few pictures: one new row of the token table (textual inversion).

python -m jobs.textual_inversion --config jobs/configs/textual_inversion.yaml --source 0
"""

from hw2.job import run_job
from hw2.settings.personalize import TextualInversionConfig


def main(config: TextualInversionConfig) -> None:
    """Train (or continue), then write OUT/learned_embeds.safetensors, which diffusers loads."""
    from hw2.distributed.devices import driver_device
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training_on
    from hw2.locate import FINAL
    from hw2.personalize.inversion import (
        EMBEDDING,
        inversion_inputs,
        inversion_training,
        write_embedding,
    )
    from hw2.personalize.report import report_training
    from hw2.runs import job_run

    hashes = inversion_inputs(config)  # refuses what cannot be trained before OUT is made
    kept = ("input", "model", "num_shown")
    run = job_run(config, "textual_inversion", hashes=hashes, not_results=kept)
    with connected(config.scaling), run as (out, tracker):
        run_training_on(inversion_training, config, "textual_inversion", tracker)
        embedding = write_embedding(out / FINAL, out)
        tracker.log_file(out / EMBEDDING)
        device = driver_device(config.scaling)
        report_training(inversion_training(config, out, device), tracker, device=device)
        print(f"{embedding.token}: {out / EMBEDDING}, for diffusers' load_textual_inversion")


if __name__ == "__main__":
    raise SystemExit(run_job(TextualInversionConfig, main, doc=__doc__))
