"""Drawn concepts whose grades are missing: the first pictures, without scores."""

from pathlib import Path

from hw2.data.concepts import chosen_concepts, read_concepts
from hw2.errors import DataError
from hw2.personalize.generated import find_alone, find_together
from hw2.report.concepts import (
    COLUMNS,
    DRAWING,
    Concepts,
    Several,
    Together,
    alone,
    together_grid,
    way_of_alone,
)
from hw2.report.outputs import JobOutput
from hw2.report.parts import sources


def drawn_alone(job: JobOutput) -> Concepts:
    """Each concept's given pictures over the first of each prompt."""
    given = read_concepts(Path(job.config["input"]))
    wanted = chosen_concepts(given, job.config["sources"])
    found = find_alone(job.out, wanted)
    made = [
        alone(
            concept,
            [list(found[name, n].values())[:COLUMNS] for n in range(len(concept.prompts))],
        )
        for name, concept in wanted.items()
    ]
    return Concepts(sources(job, keys=DRAWING), tuple(made), way_of_alone(job))


def drawn_together(job: JobOutput) -> Several:
    """The first pictures of each prompt with several concepts, a row a way."""
    found = find_together(job.out, read_concepts(Path(job.config["input"])))
    prompts = [
        Together(
            one.prompt,
            together_grid(
                one.prompt, {way: list(of.values())[:COLUMNS] for way, of in one.ways.items()}
            ),
        )
        for one in found
    ]
    if not prompts:
        raise DataError(f"{job.out}: no prompt has several concepts: give some as together")
    return Several(sources(job, keys=DRAWING), tuple(prompts))
