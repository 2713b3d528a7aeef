"""Train a small text-to-image model of Stable Diffusion's kind, in an autoencoder's latents.

python -m jobs.train_text2image --config jobs/configs/assets_text2image.yaml
"""

from functools import partial

from hw2.errors import in_section
from hw2.job import run_job
from hw2.settings.text2image import TrainText2ImageConfig


def main(config: TrainText2ImageConfig) -> None:
    """Train (or continue), then write OUT/pipeline, which diffusers loads."""
    from hw2.data.captions import warn_of_cut
    from hw2.distributed.devices import driver_device
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training
    from hw2.locate import FINAL
    from hw2.runs import job_run
    from hw2.text2image.autoencoder_training import find_autoencoder, read_for
    from hw2.text2image.drawing import check_drawing
    from hw2.text2image.export import write_pipeline
    from hw2.text2image.latents import read_latents
    from hw2.text2image.prompts import check_prompt
    from hw2.text2image.training import finished, text2image_training
    from hw2.text2image.vocabulary import small_tokenizer

    with in_section("sample"):
        check_drawing(config.sample, config.num_train_timesteps)
    autoencoder = find_autoencoder(config.autoencoder)
    pictures = read_for(autoencoder, config.data)
    tokenizer = small_tokenizer(pictures.captions, config.text.merges, config.text.context_length)
    check_prompt(tokenizer, config.sample.negative_prompt, "sample.negative_prompt")
    run = job_run(
        config,
        "train_text2image",
        splits={"train": pictures},
        files={"autoencoder": autoencoder},
        not_results=("autoencoder",),
    )
    with connected(config.scaling), run as (out, tracker):
        latents = read_latents(config, autoencoder, out)  # once, not on every worker
        warn_of_cut(latents.lengths(), config.text.context_length)
        make = partial(text2image_training, autoencoder=autoencoder)
        run_training(make, config, "train_text2image", tracker)
        model, loss = finished(config, autoencoder, out, out / FINAL, driver_device(config.scaling))
        write_pipeline(model, out / "pipeline")
        tracker.log_metrics({"eval/loss": loss.to_json()})
        tracker.log_summary({"eval/loss": loss})
        print(f"held-out loss: {loss}")
        print(f"{out / 'pipeline'}: loads by diffusers' StableDiffusionPipeline.from_pretrained")


if __name__ == "__main__":
    raise SystemExit(run_job(TrainText2ImageConfig, main, doc=__doc__))
