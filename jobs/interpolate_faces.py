"""Draw faces between two noises: slerp over lerp, with norms and smoothness.

python -m jobs.interpolate_faces --first 00 --second 01 --out outputs/interpolation
"""

from hw2.job import run_job
from hw2.settings.faces import InterpolateFacesConfig


def main(config: InterpolateFacesConfig) -> None:
    """Draw both ways from the first noise to the second, as one MLflow run."""
    from hw2.data.noises import read_noises
    from hw2.diffusion.interpolation import interpolants
    from hw2.distributed.batch import map_pieces
    from hw2.distributed.session import connected
    from hw2.faces.drawing import visited
    from hw2.faces.folder import Wanted, draw_wanted, make_worker
    from hw2.faces.loading import load_face_model, model_files, weights_file
    from hw2.faces.report import interpolation_names, report_interpolation
    from hw2.runs import job_run

    visited(config)
    noises, weights = read_noises(config.noise), weights_file(config.model)
    a, b = noises.noises[noises.pick([config.first, config.second])]
    between = interpolants(a, b, config.num_alphas)
    load_face_model(weights)
    wanted = [
        Wanted(name, start, config.eta, 0)  # one index: all get the same fresh noise
        for way, starts in (("slerp", between.slerp), ("lerp", between.lerp))
        for name, start in zip(interpolation_names(way, config.num_alphas), starts, strict=True)
    ]
    hashes = {"noise": noises.content_hash}
    make = make_worker(config, weights, wanted)
    run = job_run(config, "interpolate_faces", files=model_files(weights), hashes=hashes)
    with connected(config.scaling), run as (out, tracker):
        draw_wanted(config, make, wanted, out, map_pieces)
        report_interpolation(config, between, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(InterpolateFacesConfig, main, doc=__doc__))
