"""What a job can log: rows, final numbers, files, pictures, tables and tags."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from hw2.data.files import finite, write_json
from hw2.disclosure import mask
from hw2.figures.files import write_atomic
from hw2.metrics.intervals import Interval, with_limits
from hw2.runlog.journal import JOURNAL, Journal
from hw2.runlog.tables import write_table

if TYPE_CHECKING:
    from PIL import Image


class RunLog:
    """Writes what is logged of the job in `out` to its journal there, at once.

    Metrics are floats; a metric whose step is not beyond its last one is skipped, so a resumed run
    logs each step once.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.journal = out, Journal(out / JOURNAL)

    def log_row(self, step: int, metrics: Mapping[str, SupportsFloat], late: bool = False) -> None:
        """Log the metrics of `step`; takes about 0.1 ms, whatever the store does.

        With `late` also behind later steps, in a time that grows with the journal.
        """
        self.journal.append_row(step, metrics, late)

    def log_summary(
        self, metrics: Mapping[str, SupportsFloat | Interval], whole: bool = False
    ) -> None:
        """Log final numbers, at the last step; the newest value counts.

        An Interval is three, as `with_limits` has them. With `whole` these are all, and what an
        earlier start has logged beside them becomes NaN.
        """
        gone = self.journal.latest("summary") if whole else ()
        self.journal.append("summary", dict.fromkeys(gone, math.nan) | with_limits(metrics))

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write OUT/metrics.json, and log it."""
        write_json(self.out / "metrics.json", finite(metrics))
        self.log_file(self.out / "metrics.json")

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Log a file into `folder` of the run, unless this content is there already."""
        self.journal.append_artifact(path, folder)

    def log_figure(self, path: Path) -> None:
        """Log a picture into the run's folder `figures`."""
        self.log_file(path, "figures")

    def log_picture(self, name: str, picture: "Image.Image") -> Path:
        """Write OUT/figures/NAME.png and log it; its path."""
        path = self.out / "figures" / f"{name}.png"
        write_atomic(path, picture)
        self.log_figure(path)
        return path

    def log_pictures(self, pictures: "Iterable[tuple[str, Image.Image]]") -> list[Path]:
        """`log_picture` of each, by name; others that an earlier start left in OUT/figures go."""
        paths = [self.log_picture(*one) for one in pictures]
        for path in (self.out / "figures").glob("*.png"):
            if path not in paths:
                path.unlink()
        return paths

    def log_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Log a table as `tables/NAME.csv`, and as JSON that MLflow shows as a table.

        Without rows it is an empty one where a start before left rows, and else none.
        """
        if not (files := write_table(self.out / "tables", name, rows)):
            return
        for file in files:
            self.log_file(file, "tables")
        shown = [k for k in self.journal.latest("artifact") if re.fullmatch(r"tables/.*\.json", k)]
        listed = [{"path": path, "type": "table"} for path in shown]
        self.set_tags({"mlflow.loggedArtifacts": json.dumps(listed)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, each cut at 5000 characters."""
        self.journal.append("tag", {k: mask(str(v))[:5000] for k, v in tags.items()})

    def add_to_tag(self, name: str, text: str) -> None:
        """Set `text` behind what the tag has, after a comma; at the limit the oldest goes."""
        before = self.journal.latest("tag").get(name)
        whole = f"{before}, {text}" if before else text
        self.set_tags({name: whole[-5000:]})
