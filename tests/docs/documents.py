"""What the documents say: their fenced blocks, the commands in these, and what they point at."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SHELL = ("", "sh", "bash", "shell", "console")
KEYWORDS = ("do", "done", "then", "fi", "else")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class Block(NamedTuple):
    """A fenced block: the line of its fence, what it says it is written in, its text."""

    file: Path
    line: int
    language: str
    text: str


class Command(NamedTuple):
    """A command of a shell block, without redirections and the variables set for it alone."""

    place: str
    words: tuple[str, ...]


def documents() -> list[Path]:
    """README first, CONTRIBUTING last."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *pages, ROOT / "CONTRIBUTING.md"]


def blocks(file: Path) -> Iterator[Block]:
    """The fenced blocks of a document."""
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        fence = re.match(r"\s*(```+)(\w*)", line)
        if opened is None and fence:
            opened, lines = (number, *fence.groups()), []
        elif opened is not None and line.strip() == opened[1]:
            yield Block(file, opened[0], opened[2], "\n".join(lines) + "\n")
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{file}:{opened}: the block has no end"


def prose(file: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"(?ms)^\s*(```+)\w*\n.*?^\s*\1\s*$", "", file.read_text())


def commands(block: Block) -> Iterator[Command]:
    """The commands of a shell block, also those joined by `&&`, `;` and `|`.

    A script whose first line is how it is called, as `# bash FILE.sh WORD ..`, has these words.
    """
    name = block.file.relative_to(ROOT) if block.file.is_relative_to(ROOT) else block.file.name
    variables: dict[str, str] = {}
    if called := re.match(r"# bash \S+\.sh (.+)\n", block.text):  # what $1, $2, .. then are
        variables = {str(place): word for place, word in enumerate(called[1].split(), 1)}
    for line, text in _logical_lines(block):
        text = re.sub(r"\s2(?=>)", " ", re.sub(r"\s\d?>&\d", "", text))
        lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if skip:  # the file of a redirection
                skip = False
            elif set(word) <= set(";&|()"):
                while words and words[0] in KEYWORDS:
                    del words[0]
                if words[:1] == ["for"]:  # the first round stands for all
                    variables[words[1]] = words[3]
                    words = []
                while words and ASSIGNMENT.match(words[0]):
                    variable, _, value = words.pop(0).partition("=")
                    variables[variable] = value
                if words:
                    yield Command(f"{name}:{line}", tuple(words))
                words = []
            elif set(word) <= set("<>&"):
                skip = True
            else:
                words.append(re.sub(r"\$\{?(\w+)\}?", lambda m: variables.get(m[1], m[0]), word))


def _logical_lines(block: Block) -> Iterator[tuple[int, str]]:
    """Lines of a shell block with their number, continued ones joined, here-documents left out."""
    begun, number, end = "", 0, ""
    for offset, line in enumerate(block.text.splitlines(), 1):
        if end:
            end = "" if line.strip() == end else end
            continue
        if not begun:
            number = block.line + offset
        begun += line.strip().removeprefix("$ ")
        if begun.endswith("\\"):
            begun = begun[:-1]
            continue
        if here := re.search(r"<<-?\s*['\"]?(\w+)['\"]?", begun):
            end, begun = here[1], begun.replace(here[0], "")
        yield number, begun
        begun = ""


def all_commands() -> list[Command]:
    """Of all documents."""
    return [
        command
        for file in documents()
        for block in blocks(file)
        if block.language in SHELL
        for command in commands(block)
    ]


def named_files(file: Path) -> dict[str, str]:
    """Blocks whose first line is a comment with a file's name and nothing else: name and text."""
    found = {}
    for block in blocks(file):
        head = re.match(r"#\s*([\w./-]+\.(?:yaml|py|json|txt))\s*\n", block.text)
        if head and block.language not in SHELL:
            found[head[1]] = block.text
    return found


def logged_names(page: Path) -> dict[str, list[str]]:
    """By job, or what a page says in its place, patterns of the names that it says MLflow has."""
    found: dict[str, list[str]] = {}
    jobs: list[str] = []
    for line in prose(page).partition("| job | name |")[2].splitlines()[2:]:
        if not line.startswith("|"):
            break
        first, names, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        jobs = [job.strip("` ") for job in first.split(",")] if first else jobs
        for name in re.findall(r"`(.+?)`", names):
            pattern = re.sub(r"[A-Z]+", ".+", re.escape(name))
            for job in jobs:
                found.setdefault(job, []).append(pattern)
    return found
