"""`make ui` starts MLflow's UI for one user, and tells the address."""

import subprocess
from pathlib import Path

from tests.docs.documents import ROOT


def test_the_ui_has_one_worker_no_jobs_of_its_own_and_tells_nobody(tmp_path: Path) -> None:
    program = tmp_path / "mlflow"
    variables = "$MLFLOW_DISABLE_TELEMETRY $MLFLOW_SERVER_ENABLE_JOB_EXECUTION"
    program.write_text(f'#!/bin/sh\necho {variables} "$@"\n')
    program.chmod(0o755)
    make = ["make", "--dry-run", "--silent", "ui", f"BIN={tmp_path}", "PORT=5001"]
    dry = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    recipe = dry[dry.index('case "$MLFLOW_TRACKING_URI" in') :]

    def said(uri: str) -> list[str]:
        environment = {"PATH": "/usr/bin:/bin", "MLFLOW_TRACKING_URI": uri}
        shell = ["sh", "-c", recipe]
        ended = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True)
        return ended.stdout.splitlines()

    assert said("") == [
        "http://127.0.0.1:5001: choose Model training at the top left",
        "true false ui --workers 1 --port 5001 --backend-store-uri sqlite:///mlflow.db",
    ]
    assert said("sqlite:////a b/m.db")[-1].endswith(" --backend-store-uri sqlite:////a b/m.db")
    (there,) = said("http://tracking.example:5000")
    assert there == "the tracking server is at http://tracking.example:5000"
