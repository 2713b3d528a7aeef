"""Sweep DDIM's eta and the number of steps of a face model, by Ray Tune.

python -m jobs.tune_eta --config tune_configs/eta.yaml --out outputs/tune_eta
"""

from hw2.job import run_job
from hw2.settings.faces import EtaSettings
from hw2.settings.sweeps import TuneEtaConfig


def main(config: TuneEtaConfig) -> None:
    """Run the trials that are not done yet, then report on all of them."""
    from hw2.distributed.sweep import sweep
    from hw2.distributed.tuning import connected_for
    from hw2.faces.drawing import visited
    from hw2.faces.loading import load_face_model, model_files, weights_file
    from hw2.faces.sweep import SHOWN, make_eta_work, read_inputs, refuse_unmeasured
    from hw2.runs import job_run
    from hw2.sweeps.report import check_metrics
    from hw2.sweeps.space import NOT_RESULTS, checked_points

    weights, base = weights_file(config.model), config.part(EtaSettings)
    points = checked_points(config, base, visited)
    check_metrics(config, SHOWN)
    inputs = read_inputs(config)
    refuse_unmeasured(config, inputs)
    load_face_model(weights)
    make = make_eta_work(weights, base, inputs, config.seed, config.precision)
    run = job_run(
        config,
        "tune_eta",
        files=model_files(weights),
        hashes=inputs.hashes,
        not_results=NOT_RESULTS,
    )
    with connected_for(config), run as (_, tracker):
        sweep(make, points, config, SHOWN, "tune_eta", tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(TuneEtaConfig, main, doc=__doc__))
