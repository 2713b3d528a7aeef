"""Telling of the digits that students handed in: tables, metrics.json, confusions, MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from hw2.data.handed_in.files import Student
from hw2.data.handed_in.folders import metric_keys
from hw2.data.handed_in.readings import Reading, shared_sums, with_equals
from hw2.digits.student_grades import Grade, grade
from hw2.disclosure import plain
from hw2.domains import DIGITS, Domain
from hw2.figures.matrix import confusion_figure
from hw2.metrics.classification import confusion_matrix, worst_pairs
from hw2.metrics.digit_scores import MEAN, DigitScores
from hw2.metrics.intervals import Interval, mean_of_intervals
from hw2.metrics.table import format_table
from hw2.runlog.tracker import Tracker
from hw2.settings.grading import JudgeDigitsConfig

Rows = list[dict[str, Any]]
Grades = dict[str, dict[Domain, Grade]]  # by student


def report_students(
    students: Sequence[Student],
    readings: Sequence[Sequence[Reading]],
    real: Mapping[str, str],
    of_real: DigitScores,
    config: JudgeDigitsConfig,
    tracker: Tracker,
) -> None:
    """Print the table, write OUT/metrics.json, OUT/tables and OUT/figures, and log all of it.

    `readings` has for each student a reading a file; `real` are the sums of real pictures, and
    where these lie; `of_real` is what the judge makes of those of val.
    """
    domains, asked = config.domains, config.num_per_class or 0
    students = [student.counted(asked) for student in students]
    shared = shared_sums([one.sum for one in read] for read in readings)
    grades: Grades = {
        student.name: {d: grade(student.files, read, d, asked, shared, real) for d in domains}
        for student, read in zip(students, readings, strict=True)
    }
    pictures = picture_rows(students, readings, real)
    bad = [row for row in pictures if row["reason"]]
    tracker.log_table("students", student_rows(grades))
    tracker.log_table("pictures", pictures)
    tracker.log_table("bad_pictures", bad)
    figures = tracker.log_pictures(_confusions(students, readings, domains))
    tracker.log_metrics(to_json(grades) | of_real.to_json())
    tracker.log_summary(flat(grades) | of_real.flat(), whole=True)
    shown = student_rows(grades, shown=True)
    print(format_table(shown))
    first = f"the first {asked} pictures of each digit, also of those that are missing"
    whose = first if asked else "all pictures whose names tell a digit"
    print(f"accuracy: of {whose}, with limits of 95 %")
    if of_real.scores:
        print(format_table(of_real.summary()))
    else:
        print("what the judge makes of real pictures is not known: --copies_of hw2_data tells")
    tables = tracker.out / "tables"
    if bad:
        listed = tables / "bad_pictures.csv"
        print(f"unreadable pictures count as wrong; {len(bad)} rows with reasons: {listed}")
    print(f"each picture: {tables / 'pictures.csv'}")
    if figures:
        print("confusions:", *(str(path) for path in figures), sep="\n  ")


def mean_accuracy(grades: dict[Domain, Grade]) -> Interval:
    """The mean over domains; undefined if one has no pictures."""
    return mean_of_intervals([grade.accuracy for grade in grades.values()])


def accuracies(grades: Grades) -> Iterator[tuple[str, str, list[Grade], Interval]]:
    """Student, domain, the grades that these are of, and the accuracy; last the mean's."""
    for name, own in grades.items():
        for domain, of in own.items():
            yield name, domain, [of], of.accuracy
        yield name, MEAN, list(own.values()), mean_accuracy(own)


def student_rows(grades: Grades, shown: bool = False) -> Rows:
    """A row a student and domain, and one of the mean; None where there is no figure.

    `shown`: for a terminal, with the limits in the column of the accuracies.
    """
    rows: Rows = []
    for name, domain, of, accuracy in accuracies(grades):
        value, low, high = accuracy.to_json().values()
        limits = {"accuracy": value, "low": low, "high": high}
        counts = {key: sum(grade.counts[key] for grade in of) for key in of[0].counts}
        row = {
            "student": name,
            "domain": domain,
            "pictures": counts.pop("pictures"),
            "read_right": counts.pop("read_right"),
            **({"accuracy": f"{accuracy:.1%}"} if shown else limits),
            **counts,
            "fewer": "" if domain == MEAN else of[0].fewer,
        }
        rows.append({key.replace("_", " "): cell for key, cell in row.items()} if shown else row)
    return rows


def picture_rows(
    students: Sequence[Student],
    readings: Sequence[Sequence[Reading]],
    real: Mapping[str, str],
) -> Rows:
    """A row a file, also of what does not count; a missing folder is a row without a file."""
    return [
        {
            "student": student.name,
            "domain": file.place,
            "file": plain(file.file),
            "digit": file.label,
            "read_as": reading.said,
            "size": reading.size,
            "equal_to": equal_to,
            "reason": plain(file.reason or reading.reason or ""),
        }
        for student, file, reading, equal_to in with_equals(students, readings, real)
    ]


def to_json(grades: Grades) -> dict[str, Any]:
    """All figures with their limits, ready for JSON."""
    return {
        "students": {
            name: {
                **{
                    domain: {
                        **of.accuracy.to_json(),
                        **of.counts,
                        "pictures_by_digit": list(of.pictures),
                    }
                    for domain, of in own.items()
                },
                MEAN: mean_accuracy(own).to_json(),
            }
            for name, own in grades.items()
        }
    }


def flat(grades: Grades) -> dict[str, float | Interval]:
    """Accuracies by student, under names that MLflow takes."""
    found: dict[str, float | Interval] = {"eval/students": len(grades)}
    for key, own in zip(metric_keys([*grades]), grades.values(), strict=True):
        found[f"eval/accuracy/{key}"] = mean_accuracy(own)
        found |= {f"eval/accuracy/{key}/{d}": of.accuracy for d, of in own.items()}
    every = [of for own in grades.values() for of in own.values()]
    found["eval/pictures"] = sum(of.counts["pictures"] for of in every)
    found["eval/unreadable"] = sum(of.unreadable for of in every)
    return found


def _confusions(
    students: Sequence[Student],
    readings: Sequence[Sequence[Reading]],
    domains: Sequence[Domain],
) -> Iterator[tuple[str, Image.Image]]:
    """A figure a domain: what the pictures of all students were taken for."""
    for domain in domains:
        pairs = [
            (file.label, reading.said, place)
            for place, (student, read) in enumerate(zip(students, readings, strict=True))
            for file, reading in zip(student.files, read, strict=True)
            if file.place == domain and file.label is not None and reading.said is not None
        ]
        if pairs:
            digits, said, places = torch.tensor(pairs).T
            confusion = confusion_matrix(said, digits, len(DIGITS))
            title = f"{domain}: {len(pairs)} pictures of {len(places.unique())} students"
            names, worst = [str(digit) for digit in DIGITS], worst_pairs(confusion, 5)
            yield f"{domain}_confusion", confusion_figure(confusion, names, title, worst)
