"""Run every job of a report that is not done yet, and write all results as one page a language.

python -m jobs.report --config jobs/configs/report_local.yaml
"""

import importlib
import importlib.util
from typing import get_type_hints

from hw2.config import JobConfig
from hw2.errors import ConfigError
from hw2.job import run_job
from hw2.settings.report import ReportConfig


def settings_of(job: str) -> type[JobConfig]:
    """The settings of jobs.JOB; ConfigError if there is no such job, or none with an OUT."""
    found = importlib.util.find_spec(f"jobs.{job}")
    if found is None or found.origin is None:  # a folder without code, as jobs/configs
        raise ConfigError(f"job={job}: there is no jobs/{job}.py")
    config = get_type_hints(importlib.import_module(f"jobs.{job}").main)["config"]
    if not issubclass(config, JobConfig):
        raise ConfigError(f"job={job}: is no step of a report: it leaves no results in an OUT")
    return config


def main(config: ReportConfig) -> None:
    """Run what is missing, collect what was left, write the pages, as one MLflow run."""
    from hw2.report.content import warn_of_unknown
    from hw2.report.steps import Runner, StepResult, plan
    from hw2.report.writing import find_browser, write_report
    from hw2.runs import job_run

    steps = plan(config, settings_of)
    warn_of_unknown(steps)
    browser = find_browser() if config.pdf else None
    run = job_run(config, "report", not_results=("steps", "languages", "pdf"))
    with run as (_, tracker):
        results: list[StepResult] = []
        for result in Runner(config.out, settings_of).run(steps):
            about = f"[{len(results) + 1}/{len(steps)}] {result.step.name}: {result.status}"
            if result.status == "running":
                print(about, result.step.command, sep="\n  ", flush=True)
                continue
            results.append(result)
            print(f"{about}, {result.seconds:.0f} s {result.error}".rstrip(), flush=True)
        write_report(config.languages, results, tracker, browser)


if __name__ == "__main__":
    raise SystemExit(run_job(ReportConfig, main, doc=__doc__))
