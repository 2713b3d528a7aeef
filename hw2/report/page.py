"""The page: one template, filled with the parts and the words of a language."""

import datetime
import functools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from hw2.report import chart
from hw2.report.confusions import Matrix
from hw2.report.content import Content
from hw2.report.digits import How
from hw2.report.parts import Missing
from hw2.report.texts import Texts

SIZE = {"WIDTH": chart.WIDTH, "HEIGHT": chart.HEIGHT, "LEFT": chart.LEFT, "RIGHT": chart.RIGHT}
# Of a text: code, and what no line may break: a number with its % or its name, and its limits.
PIECES = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?P<held>\b[wpη] = [-+]?\d+(?:[.e]-?\d+)*|[-+\u2212]?\d[\d.]* %"
    r"|\([-+]?\d[^()\s]*(?: \S+ [-+]?\d[^()\s]*)?\))"
)
OPTION = re.compile(r"--?[\w.-]{1,40}")
TEMPLATES = Path(__file__).parent / "templates"


class Numbers:
    """Counts figures and tables as the page names them."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def next(self, kind: str) -> int:
        """The number of the next one of its kind, from 1."""
        self._given[kind] += 1
        return self._given[kind]

    def last(self, kind: str) -> int:
        """The number that was given last."""
        return self._given[kind]


def render(content: Content, language: str, *, ui: str, code: str, made: Sequence[str]) -> str:
    """The page in one language. Whatever came from outside is escaped.

    Args:
        ui: the command or address that opens MLflow.
        code: what the results were made by.
        made: the parts of the data that are not the course's, which the page then says.
    """
    # Ours, not from outside: as they are.
    style, script = (
        Markup((TEMPLATES / name).read_text(encoding="utf-8"))
        for name in ("style.css", "report.js")
    )
    return _template().render(
        t=Texts.of(language),
        parts=content.parts,
        problems=content.problems,
        how=getattr(content.parts["sheets"], "how", How()),
        results=content.results,
        outputs=content.outputs,
        failed=sum(not result.ok for result in content.results),
        counter=Numbers(),
        date=datetime.date.today().isoformat(),
        code=code,
        ui=ui,
        made=made,
        style=style,
        script=script,
    )


@functools.cache  # compiling it takes longer than filling it
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["size"] = SIZE
    environment.filters |= {"inline": inline, "held": held, "cells": cells, "command": command}
    environment.tests["missing"] = lambda part: isinstance(part, Missing)
    return environment.get_template("report.html")


def inline(text: str) -> Markup:
    """A text with `code` in it and numbers that are held together; all else is escaped."""
    return _marked(text, code=True)


def held(text: str) -> Markup:
    """A text whose numbers are held together; it is escaped, and code in it is no other's."""
    return _marked(text, code=False)


def command(text: str) -> Markup:
    """A command that no line breaks behind the dashes of an option; it is escaped."""
    words = text.split(" ")
    held_word = Markup('<span class="held">{}</span>').format
    return Markup(" ").join(held_word(w) if OPTION.fullmatch(w) else w for w in words)


def _marked(text: str, *, code: bool) -> Markup:
    made, end = Markup(), 0
    for found in PIECES.finditer(text):
        made += escape(text[end : found.start()])
        if found["held"]:
            made += Markup('<span class="held">{}</span>').format(found["held"])
        elif code:
            made += Markup("<code>{}</code>").format(found["code"])
        else:
            made += escape(found[0])
        end = found.end()
    return made + escape(text[end:])


def cells(matrix: Matrix, t: Texts) -> list[dict[str, Any]]:
    """What the page's script shows of each cell of the matrix."""
    found = []
    for place, (true, said, times) in enumerate(matrix.cells):
        words = {"true": matrix.names[true], "said": matrix.names[said]}
        alt = t("alt.example", **words)
        cards = [
            {
                "src": one.picture.uri,
                "width": one.picture.width,
                "height": one.picture.height,
                "alt": alt,
                "note": f"p = {one.probability}",
            }
            for one in matrix.examples.get(place, ())
        ]
        told = t("alt.cell", **words, times=str(times), total=str(matrix.totals[true]))
        found.append({"true": true, "said": said, "told": told, "cards": cards})
    return found
