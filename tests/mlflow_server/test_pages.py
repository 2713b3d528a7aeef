"""What a user looks for in a browser: a sweep with its trials, curves, sheets; a job."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.mlflow_server.conftest import Jobs
from tests.mlflow_server.served import Served

if TYPE_CHECKING:
    from tests.browser import NewPage

pytest_plugins = ["tests.browser"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
expect.set_options(timeout=60_000)  # a cold page on a busy machine


def page_of(new_page: "NewPage", served: Served, name: str) -> tuple[Page, str, list[Any]]:
    """A page with Amy's account, the address of an experiment, and its runs, the sweep's first."""
    page = new_page(http_credentials={"username": "amy", "password": served.accounts["amy"]})
    experiment = served.client.get_experiment_by_name(name).experiment_id
    runs = served.client.search_runs([experiment])
    runs.sort(key=lambda run: "mlflow.parentRunId" in run.data.tags)
    return page, f"{served.address}/#/experiments/{experiment}/runs", runs


def drawn(picture: Locator) -> tuple[int, int]:
    """Width and height of a picture that the page shows; 0 if it could not be loaded."""
    expect(picture).to_be_visible()
    size = "async p => { await p.decode(); return [p.naturalWidth, p.naturalHeight]; }"
    width, height = picture.evaluate(size)
    return width, height


def test_trials_are_shown_under_their_sweep(
    served: Served, jobs: Jobs, new_page: "NewPage", screenshots: Path
) -> None:
    page, address, (sweep, *trials) = page_of(new_page, served, "tune_guidance")
    page.goto(address)
    link = page.get_by_role("link", name=sweep.info.run_name, exact=True)
    expect(link).to_be_visible()
    assert len(trials) == 2
    below = [page.get_by_role("link", name=one.info.run_name, exact=True) for one in trials]
    for trial in below:
        expect(trial).to_have_count(0)
    page.locator(".ag-cell").filter(has=link).get_by_role("button").first.click()
    for trial in below:
        expect(trial).to_be_visible()
    page.screenshot(path=screenshots / "mlflow_sweep.png")


def test_the_sheet_of_a_trial_is_shown(
    served: Served, jobs: Jobs, new_page: "NewPage", screenshots: Path
) -> None:
    page, address, (_, trial, _) = page_of(new_page, served, "tune_guidance")
    (sheet,) = (file.path for file in served.client.list_artifacts(trial.info.run_id, "figures"))
    page.goto(f"{address}/{trial.info.run_id}/artifacts/{sheet}")
    width, height = drawn(page.get_by_alt_text(sheet).first)
    assert width > 200 and height > 100
    page.screenshot(path=screenshots / "mlflow_sheet.png")


def test_the_curves_of_a_training_are_shown(
    served: Served, jobs: Jobs, new_page: "NewPage", screenshots: Path
) -> None:
    page, address, (run,) = page_of(new_page, served, "train_judge")
    page.goto(f"{address}/{run.info.run_id}/model-metrics")
    page.get_by_role("searchbox", name="Search metric charts").fill("train/loss")
    expect(page.get_by_text(f"{run.info.run_name} (train/loss)").first).to_be_visible()
    expect(page.locator(".js-plotly-plot .scatterlayer path.js-line").first).to_be_attached()
    page.screenshot(path=screenshots / "mlflow_curves.png")


def test_the_dashboard_asks_for_the_token_and_shows_a_job(
    jobs: Jobs, new_page: "NewPage", screenshots: Path
) -> None:
    page, address = new_page(), f"http://127.0.0.1:{jobs.cluster.port}/#/jobs"
    page.goto(address)
    field = page.get_by_label("Authentication Token", exact=True)
    expect(field).to_be_visible()
    for job in jobs.ids.values():
        expect(page.get_by_text(job)).to_have_count(0)  # nothing is shown before
    field.fill("not the token")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("Invalid authentication token")).to_be_visible()
    page.screenshot(path=screenshots / "ray_token.png")
    field.fill(jobs.cluster.token)
    page.get_by_role("button", name="Submit").click()
    for job in jobs.ids.values():
        expect(page.get_by_text(job).first).to_be_visible()
    page.screenshot(path=screenshots / "ray_jobs.png")
    page.goto(f"{address}/{jobs.ids['tune_guidance']}")
    expect(page.get_by_text("SUCCEEDED").first).to_be_visible()
    expect(page.get_by_text("jobs.tune_guidance").first).to_be_visible()
    page.screenshot(path=screenshots / "ray_job.png")
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
