"""Train a face model in the course's key layout with Ray Train.

python -m jobs.train_faces --config jobs/configs/train_faces.yaml --out outputs/faces_training
"""

from hw2.job import run_job
from hw2.settings.faces import TrainFacesConfig


def main(config: TrainFacesConfig) -> None:
    """Train (or continue) on the real faces of the data tree."""
    from functools import partial

    from hw2.data.faces import real_folder
    from hw2.data.listing.folders import warn_of_other_files
    from hw2.diffusion.samplers import timesteps
    from hw2.distributed.devices import driver_device
    from hw2.distributed.session import connected
    from hw2.distributed.train import run_training
    from hw2.faces.loading import NUM_TRAIN_TIMESTEPS
    from hw2.faces.training import face_training, final_loss, find_init, read_faces
    from hw2.locate import FINAL
    from hw2.runs import job_run

    # What only the sheets need is looked at before the training too.
    timesteps(NUM_TRAIN_TIMESTEPS, config.num_inference_steps)
    pictures = read_faces(config)
    warn_of_other_files(real_folder(config.data.root), f"{len(pictures.images)} faces")
    init = find_init(config)
    files = {"init": init} if init else {}
    run = job_run(config, "train_faces", splits={"train": pictures}, files=files)
    with connected(config.scaling), run as (out, tracker):
        run_training(partial(face_training, init=init), config, "train_faces", tracker)
        loss = final_loss(config, out / FINAL, pictures, driver_device(config.scaling))
        tracker.log_metrics({"eval/loss": loss.to_json()})
        tracker.log_summary({"eval/loss": loss})
        print(f"loss of the averaged weights, on pictures that were trained on: {loss}")


if __name__ == "__main__":
    raise SystemExit(run_job(TrainFacesConfig, main, doc=__doc__))
