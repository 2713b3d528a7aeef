"""Telling of graded concepts: tables, sheets, metrics.json and MLflow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from hw2.data.concepts import concept_pictures
from hw2.data.images import decode
from hw2.figures.gallery import GalleryRow, gallery
from hw2.metrics.concept_scores import both_scores, both_there
from hw2.metrics.table import VERDICTS, format_table
from hw2.personalize.generated import Prompt
from hw2.personalize.grades import Grades
from hw2.pixels import stacked
from hw2.runlog.tracker import Tracker

Rows = list[dict[str, Any]]


def report_grades(grades: Grades, clip: str, out: Path, tracker: Tracker) -> None:
    """Print the tables, write OUT/metrics.json, OUT/tables and OUT/figures, and log all of it.

    `clip` is the title of the model that the scores are of.
    """
    tables = {
        "grades": grade_rows(grades),
        "sources": source_rows(grades),
        "together": together_rows(grades),
        "differences": difference_rows(grades),
    }
    for name, rows in tables.items():
        tracker.log_table(name, rows)
        if rows:
            print(format_table(rows))
    tracker.log_table("pictures", picture_rows(grades))
    tracker.log_table("pictures_together", picture_rows_together(grades))
    for name, picture in sheets(grades):
        print(f"figure: {tracker.log_picture(name, picture)}")
    tracker.log_metrics({"clip": clip, **grades.to_json()})
    tracker.log_summary(grades.flat())
    if grades.together:
        print(
            "both: the smaller of a picture's image scores; both are there: each above the "
            "concept's threshold, the most that pictures of other concepts reach"
        )
    verdicts = [grades.passed(key) for key in grades.alone]
    counted = f"{verdicts.count(True)} pass, {verdicts.count(False)} fail"
    print(f"{clip}: {len(verdicts)} prompts, {counted}")
    numbers = {key: len(grades.scores.alone[key].numbers) for key in grades.alone}
    few = [f"{s}/{p} has {n}" for (s, p), n in numbers.items() if n < grades.asked]
    if few:
        print(f"of {grades.asked} pictures, without which a prompt fails: {', '.join(few)}")
    print(f"scores of every picture: {out / 'tables' / 'pictures.csv'}")


def grade_rows(grades: Grades) -> Rows:
    """A row for each prompt of a concept: the best pictures by the baselines, then all."""
    rows = []
    for key, grade in grades.alone.items():
        image, text = grades.baseline(key)
        row = {
            "source": key[0],
            "prompt": key[1],
            "pictures": len(grades.scores.alone[key].numbers),
            "best": len(grade.best),
            "image, best": f"{grade.best_image:.2f}",
            "text, best": f"{grade.best_text:.2f}",
            "baselines": f"{image:g}, {text:g}",
            "": VERDICTS[grades.passed(key)],
            "image, all": str(grade.image),
            "text, all": str(grade.text),
        }
        changes = grades.changes.get(key, {})
        rows.append(row | {f"{kind} - against": str(change) for kind, change in changes.items()})
    return rows


def source_rows(grades: Grades) -> Rows:
    """A row for each concept: image scores of its own pictures, and the most that others' have."""
    rows = []
    for name, concept in grades.concepts.items():
        figures = {
            "image, each other": grades.scores.likeness.get(name),
            "threshold": grades.scores.thresholds.get(name),
        }
        shown = {k: "n/a" if v is None else f"{v:.2f}" for k, v in figures.items()}
        about = {"source": name, "token": concept.token_name, "kind": concept.kind or ""}
        rows.append({**about, "pictures": len(concept.pictures), **shown})
    return rows


def together_rows(grades: Grades) -> Rows:
    """A row for each prompt with several concepts and way of drawing it."""
    rows = []
    shown = {name for one in grades.generated.together for name in one.concepts}
    for one, scores in zip(grades.generated.together, grades.together, strict=True):
        for way, score in scores.items():
            own = dict(zip(one.concepts, map(str, score.own), strict=True))
            images = {
                f"image {concept.token_name}": own.get(name, "")
                for name, concept in grades.concepts.items()
                if name in shown
            }
            row = {"prompt": one.prompt, "way": way, "pictures": len(one.ways[way]), **images}
            rows.append(row | {"both": str(score.both), "both are there": f"{score.there:.0%}"})
    return rows


def difference_rows(grades: Grades) -> Rows:
    """A row for each prompt with several concepts and pair of ways, on the same noises."""
    return [
        {"prompt": one.prompt, "ways": pair, "both, difference": str(difference)}
        for one, differences in zip(grades.generated.together, grades.differences, strict=True)
        for pair, difference in differences.items()
    ]


def picture_rows(grades: Grades) -> Rows:
    """A row for each picture of a single concept."""
    rows = []
    for key, scored in grades.scores.alone.items():
        best, before = grades.best(key), grades.scores.against.get(key)
        for place, number in enumerate(scored.numbers):
            row = {
                "picture": str(grades.generated.alone[key][number]),
                "source": key[0],
                "prompt": key[1],
                "n": number,
                "image": float(scored.image[place]),
                "text": float(scored.text[place]),
                "best": best.index(number) + 1 if number in best else None,
            }
            if before is not None:
                row["image_against"] = float(before.image[place])
                row["text_against"] = float(before.text[place])
            rows.append(row)
    return rows


def picture_rows_together(grades: Grades) -> Rows:
    """A row for each picture of several concepts."""
    rows = []
    for prompt, one in enumerate(grades.generated.together):
        for way, numbered in one.ways.items():
            own = grades.scores.together[prompt][way]
            both, there = both_scores(own), both_there(own, grades.limits[prompt])
            for place, (number, path) in enumerate(numbered.items()):
                about = {"picture": str(path), "way": way, "prompt": prompt, "n": number}
                scores = {
                    f"image_{grades.concepts[name].token_name}": float(own[place, k])
                    for k, name in enumerate(one.concepts)
                }
                found = {"both": float(both[place]), "both_there": bool(there[place])}
                rows.append(about | scores | found)
    return rows


def sheets(grades: Grades) -> Iterator[tuple[str, Image.Image]]:
    """For each prompt of a concept its source pictures above, and its best with their scores."""
    for name, place in grades.alone:
        yield f"source{name}_prompt{place}", _sheet(grades, (name, place))


def _sheet(grades: Grades, key: Prompt) -> Image.Image:
    concept, grade, scored = grades.concepts[key[0]], grades.alone[key], grades.scores.alone[key]
    paths = [grades.generated.alone[key][number] for number in grades.best(key)]
    side = decode(paths[0]).shape[0]
    best = stacked([decode(path, side) for path in paths])
    given = concept_pictures(concept, side)
    notes = [
        [f"image {scored.image[i]:.1f}", f"text {scored.text[i]:.1f}", f"picture {number}"]
        for i, number in zip(grade.best.tolist(), grades.best(key), strict=True)
    ]
    image, text = grades.baseline(key)
    title = f"source {key[0]}, prompt {key[1]}: {VERDICTS[grades.passed(key)]} (image "
    title += f"{grade.best_image:.1f}, text {grade.best_text:.1f}; baselines {image:g}, {text:g})"
    of = f"the best {len(paths)} of {len(scored.numbers)} for: {concept.prompts[key[1]]}"
    rows = [
        GalleryRow(f"pictures of {concept.token_name}", given, [[] for _ in given]),
        GalleryRow(of, best, notes),
    ]
    return gallery(rows, title)
