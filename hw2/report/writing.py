"""Writing the pages, metrics.json, and what MLflow keeps of them."""

import math
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from hw2.errors import ConfigError, StepsFailed
from hw2.figures.files import write_atomic
from hw2.report.content import Content, collect
from hw2.report.page import render
from hw2.report.stand_ins import stand_ins
from hw2.report.steps import StepResult
from hw2.runlog.addresses import sqlite_uri, ui_command
from hw2.runlog.environment import code_hash
from hw2.runlog.tracker import Tracker
from hw2.settings.report import Language

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def write_report(
    languages: Sequence[str],
    results: Sequence[StepResult],
    tracker: Tracker,
    browser: Path | None = None,
) -> None:
    """Write and log OUT/report.LANGUAGE.html and OUT/metrics.json, then PDFs if given a browser.

    A page of another language that is there is written anew as well, and a PDF that is not is
    removed: beside the new pages it would tell of other results.

    Raises StepsFailed at the end if a step failed or what it left cannot be shown, ConfigError if
    the browser fails.
    """
    content = collect(tuple(results))
    pages = []
    there = [one for one in get_args(Language) if (tracker.out / f"report.{one}.html").exists()]
    for language in dict.fromkeys((*languages, *there)):
        page = tracker.out / f"report.{language}.html"
        text = render(
            content,
            language,
            ui=told_ui(tracker.tracking_uri),
            code=code_hash()[:12],
            made=stand_ins(content.outputs.values()),
        )
        write_atomic(page, text.encode())
        tracker.log_file(page)
        if (pdf := page.with_suffix(".pdf")).exists():
            pdf.unlink()
            if browser is None:
                print(f"removed: {pdf}, of the page before (--pdf true prints it)")
        print(f"page: {page} ({page.stat().st_size / 10**6:.1f} MB)")
        pages.append(page)
    tracker.log_metrics(metrics_of(content))
    tracker.log_summary(flat(content))
    if browser is not None:
        for page in pages:
            pdf = print_pdf(browser, page)
            tracker.log_file(pdf)
            print(f"PDF: {pdf}")
    refuse_failed(content)


def told_ui(uri: str | None) -> str:
    """What opens MLflow's UI, from the folder in which the page's other commands run too."""
    here = f"{sqlite_uri(Path.cwd())}/"
    if uri is None or not uri.startswith(here):
        return ui_command(uri)
    store = f"sqlite:///{uri.removeprefix(here)}"
    return shlex.join(["mlflow", "ui", "--backend-store-uri", store, "--port", "5000"])


def refuse_failed(content: Content) -> None:
    """Raise StepsFailed if something is not on the page that should be."""
    failed = [result for result in content.results if not result.ok]
    if failed:
        first = f"{failed[0].step.name}: {failed[0].error}"
        raise StepsFailed(
            f"{len(failed)} of {len(content.results)} steps failed, the first {first}; the page "
            "says so in their places; the same command tries them again"
        )
    for name, part in content.missing.items():
        if part.error:
            raise StepsFailed(
                f"a figure is missing on the page ({name}): {part.step}: {part.error}"
            )


def metrics_of(content: Content) -> dict[str, Any]:
    """What each step came to, and its own metrics.json."""
    return {
        "steps": {
            result.step.name: {
                "status": result.status,
                "seconds": result.seconds,
                "error": result.error,
                "command": result.step.command,
            }
            for result in content.results
        },
        "results": {name: output.metrics for name, output in content.outputs.items()},
    }


def flat(content: Content) -> dict[str, float]:
    """Numbers for MLflow: seconds, and the values of each step's scores."""
    found = {f"seconds/{r.step.name}": r.seconds for r in content.results if r.ok}
    for name, output in content.outputs.items():
        for key, value in output.metrics.items():
            number = value.get("value") if isinstance(value, dict) else value
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if math.isfinite(number):
                found[f"{name}/{key}"] = float(number)
    return found


def find_browser() -> Path:
    """A Chromium; ConfigError if there is none."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return Path(found)
    raise ConfigError(f"pdf=true: none of {', '.join(BROWSERS)} is installed: leave --pdf out")


def print_pdf(browser: Path, page: Path) -> Path:
    """Print `page` beside itself, without a network; the path. Raises ConfigError if that fails."""
    pdf = page.with_suffix(".pdf")
    pdf.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        words = [str(browser), "--headless", "--no-sandbox", "--disable-gpu"]
        words += ["--disable-dev-shm-usage", "--no-pdf-header-footer", f"--user-data-dir={profile}"]
        words += ["--generate-pdf-document-outline", f"--print-to-pdf={pdf}", page.as_uri()]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=180)
        except OSError as error:
            raise ConfigError(f"pdf=true: {browser} cannot be run ({error.strerror})") from None
        except subprocess.TimeoutExpired:
            raise ConfigError(f"pdf=true: {browser} did not print within 180 s") from None
    if done.returncode or not pdf.is_file():
        raise ConfigError(f"pdf=true: {browser} could not print: {done.stderr.strip()[-200:]}")
    return pdf
