"""Draw faces from given noises by DDIM, and compare them with given pictures.

python -m jobs.sample_faces --noise hw2_data/face/noise --out outputs/faces
"""

from hw2.job import run_job
from hw2.settings.faces import SampleFacesConfig


def main(config: SampleFacesConfig) -> None:
    """Draw and compare, as one MLflow run."""
    from hw2.data.noises import read_noises
    from hw2.distributed.batch import map_pieces
    from hw2.distributed.session import connected
    from hw2.faces.drawing import visited
    from hw2.faces.folder import Wanted, draw_wanted, make_worker
    from hw2.faces.ground_truth import content_hash, ground_truth_folder, read_ground_truth
    from hw2.faces.loading import load_face_model, model_files, weights_file
    from hw2.faces.report import report_faces
    from hw2.runs import job_run

    visited(config)
    noises, weights = read_noises(config.noise), weights_file(config.model)
    folder = ground_truth_folder(config.noise, config.gt)
    truth = read_ground_truth(folder, noises) if folder else {}
    load_face_model(weights)
    wanted = [Wanted(n, x, config.eta, i) for i, (n, x) in enumerate(noises.items())]
    given = {"gt": content_hash(truth)} if truth else {}
    make = make_worker(config, weights, wanted)
    run = job_run(
        config,
        "sample_faces",
        files=model_files(weights),
        hashes={"noise": noises.content_hash},
        anew=given,
        not_results=("gt",),
    )
    with connected(config.scaling), run as (out, tracker):
        draw_wanted(config, make, wanted, out, map_pieces)
        report_faces(config, noises.names, truth, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(SampleFacesConfig, main, doc=__doc__))
