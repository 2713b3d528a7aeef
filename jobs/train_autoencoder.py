"""Train the small autoencoder in whose latents jobs.train_text2image works.

python -m jobs.train_autoencoder --config jobs/configs/assets_autoencoder.yaml
"""

from hw2.job import run_job
from hw2.settings.text2image import TrainAutoencoderConfig


def main(config: TrainAutoencoderConfig) -> None:
    """Train (or continue) on the captioned pictures of the data tree."""
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training
    from hw2.locate import FINAL
    from hw2.runs import job_run
    from hw2.text2image.autoencoder_training import (
        autoencoder_training,
        final_error,
        read_text2image,
    )

    pictures = read_text2image(config.data, config.image_size)
    run = job_run(config, "train_autoencoder", splits={"train": pictures})
    with connected(config.scaling), run as (out, tracker):
        run_training(autoencoder_training, config, "train_autoencoder", tracker)
        error = final_error(config, out / FINAL, pictures)
        tracker.log_metrics({"eval/rmse": error.to_json()})
        tracker.log_summary({"eval/rmse": error})
        print(f"root mean squared error of held-out pictures, of 255: {error}")


if __name__ == "__main__":
    raise SystemExit(run_job(TrainAutoencoderConfig, main, doc=__doc__))
