"""The MLflow runs of a sweep's trials, written behind the sweep's back."""

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from hw2.data.files import read_mapping, write_json
from hw2.errors import ConfigError, StorageError
from hw2.runlog.tracker import Tracker
from hw2.sweeps.space import label_of
from hw2.sweeps.trial import SHEET, Report, TrialResult

logger = logging.getLogger("hw2.tracking")
RECORDED = "recorded.json"  # what of the trial is in MLflow
UNTOLD = (ConfigError, StorageError)  # MLflow, or the bucket, is away


class Recorder:
    """Gives each trial a run nested in the sweep's, with its scores a rung and its sheet.

    One thread of the driver writes them all: trials do not wait for MLflow and need not know where
    it is. Used as a context manager, it ends when all is written.
    """

    def __init__(self, parent: Tracker, experiment: str, timeout: float = 15.0) -> None:
        self.parent, self.experiment, self.timeout = parent, experiment, timeout
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._futures: list[Future[None]] = []
        self._leaving, self._away = False, ""  # why MLflow took the last trial's run not whole

    def record(self, trial: TrialResult, settings: Mapping[str, Any]) -> None:
        """Write the run of `trial`, soon; `settings` become its params."""
        self._futures.append(self._pool.submit(self._write, trial, settings))

    def _write(self, trial: TrialResult, settings: Mapping[str, Any]) -> None:
        rungs = [report.samples for report in trial.reports]
        state = {
            "samples": rungs,
            "error": trial.error,
            "parent": self.parent.run_id,
            "code": trial.code,  # of the same samples other code may have other scores
        }
        before = read_mapping(trial.folder / RECORDED, absent=OSError)
        if before == state:
            return
        if self._leaving and self._away:
            raise ConfigError(self._away)
        try:
            tracker = Tracker.start(
                trial.folder,
                experiment=self.experiment,
                run_name=label_of(trial.point),
                config=settings,
                parent_run_id=self.parent.run_id,
                tracking_uri=self.parent.tracking_uri,
                tags={"trial": trial.folder.name},
                timeout=self.timeout,
                mirror=self.parent.mirror,
                seconds=trial.seconds,
            )
        except UNTOLD as error:
            self._away = str(error)
            raise
        for report in trial.reports:
            tracker.log_row(report.samples, _row(report), late=True)
        if trial.reports:
            _make_newest(tracker, trial.reports[-1])
        tracker.log_summary({"seconds": trial.seconds})
        if (sheet := trial.folder / SHEET).is_file():
            tracker.log_figure(sheet)
        tracker.log_file(trial.folder / "result.json")
        if trial.error or before.get("error"):
            tracker.set_tags({"error": trial.error})
        if not tracker.finish("FAILED" if trial.error else "FINISHED", 2 * self.timeout):
            self._away = "see above"
            raise ConfigError(self._away)
        self._away = ""
        write_json(trial.folder / RECORDED, state)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._leaving, self._away = True, ""  # now the first that fails tells of those that wait
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            away = [f.exception() for f in self._futures if isinstance(f.exception(), UNTOLD)]
            if away:
                logger.warning(
                    "%d of %d trials are not, or not whole, in MLflow (%s): "
                    "the same command brings them",
                    len(away),
                    len(self._futures),
                    away[0],
                )
            for future in self._futures:
                if future.exception() not in away:
                    future.result()


def _row(report: Report) -> dict[str, float]:
    scores = report.scores.items()
    return {key: n for name, of in scores for key, n in of.named(f"eval/{name}").items()}


def _make_newest(tracker: Tracker, report: Report) -> None:
    """Let the run's newest scores be those of `report`, also if it has steps of more samples.

    Likewise if other code has scored its samples before. MLflow takes the value of the last step
    for the newest, and of one step the latest.
    """
    steps, summary = tracker.journal.latest("metrics"), tracker.journal.latest("summary")
    rows = [row.values for row in tracker.journal.rows() if row.step == report.samples]
    told = {key: value for row in rows for key, value in row.items()}
    row = _row(report)
    behind = {
        k: v
        for k, v in row.items()
        if steps[k] > report.samples or k in summary or told.get(k) != v
    }
    tracker.log_summary(behind)
