"""Reading a page of a report, and changing what it is made of."""

import json
from html.parser import HTMLParser
from pathlib import Path

from hw2.report.content import Content
from hw2.report.page import render


def page(content: Content, language: str = "en") -> str:
    return render(content, language, ui="mlflow ui", code="0123", made=())


class Elements(HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def changed(path: Path, **values: object) -> None:
    """Change values of a file of JSON."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
