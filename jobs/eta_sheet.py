"""Draw the same noises with several eta, in one labelled grid.

python -m jobs.eta_sheet --model hw2_data/face/UNet.pt --noise hw2_data/face/noise --out outputs/eta
"""

from hw2.job import run_job
from hw2.settings.faces import EtaSheetConfig


def main(config: EtaSheetConfig) -> None:
    """Draw rows of noises and columns of eta, as one MLflow run."""
    from hw2.data.noises import read_noises
    from hw2.distributed.batch import map_pieces
    from hw2.distributed.session import connected
    from hw2.faces.drawing import visited
    from hw2.faces.folder import Wanted, draw_wanted, make_worker
    from hw2.faces.loading import load_face_model, model_files, weights_file
    from hw2.faces.report import eta_name, report_etas
    from hw2.runs import job_run

    visited(config)
    noises, weights = read_noises(config.noise), weights_file(config.model)
    rows = noises.pick(config.noises)
    load_face_model(weights)
    wanted = [
        Wanted(eta_name(noises.names[row], eta), noises.noises[row], eta, row)
        for eta in config.etas
        for row in rows
    ]
    hashes = {"noise": noises.content_hash}
    make = make_worker(config, weights, wanted)
    run = job_run(config, "eta_sheet", files=model_files(weights), hashes=hashes)
    with connected(config.scaling), run as (out, tracker):
        draw_wanted(config, make, wanted, out, map_pieces)
        report_etas(config, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(EtaSheetConfig, main, doc=__doc__))
