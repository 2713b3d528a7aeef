"""Draw learnt concepts: 25 pictures a prompt in the course's names, and several concepts together.

python -m jobs.generate_concepts --separate outputs/inversion_0,outputs/inversion_1 --out OUT
"""

from hw2.job import run_job
from hw2.settings.personalize import GenerateConceptsConfig


def main(config: GenerateConceptsConfig) -> None:
    """Draw what is not in OUT yet on Ray Data actors, then make the sheets."""
    from hw2.data.concepts import chosen_concepts, read_concepts
    from hw2.distributed.batch import map_pieces
    from hw2.distributed.session import connected
    from hw2.personalize import generating
    from hw2.personalize.generated import concepts_in
    from hw2.personalize.numbered import check_pictures
    from hw2.personalize.sheets import write_sheets
    from hw2.personalize.ways import hashes_of, read_ways
    from hw2.progress import progress
    from hw2.runs import job_run
    from hw2.text2image.drawing import check_drawing
    from hw2.text2image.loading import load_stable_diffusion

    everything = read_concepts(config.input)
    concepts = chosen_concepts(everything, config.sources)
    given = [path for concept in concepts.values() for path in concept.pictures]
    check_pictures(given, square=False)  # the sheets show them
    for prompt in config.together:
        concepts_in(prompt, everything, "together")  # else the grader would refuse all pictures
    model = load_stable_diffusion(config.model)
    ways = read_ways(config, model, concepts)
    prompts = generating.prompts_to_draw(config, ways, concepts)
    generating.check_prompts(model, prompts, ways, config.negative_prompt)
    check_drawing(config.sample, model.schedule.num_train_timesteps)
    kept = ("input", "separate", "joint", "merged", "model", "num_pictures", "together")
    hashes = hashes_of(ways, concepts) | generating.hashes_of_prompts(prompts)
    hashes["model"] = model.content_hash
    del model  # gigabytes, and who draws loads one of its own
    run = job_run(config, "generate_concepts", hashes=hashes, not_results=kept)
    with connected(config.scaling), run as (out, tracker):
        pieces, done = generating.pieces_to_draw(config, prompts, out)
        total = len(prompts) * config.num_pictures
        with progress(total, "drawing", "pictures", done) as bar:
            results = map_pieces(generating.make_worker(config, ways), pieces, config.scaling)
            for count in generating.write_pieces(results):
                bar.advance(count)
        generating.write_prompts(config, ways, out)
        tracker.log_metrics({"prompts": len(prompts), "pictures": total})
        figures = write_sheets(config, ways, concepts, out)
        for path in figures:
            tracker.log_figure(path)
        print("pictures:", *(str(path) for path in figures), sep="\n  ")


if __name__ == "__main__":
    raise SystemExit(run_job(GenerateConceptsConfig, main, doc=__doc__))
