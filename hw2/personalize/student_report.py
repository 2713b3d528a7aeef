"""Telling of the concepts that students handed in: tables, sheets, metrics.json and MLflow."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from hw2.data.concepts import Concept
from hw2.data.handed_in.files import Student
from hw2.data.handed_in.folders import metric_keys
from hw2.data.handed_in.readings import MAX_PIXELS, Reading, shared_sums, with_equals
from hw2.data.images import decode_bytes, decode_named
from hw2.disclosure import plain
from hw2.errors import DataError
from hw2.figures.handed_sheets import HandedRow, handed_sheets, thumbnail
from hw2.metrics.concept_scores import BEST
from hw2.metrics.intervals import Interval
from hw2.metrics.table import VERDICTS, format_table
from hw2.personalize.generated import Prompt
from hw2.personalize.student_grades import StudentPrompt, grade_student_prompt, source_sums
from hw2.personalize.students import place_of
from hw2.runlog.tracker import Tracker
from hw2.settings.grading import JudgeConceptsConfig

Rows = list[dict[str, Any]]
Graded = dict[str, dict[Prompt, StudentPrompt]]  # by student


def report_concept_students(
    students: Sequence[Student],
    readings: Sequence[Sequence[Reading]],
    concepts: Mapping[str, Concept],
    clip: str,
    config: JudgeConceptsConfig,
    tracker: Tracker,
) -> None:
    """Print the table, write OUT/metrics.json, OUT/tables and OUT/figures, and log all of it.

    `readings` has for each student a reading a file; `clip` is the title of the model.
    """
    asked = config.num_pictures or 0
    students = [student.counted(asked) for student in students]
    baselines = {
        (source, prompt): baseline
        for source, concept in concepts.items()
        for prompt, baseline in enumerate(concept.baselines)
    }
    shared = shared_sums([one.sum for one in read] for read in readings)
    real = source_sums(concepts)
    graded: Graded = {
        student.name: {
            key: grade_student_prompt(
                place_of(*key),
                baseline,
                list(zip(student.files, read, strict=True)),
                config.seed,
                asked,
                shared,
                real,
            )
            for key, baseline in baselines.items()
        }
        for student, read in zip(students, readings, strict=True)
    }
    rows = prompt_rows(graded, baselines)
    pictures = picture_rows(students, readings, graded, real)
    bad = [row for row in pictures if row["reason"]]
    for name, table in {"students": rows, "pictures": pictures, "bad_pictures": bad}.items():
        tracker.log_table(name, table)
    tracker.log_metrics({"clip": clip, "students": to_json(graded)})
    tracker.log_summary(flat(graded), whole=True)
    print(format_table(shown_rows(graded, baselines)))
    limit = f"; a prompt with fewer than {asked} pictures that can be read fails" * (asked > 0)
    print(f"image and text score of the best {BEST}, and what they are to reach{limit}; {clip}")
    tables = tracker.out / "tables"
    print(f"each prompt: {tables / 'students.csv'}; each picture: {tables / 'pictures.csv'}")
    if bad:
        print(f"{len(bad)} files with reasons: {tables / 'bad_pictures.csv'}")
    for path in tracker.log_pictures(_sheets(students, concepts, graded)):
        print(f"figure: {path}")


def prompt_rows(graded: Graded, baselines: Mapping[Prompt, tuple[float, float]]) -> Rows:
    """A row a student and prompt; None where there is no figure."""
    rows: Rows = []
    for name, own in graded.items():
        for key, of in own.items():
            row = {"student": name, "source": key[0], "prompt": key[1]} | of.counts
            row |= {key: getattr(of.grade, key, None) for key in ("best_image", "best_text")}
            row |= dict(zip(("baseline_image", "baseline_text"), baselines[key], strict=True))
            row |= {"nearest": _nearest(of), "verdict": VERDICTS[of.passed]}
            for kind in ("image", "text"):
                mean = getattr(of.grade, kind, None)
                limits = mean.to_json() if mean else {"value": None, "low": None, "high": None}
                row |= {f"{kind}_{end}": value for end, value in limits.items()}
            rows.append(row)
    return rows


def shown_rows(graded: Graded, baselines: Mapping[Prompt, tuple[float, float]]) -> Rows:
    """A row a student, with a column a prompt: what a terminal has room for."""
    rows: Rows = []
    for name, own in graded.items():
        row: dict[str, Any] = {"student": name}
        for key, of in own.items():
            image, text = baselines[key]
            row[f"{place_of(*key)} ({image:g}, {text:g})"] = _verdict(of)
        row["passed"] = f"{sum(of.passed for of in own.values())} of {len(own)}"
        for count in ("unreadable", "missing", "shared", "copied"):
            row[count] = sum(of.counts[count] for of in own.values())
        rows.append(row)
    return rows


def _verdict(of: StudentPrompt) -> str:
    verdict = VERDICTS[of.passed]
    if of.grade is None:
        return f"none, {verdict}"
    return f"{of.grade.best_image:.1f}, {of.grade.best_text:.1f}, {verdict}"


def _nearest(of: StudentPrompt) -> float | None:
    """The highest score of one of the best against the source picture that it is most like."""
    return None if of.grade is None else float(of.scores[of.grade.best, 2].max())


def picture_rows(
    students: Sequence[Student],
    readings: Sequence[Sequence[Reading]],
    graded: Graded,
    real: Mapping[str, str],
) -> Rows:
    """A row a file, also of what does not count; a missing folder is a row without a file."""
    best = {
        (name, file): n
        for name, own in graded.items()
        for of in own.values()
        for n, file in enumerate(of.best, 1)
    }
    rows: Rows = []
    for student, file, reading, equal_to in with_equals(students, readings, real):
        scores = reading.said or (None, None, None)
        row: dict[str, Any] = {
            "student": student.name,
            "folder": file.place,
            "file": plain(file.file),
        }
        row |= dict(zip(("image", "text", "nearest"), scores, strict=True))
        row |= {"best": best.get((student.name, file)), "size": reading.size}
        reason = plain(file.reason or reading.reason or "")
        rows.append({**row, "equal_to": equal_to, "reason": reason})
    return rows


def to_json(graded: Graded) -> dict[str, Any]:
    """All figures with their limits, ready for JSON."""
    return {
        name: {
            place_of(*key): {
                **of.counts,
                "best": [file.file for file in of.best],
                "best_image": None if of.grade is None else of.grade.best_image,
                "best_text": None if of.grade is None else of.grade.best_text,
                "passed": of.passed,
                "image": None if of.grade is None else of.grade.image.to_json(),
                "text": None if of.grade is None else of.grade.text.to_json(),
            }
            for key, of in own.items()
        }
        for name, own in graded.items()
    }


def flat(graded: Graded) -> dict[str, float | Interval]:
    """Passed prompts by student, and the scores, under names that MLflow takes."""
    found: dict[str, float | Interval] = {
        "eval/students": len(graded),
        "eval/students_passed": sum(
            all(of.passed for of in own.values()) for own in graded.values()
        ),
    }
    for name, own in zip(metric_keys([*graded]), graded.values(), strict=True):
        found[f"eval/prompts_passed/{name}"] = sum(of.passed for of in own.values())
        for (source, prompt), of in zip(own, own.values(), strict=True):
            if of.grade is not None:
                stem = f"eval/source{source}/prompt{prompt}/{name}"
                found[f"{stem}/best_image"] = of.grade.best_image
                found[f"{stem}/best_text"] = of.grade.best_text
    return {re.sub(r"[^\w. /-]", "_", key): value for key, value in found.items()}


def _sheets(
    students: Sequence[Student], concepts: Mapping[str, Concept], graded: Graded
) -> Iterator[tuple[str, Image.Image]]:
    """For each prompt pictures of its concept, and below them the best of each student."""
    for source, concept in concepts.items():
        given = [thumbnail(decode_named(path, upright=True)) for path in concept.pictures[:BEST]]
        for place, prompt in enumerate(concept.prompts):
            rows = [_row(student, graded[student.name][source, place]) for student in students]
            yield from handed_sheets(
                f"source{source}_prompt{place}",
                HandedRow(f"pictures of {concept.token_name}", given, []),
                rows,
                [f"best {n}" for n in range(1, BEST + 1)],
                f"{prompt}: image and text score; grey: none",
            )


def _row(student: Student, of: StudentPrompt) -> HandedRow:
    """The best pictures, read once more, with their scores."""
    files = replace(student, files=tuple(of.best))
    thumbs = [_thumb(content) for _, content in files.contents()]
    scores = [] if of.grade is None else of.scores[of.grade.best].tolist()
    notes = [f"{image:.1f}, {text:.1f}" for image, text, _ in scores]
    return HandedRow(f"{student.name}, {VERDICTS[of.passed]}", thumbs, notes)


def _thumb(content: bytes | str) -> np.ndarray | None:
    if isinstance(content, str):  # gone meanwhile
        return None
    try:
        return thumbnail(decode_bytes(content, MAX_PIXELS, upright=True))
    except DataError:
        return None
