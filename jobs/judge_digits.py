"""Judge folders of digits that students handed in: a row a student and domain, with intervals.

python -m jobs.judge_digits --pictures handed_in --out outputs/judged
"""

from hw2.job import run_job
from hw2.settings.grading import JudgeDigitsConfig


def main(config: JudgeDigitsConfig) -> None:
    """Find all pictures, read them in this process, and report, as one MLflow run."""
    from hw2.data.handed_in.folders import hash_of_all
    from hw2.data.handed_in.readings import hash_students, read_students
    from hw2.digits.judging import find_judge, load_judge
    from hw2.digits.real_pictures import read_real, real_sums, score_real
    from hw2.digits.student_grades import DigitReader
    from hw2.digits.student_report import report_students
    from hw2.digits.students import find_students
    from hw2.distributed.devices import grading_device
    from hw2.runs import job_run

    students, weights = find_students(config), find_judge(config.judge)
    judge = load_judge(weights).to(grading_device(config.scaling))
    splits = read_real(config.copies_of)
    real = real_sums(config.copies_of, splits)
    of_real = score_real(judge, splits, config.domains)
    sums = hash_students(students)
    run = job_run(
        config,
        "judge_digits",
        files={"judge": weights},
        anew={"pictures": hash_of_all(sums)},  # who hands in late is read alone
        not_results=("pictures", "num_per_class", "copies_of"),
    )
    with run as (out, tracker):
        readings = read_students(DigitReader(judge), students, sums, out)
        report_students(students, readings, real, of_real, config, tracker)


if __name__ == "__main__":
    raise SystemExit(run_job(JudgeDigitsConfig, main, doc=__doc__))
