"""Grade generated pictures of learnt concepts by CLIP, as the course does, and of several together.

python -m jobs.grade_concepts --generated outputs/generated --out outputs/grades
"""

from hw2.job import run_job
from hw2.settings.grading import GradeConceptsConfig


def main(config: GradeConceptsConfig) -> None:
    """Find and check all pictures, score them in this process, and report, as one MLflow run."""
    from hw2.clip.finding import find_clip
    from hw2.clip.store import EmbeddingStore
    from hw2.data.concepts import read_concepts
    from hw2.distributed.devices import grading_device
    from hw2.personalize.generated import find_generated, hashes_of_generated
    from hw2.personalize.grade_report import report_grades
    from hw2.personalize.grades import Grades
    from hw2.personalize.grading import Embedder, score_pictures
    from hw2.personalize.numbered import check_pictures, refuse_changed
    from hw2.progress import progress
    from hw2.runs import job_run

    concepts = read_concepts(config.input)
    given = [path for concept in concepts.values() for path in concept.pictures]
    found = find_generated(config, concepts)

    def hashes_now() -> dict[str, str]:
        return hashes_of_generated(config, found) | {"sources": check_pictures(given, square=False)}

    hashes = hashes_now()
    source = find_clip(config.model, config.pretrained)
    embedder = Embedder(source, grading_device(config.scaling), config.batch_size)
    embedder.check_texts(concepts[name].prompts_for_score[place] for name, place in found.alone)
    run = job_run(
        config,
        "grade_concepts",
        files={"input": config.input},
        hashes=source.hashes | hashes,
        not_results=("input", "generated", "against", "batch_size"),
    )
    with run as (out, tracker):
        store = EmbeddingStore(out / "embeddings", source.embedding_key("fp32"))
        total = len(given) + len(found.paths) + len(found.paths_against)
        with progress(total, "scoring", "pictures") as bar:
            scores = score_pictures(embedder, store, concepts, found, bar.advance)
        refuse_changed(hashes, hashes_now())
        grades = Grades(concepts, found, scores, config.seed, config.num_pictures or 0)
        report_grades(grades, source.title, out, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(GradeConceptsConfig, main, doc=__doc__))
