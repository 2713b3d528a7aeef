"""Jobs as `ray job submit` runs them: on a head with token and dashboard, from this repository."""

import json
import re
import shutil
import sqlite3
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from hw2.distributed.exposure import open_to_others
from hw2.distributed.upload import packed
from tests.distributed.head import Head, running_head
from tests.jobs.command import ROOT, Folder, as_words, bits
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CPUS, STEPS = 6, 150  # some seconds more than the driver takes to end after a stop
PATIENCE = 400  # seconds; a busy machine takes many times what an idle one takes
TINY = {"network.patch": 4, "network.channels": 64, "network.attention": "false"}
TREE = {
    "num_train": 60,
    "num_val": 20,
    "num_faces": 10,
    "num_noises": 2,
    "num_clip_train": 10,
    "num_clip_val": 1,
    "num_text2image": 0,
}

PROGRAM = """
import json, os, pathlib
from hw2.config import ScalingConfig
from hw2.distributed.room import cluster_cpus_and_gpus
from hw2.distributed.session import connected
files = [str(p) for p in pathlib.Path(".").rglob("*") if p.is_file() and p.suffix != ".pyc"]
with connected(ScalingConfig()):
    print(json.dumps([os.environ["RAY_ADDRESS"], files, cluster_cpus_and_gpus()[0]]))
raise SystemExit(3)
"""


class Cluster:
    """A head, its users' folder that all jobs share, and the jobs that they submit."""

    def __init__(self, head: Head, shared: Path) -> None:
        self.head, self.shared = head, shared
        bearer = {"Authorization": f"Bearer {head.token}"}
        self.client = JobSubmissionClient(head.dashboard, headers=bearer)
        self.store = shared / "mlflow.db"

    def submit(self, job: str, **settings: object) -> str:
        """Begin `python -m jobs.JOB --key value ..` (`__` in a key is a dot). Returns: its id."""
        pairs = ((f"--{key.replace('__', '.')}", value) for key, value in settings.items())
        words = " ".join(str(word) for pair in pairs for word in pair)
        variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{self.store}"}
        runtime = {"working_dir": str(ROOT), "env_vars": variables}
        return self.client.submit_job(
            entrypoint=f"python -m jobs.{job} {words}", runtime_env=runtime
        )

    def ended(self, submission: str) -> tuple[JobDetails, str]:
        """What became of a job, and its log, which must be plain lines."""
        wait_for(lambda: self.client.get_job_status(submission).is_terminal(), PATIENCE)
        log = self.client.get_job_logs(submission)
        print(log, file=sys.stderr)
        assert not re.search(r"[\r\x08\x1b]", log)
        assert "warning: the Ray cluster" not in log  # it has a token
        return self.client.get_job_info(submission), log

    def done(self, submission: str) -> str:
        """The log of a job that succeeded."""
        info, log = self.ended(submission)
        assert (info.status, info.driver_exit_code) == (JobStatus.SUCCEEDED, 0)
        return log


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    path = Path(tempfile.mkdtemp(prefix="hw2-", dir="/tmp"))
    with running_head(path, num_cpus=CPUS) as head:
        yield Cluster(head, tmp_path_factory.mktemp("shared"))
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def tree(cluster: Cluster) -> Path:
    """A tree that a job has made."""
    root = cluster.shared / "hw2_data"
    log = cluster.done(cluster.submit("prepare_data", out=root, **TREE))
    assert "60 train and 20 val pictures a domain" in log
    return root


def test_a_job_gets_what_submit_check_shows_and_its_failure_is_told(cluster: Cluster) -> None:
    entry = ["--working-dir", ".", "--entrypoint-num-cpus", 2, "--", "python", "-c", PROGRAM]
    submitted = cluster.head.ray("job", "submit", *entry)
    assert submitted.returncode == 1
    # The reason of the failure repeats the log.
    line = next(line for line in submitted.stdout.splitlines() if line.startswith('["'))
    address, files, cpus = json.loads(line)
    assert cpus == CPUS - 2  # workers that want what the job holds would wait for ever
    assert address.endswith(f":{cluster.head.ports['port']}")
    with packed(ROOT) as package:
        assert sorted(files) == sorted(package.namelist())
    jobs = [job for job in cluster.client.list_jobs() if job.submission_id]
    (info,) = (job for job in jobs if "SystemExit(3)" in job.entrypoint)
    assert (info.status, info.driver_exit_code) == (JobStatus.FAILED, 3)


def test_a_stopped_training_submitted_again_is_the_undisturbed_one(
    cluster: Cluster, tree: Path, folder: Folder
) -> None:
    """Beside it another job draws, and a third one fails at once."""
    settings = {
        **TINY,
        "data.root": tree,
        "train.num_steps": STEPS,
        "train.batch_size": 10,
        "train.checkpoint_every": 15,
        "sample.num_inference_steps": 3,
        "num_per_class": 1,
    }
    out = cluster.shared / "ddpm"

    def submit() -> str:
        return cluster.submit("train_ddpm", **settings, out=out, scaling__num_workers=1)

    stopped = submit()
    here = settings | {"out": "want", "scaling.num_workers": 0}
    bare = folder.start("train_ddpm", *as_words(here))
    wait_for(lambda: bool(list(out.glob("checkpoints/step_*"))), PATIENCE)
    cluster.client.stop_job(stopped)
    info, log = cluster.ended(stopped)
    assert info.status == JobStatus.STOPPED
    assert "stopped by SIGTERM" in log
    assert not (out / "final.safetensors").exists()

    again = submit()
    few = {"num_inference_steps": 2, "num_per_class": 1, "data__root": tree}
    drawing = cluster.submit(
        "sample_digits", out=cluster.shared / "drawn", scaling__num_workers=1, **few
    )
    mistaken = cluster.submit("sample_digits", out=cluster.shared / "none", model="asset:none")
    assert f"train_ddpm: {STEPS}/{STEPS} steps loss" in cluster.done(again)
    assert "MLflow: " in cluster.done(drawing)
    assert json.loads((cluster.shared / "drawn/metrics.json").read_text())
    info, log = cluster.ended(mistaken)
    assert (info.status, info.driver_exit_code) == (JobStatus.FAILED, 2)
    assert log.splitlines()[-1].startswith("error: model=asset:none: no such asset; there is ")
    assert not (cluster.shared / "none").exists()
    bare.communicate()
    assert bare.returncode == 0
    want = folder.path / "want"
    assert bits(out) == bits(want)
    pictures = sorted(path.relative_to(want) for path in want.glob("*/*.png"))
    assert len(pictures) >= 20
    assert [p for p in pictures if (out / p).read_bytes() != (want / p).read_bytes()] == []
    with closing(sqlite3.connect(cluster.store)) as database:
        rows = database.execute("SELECT step FROM metrics WHERE key='train/loss' ORDER BY 1")
        assert [step for (step,) in rows] == list(range(1, STEPS + 1))
        assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)] * 2


def test_without_the_token_nobody_gets_in(cluster: Cluster) -> None:
    def answer(method: str, path: str, **headers: str) -> int:
        asked = urllib.request.Request(
            cluster.head.dashboard + path, method=method, headers=headers, data=b"{}"
        )
        try:
            return urllib.request.urlopen(asked).status
        except urllib.error.HTTPError as error:
            return error.code

    before = {job.submission_id for job in cluster.client.list_jobs()}
    wrong = {"Authorization": "Bearer " + 32 * "ab"}
    for method, path in (("GET", "/api/jobs/"), ("POST", "/api/jobs/"), ("DELETE", "/api/jobs/x")):
        assert answer(method, path) == 401
        assert answer(method, path, **wrong) == 403
    assert {job.submission_id for job in cluster.client.list_jobs()} == before
    assert not open_to_others(f"127.0.0.1:{cluster.head.ports['port']}")
