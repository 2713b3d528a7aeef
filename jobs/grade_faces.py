"""Grade folders of faces that students handed in: each picture's MSE against the given one.

python -m jobs.grade_faces --pictures handed_in --gt hw2_data/face/GT --out outputs/face_grades
"""

from hw2.job import run_job
from hw2.settings.grading import GradeFacesConfig


def main(config: GradeFacesConfig) -> None:
    """Find all pictures, compare them in this process, and report, as one MLflow run."""
    from hw2.data.handed_in.folders import hash_of_all
    from hw2.faces.ground_truth import content_hash
    from hw2.faces.student_report import report_face_students
    from hw2.faces.students import find_face_students, read_given, read_student
    from hw2.progress import progress
    from hw2.runs import job_run

    given = read_given(config.gt)
    folders = find_face_students(config, given)
    with progress(len(folders) * len(given), "comparing", "pictures") as bar:
        students = [read_student(*one, given, bar.advance) for one in folders.items()]
    run = job_run(
        config,
        "grade_faces",
        hashes={"gt": content_hash(given)},
        anew={"pictures": hash_of_all({s.name: s.content_hash for s in students})},
        not_results=("pictures", "gt", "pass_mark"),
    )
    with run as (_, tracker):
        report_face_students(students, given, config, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(GradeFacesConfig, main, doc=__doc__))
