"""What the documents point at is there: links, pictures, files named in the text, the tree."""

import re
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, blocks, documents, prose

TOP = ("hw2", "jobs", "tests", "docs", "benchmarks", "tune_configs")
NOT_TOLD = {"build", "outputs", "mlruns", "mlartifacts", "mlflow-server", "__pycache__", "assets"}
TREES = ("CONTRIBUTING.md", "README.md")  # in full, and its folders
PAGES = pytest.mark.parametrize("page", documents(), ids=lambda path: str(path.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings."""
    titles = re.findall(r"(?m)^#+ (.+)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@PAGES
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(target)
    assert not missing


@PAGES
def test_files_that_are_named_exist(page: Path) -> None:
    missing = []
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        if re.fullmatch(rf"(?:{'|'.join(TOP)})/[\w./-]*", code) and not (ROOT / code).exists():
            missing.append(code)
        if (job := re.match(r"jobs\.(\w+)$", code)) and not (ROOT / f"jobs/{job[1]}.py").exists():
            missing.append(code)
    assert not missing


def tree(page: str) -> str:
    """The block of `page` that begins with hw2/."""
    (found,) = (b.text for b in blocks(ROOT / page) if b.text.startswith("hw2/"))
    return found


def test_the_tree_names_all_folders_and_all_modules() -> None:
    named, short = (set(re.findall(r"[\w.]+/?", tree(page))) for page in TREES)
    folders = {
        f"{path.name}/"
        for path in ROOT.iterdir()
        if path.is_dir()
        and not path.name.startswith((".", "hw2_data"))
        and not path.name.endswith(".egg-info")
    }
    folders -= {f"{name}/" for name in NOT_TOLD}
    modules = {
        path.name if path.is_file() else f"{path.name}/"
        for path in (ROOT / "hw2").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert (folders | modules) - {"__init__.py"} - named == set()
    assert {name for name in folders | modules if name.endswith("/")} - short == set()


@pytest.mark.parametrize("page", TREES)
def test_the_tree_names_nothing_that_is_not_there(page: str) -> None:
    above = ROOT
    for line in tree(page).splitlines():
        name = re.match(r"( *)([\w.]+/?)  ", line)
        if name is None:  # a line that goes on
            continue
        above = ROOT / "hw2" if name[1] else ROOT
        assert (above / name[2]).exists(), line


def test_every_page_is_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)#\s]+)", prose(page))
        waiting += [(page.parent / t).resolve() for t in targets if not t.startswith("http")]
    assert set(documents()) - seen == set()
