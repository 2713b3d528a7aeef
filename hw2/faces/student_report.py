"""Telling of the faces that students handed in: tables, a sheet, metrics.json and MLflow."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from hw2.data.handed_in.folders import metric_keys
from hw2.disclosure import plain
from hw2.faces.students import Faces, FaceStudent
from hw2.figures.handed_sheets import HandedRow, handed_sheets, thumbnail
from hw2.metrics.intervals import UNDEFINED, Interval, bootstrap
from hw2.metrics.table import VERDICTS, format_table
from hw2.runlog.tracker import Tracker
from hw2.settings.grading import GradeFacesConfig

COLUMNS = 10  # of a sheet, at most


def report_face_students(
    students: Sequence[FaceStudent], given: Faces, config: GradeFacesConfig, tracker: Tracker
) -> None:
    """Print the table, write OUT/metrics.json, OUT/tables and OUT/figures, and log all of it."""
    means = [_mean(student, config) for student in students]
    rows = [
        _row(student, mean, config.pass_mark) for student, mean in zip(students, means, strict=True)
    ]
    pictures = [
        {
            "student": student.name,
            "picture": picture.name,
            "file": plain(picture.file),
            "mse": picture.mse,
            "reason": picture.reason or "",
        }
        for student in students
        for picture in student.pictures
    ]
    bad = [picture for picture in pictures if picture["reason"]]
    tracker.log_table("students", rows)
    tracker.log_table("pictures", pictures)
    tracker.log_table("bad_pictures", bad)
    tracker.log_metrics(
        {"pass_mark": config.pass_mark, "students": {r["student"]: r for r in rows}}
    )
    summary: dict[str, float | Interval] = {
        "eval/students": len(students),
        "eval/students_passed": sum(row["verdict"] == VERDICTS[True] for row in rows),
    }
    keys = metric_keys([student.name for student in students])
    summary |= {f"eval/mse/{key}": mean for key, mean in zip(keys, means, strict=True)}
    tracker.log_summary(summary, whole=True)
    shown = [
        {
            "student": student.name,
            "below the pass mark": f"{row['below_pass_mark']} of {len(given)}",
            "mean MSE": str(mean),
            "largest MSE": _text(row["largest_mse"]),
            "missing": row["missing"],
            "unusable": row["unusable"],
            "verdict": row["verdict"],
        }
        for student, mean, row in zip(students, means, rows, strict=True)
    ]
    print(format_table(shown))
    print(f"pass: each of {len(given)} pictures has an MSE below {config.pass_mark:g} (0..255)")
    if bad:
        print(f"{len(bad)} pictures with reasons: {tracker.out / 'tables' / 'bad_pictures.csv'}")
    for path in tracker.log_pictures(_sheets(students, given)):
        print(f"figure: {path}")


def _text(mse: float | None) -> str:
    return "" if mse is None else f"{mse:.0f}" if mse >= 100 else f"{mse:.3g}"


def _mean(student: FaceStudent, config: GradeFacesConfig) -> Interval:
    """The mean error of the pictures that are there, over pictures."""
    if not student.errors:
        return UNDEFINED
    return bootstrap(torch.tensor(student.errors, dtype=torch.float64), seed=config.seed)


def _row(student: FaceStudent, mean: Interval, pass_mark: float) -> dict[str, Any]:
    passed, (value, low, high) = student.passed(pass_mark), mean.to_json().values()
    missing = sum(not picture.file for picture in student.pictures)
    return {
        "student": student.name,
        "below_pass_mark": passed,
        "mse": value,
        "low": low,
        "high": high,
        "largest_mse": max(student.errors, default=None),
        "missing": missing,
        "unusable": len(student.pictures) - len(student.errors) - missing,
        "verdict": VERDICTS[passed == len(student.pictures)],
    }


def _sheets(students: Sequence[FaceStudent], given: Faces) -> Iterator[tuple[str, Image.Image]]:
    """The given pictures, and below them those of each student with their errors."""
    names = [*given][:COLUMNS]
    truth = [thumbnail(given[name].movedim(0, -1).numpy()) for name in names]
    rows = [
        HandedRow(
            student.name,
            [picture.thumb for picture in student.pictures],
            ["" if p.mse is None else f"MSE {_text(p.mse)}" for p in student.pictures],
        )
        for student in students
    ]
    title = "what students handed in; grey: missing, or not readable"
    return handed_sheets("students", HandedRow("given", truth, []), rows, names, title)
