"""All parts of the page, collected from the steps; one that cannot be made says why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hw2.disclosure import warn
from hw2.errors import Hw2Error
from hw2.report import clip, concepts, digits, drawn, faces, guidance, merged, trained
from hw2.report.outputs import JobOutput, read_output
from hw2.report.parts import Missing
from hw2.report.steps import Planned, StepResult

PROBLEMS = {
    "p1": ("sheets", "reverse", "guidance"),
    "p2": ("given", "etas", "eta", "interpolation"),
    "p3": ("clip", "trained", "concepts", "several", "merge"),
}
TRAININGS = ("textual_inversion", "custom_diffusion")
# What cannot be read or does not have the form that its job gives it.
BROKEN = (
    *(Hw2Error, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, RuntimeError),
)


@dataclass(frozen=True)
class Content:
    """What the page shows: parts by name, each a dataclass of its module, Missing, or None.

    None is left out of the page, since it was not asked for.
    """

    parts: Mapping[str, Any]
    results: tuple[StepResult, ...]
    outputs: Mapping[str, JobOutput]
    asked: frozenset[str]  # names of steps that the page looks for

    @property
    def problems(self) -> tuple[str, ...]:
        """Those of p1, p2, p3 that have a step in the settings; all, if none has."""
        asked = [p for p, names in PROBLEMS.items() if any(map(_asked, map(self.parts.get, names)))]
        return tuple(asked or PROBLEMS)

    @property
    def missing(self) -> dict[str, Missing]:
        """The parts that could not be made."""
        return {name: part for name, part in self.parts.items() if isinstance(part, Missing)}


def collect(results: tuple[StepResult, ...]) -> Content:
    """Everything that finished steps left."""
    by_name = {result.step.name: result for result in results}
    outputs: dict[str, JobOutput] = {}
    broken: dict[str, Missing] = {}
    for name, result in by_name.items():
        if result.ok:
            try:
                outputs[name] = read_output(result)
            except BROKEN as error:
                broken[name] = Missing(name, _line(error), result.step.command)
        else:
            broken[name] = Missing(name, result.error, result.step.command)

    asked: set[str] = set()

    def part(make: Callable[..., Any], *needs: str, **optional: str) -> Any:
        asked.update(needs, optional.values())
        for name in needs:
            if name in broken:
                return broken[name]
            if name not in outputs:
                return Missing(name, "", "")
        extra = {key: outputs[name] for key, name in optional.items() if name in outputs}
        try:
            return make(*(outputs[name] for name in needs), **extra)
        except BROKEN as error:
            return Missing(needs[0], _line(error), outputs[needs[0]].command)

    ungraded: dict[str, Missing] = {}

    def graded(make: Callable[..., Any], bare: Callable[..., Any], **optional: str) -> Any:
        """Pictures stay on the page where their grades cannot be shown."""
        whole = part(make, "concepts", "grades", **optional)
        if not isinstance(whole, Missing) or isinstance(shown := part(bare, "concepts"), Missing):
            return whole
        if whole.step != "grades":
            whole = Missing("grades", whole.error, outputs["grades"].command)
        ungraded["grades"] = whole
        return shown

    def together() -> Any:
        drawing = outputs.get("concepts")
        if drawing is not None and drawing.config.get("together") == []:
            return None  # none was asked for
        return graded(concepts.several, drawn.drawn_together, untrained="concepts_untrained")

    steps = [n for n, result in by_name.items() if result.step.job in TRAININGS]
    learnt = {name: part(trained.training, name) for name in steps}
    trainings = [one for one in learnt.values() if not isinstance(one, Missing)]
    parts = {
        "sheets": part(digits.digit_sheets, "samples"),
        "reverse": part(digits.reverse, "samples"),
        "guidance": part(guidance.guidance_slider, "guidance"),
        "given": part(faces.given_faces, "faces"),
        "etas": part(faces.eta_sheet, "eta_sheet"),
        "interpolation": part(faces.interpolation, "interpolation"),
        "eta": part(faces.eta_slider, "eta"),
        "clip": part(clip.zero_shot, "clip"),
        "trained": trained.trained(trainings)
        if trainings
        else next(iter(learnt.values()), Missing("inversion_0", "", "")),
        "concepts": graded(concepts.concepts, drawn.drawn_alone),
        "several": together(),
        "merge": part(merged.merge, "merged"),
    }
    # Told beside what can be shown without them.
    parts |= {f"trained/{name}": one for name, one in learnt.items() if isinstance(one, Missing)}
    parts |= ungraded
    return Content(parts, results, outputs, frozenset(asked))


def warn_of_unknown(steps: Sequence[Planned]) -> None:
    """Say which steps neither the page nor another step has a use for, by their names."""
    page = collect(()).asked
    used = page | {name for step in steps for name in step.needs}
    for step in steps:
        if step.name not in used and step.job not in TRAININGS:
            warn(
                f"steps.{step.name}: the page has a row of it in its table of steps, and shows "
                f"steps called {', '.join(sorted(page))} and trainings of concepts"
            )


def _asked(part: Any) -> bool:
    """Whether the settings have a step of this part."""
    return part is not None and not (isinstance(part, Missing) and not part.command)


def _line(error: Exception) -> str:
    told = str(error) if isinstance(error, Hw2Error) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())[:500]
