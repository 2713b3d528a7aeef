"""Judge folders of concept pictures that students handed in, by CLIP: a row a student and prompt.

python -m jobs.judge_concepts --pictures handed_in --num_pictures 25 --out outputs/judged_concepts
"""

from hw2.job import run_job
from hw2.settings.grading import JudgeConceptsConfig


def main(config: JudgeConceptsConfig) -> None:
    """Find all pictures, score them in this process, and report, as one MLflow run."""
    from hw2.clip.finding import find_clip
    from hw2.data.concepts import chosen_concepts, read_concepts
    from hw2.data.handed_in.folders import hash_of_all
    from hw2.data.handed_in.readings import hash_students, read_students
    from hw2.distributed.devices import grading_device
    from hw2.personalize.grading import Embedder
    from hw2.personalize.numbered import check_pictures
    from hw2.personalize.student_grades import ConceptReader
    from hw2.personalize.student_report import report_concept_students
    from hw2.personalize.students import find_concept_students
    from hw2.runs import job_run

    concepts = chosen_concepts(read_concepts(config.input), config.sources)
    students = find_concept_students(config, concepts)
    given = [path for concept in concepts.values() for path in concept.pictures]
    sources = check_pictures(given, square=False)
    source = find_clip(config.model, config.pretrained)
    embedder = Embedder(source, grading_device(config.scaling), config.batch_size)
    embedder.check_texts(text for one in concepts.values() for text in one.prompts_for_score)
    sums = hash_students(students)
    run = job_run(
        config,
        "judge_concepts",
        files={"input": config.input},
        hashes=source.hashes | {"sources": sources},
        anew={"pictures": hash_of_all(sums)},  # who hands in late is read alone
        not_results=("input", "pictures", "num_pictures", "batch_size"),
    )
    with run as (out, tracker):
        reader = ConceptReader(embedder, concepts)
        readings = read_students(reader, students, sums, out)
        report_concept_students(students, readings, concepts, source.title, config, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(JudgeConceptsConfig, main, doc=__doc__))
