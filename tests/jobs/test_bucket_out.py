"""OUT in a bucket: kill -9, then the same command on another machine; workers on other nodes.

The undisturbed trainings, which the others must equal to the bit, run bare with a local OUT.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from hw2.bucket.storage import Bucket
from hw2.checkpoint import CheckpointStore
from tests.buckets import VARIABLES, BucketServer
from tests.chaos.training import undisturbed
from tests.distributed.head import Head, running_head
from tests.distributed.node import Node
from tests.full_disks import grow, small_disk
from tests.jobs.bare import SETTINGS, STEPS
from tests.jobs.command import Folder, as_words, bits, last_step
from tests.personalize.small_input import write_input
from tests.personalize.tiny import tiny_pipeline_folder
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
pytest_plugins = ["tests.bucket_fixtures"]


@pytest.fixture(scope="module")
def want(tmp_path_factory: pytest.TempPathFactory, digits_tree: Path) -> Path:
    """What one process makes that nobody disturbs."""
    return undisturbed(tmp_path_factory.mktemp("want") / "one", digits_tree, 1)


def words(tree: Path, workers: int) -> list[str]:
    """The command's words, less OUT."""
    settings = {f"train.{key}": value for key, value in SETTINGS.items()}
    return as_words(settings | {"data.root": tree, "scaling.num_workers": workers})


def assert_each_row_once(folder: Folder) -> None:
    assert folder.steps("train/loss") == list(range(1, STEPS + 1))
    assert folder.query("SELECT status FROM runs") == [("FINISHED",)]


def steps_in(bucket_server: BucketServer, name: str) -> list[str]:
    """The checkpoints in a bucket that have their manifest."""
    return [file for file in bucket_server.names(name) if file.endswith("manifest.json")]


def copied(bucket_server: BucketServer, name: str, path: Path) -> Path:
    """What the bucket has of an OUT, in a folder."""
    for file, content in bucket_server.read(name).items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(content)
    return path


def test_a_killed_job_goes_on_on_another_machine(
    folder: Folder, digits_tree: Path, bucket_server: BucketServer, want: Path
) -> None:
    command = [*words(digits_tree, 0), "--out", bucket_server.uri("bare")]
    job = folder.start("train_judge", *command, XDG_CACHE_HOME=str(folder.path / "here"))
    wait_for(lambda: len(steps_in(bucket_server, "bare")) >= 2 or job.poll() is not None, 150)
    job.kill()
    job.communicate()
    bucket_server.stop()
    ended = folder.run("train_judge", *command, XDG_CACHE_HOME=str(folder.path / "there"))
    assert ended.refusal() == "s3://results/bare cannot be used within 15 s: no answer"
    bucket_server.start()
    ended = folder.run("train_judge", *command, XDG_CACHE_HOME=str(folder.path / "there"))
    assert ended.code == 0
    assert bits(copied(bucket_server, "bare", folder.path / "got")) == bits(want)
    assert_each_row_once(folder)
    other = [*command, "--train.batch_size", 10]
    ended = folder.run("train_judge", *other, XDG_CACHE_HOME=str(folder.path / "there"))
    assert "out=s3://results/bare holds results of other settings" in ended.refusal()
    assert bits(copied(bucket_server, "bare", folder.path / "got")) == bits(want)


def test_a_full_disk_ends_the_job_and_room_lets_it_go_on(
    folder: Folder, digits_tree: Path, want: Path
) -> None:
    with small_disk(folder.path / "disk", 50) as disk:  # two checkpoints of 22 MB, not three
        out = disk / "out"
        command = [*words(digits_tree, 0), "--out", out]
        refusal = folder.run("train_judge", *command).refusal()
        assert refusal.startswith(f"cannot write {out}/checkpoints/step_")
        assert "(No space left on device): what was saved before stays; make room" in refusal
        assert len(list(out.glob("checkpoints/step_*/manifest.json"))) == 2
        grow(disk, 200)
        assert folder.run("train_judge", *command).code == 0
        assert bits(out) == bits(want)
    assert_each_row_once(folder)


def test_ctrl_c_brings_a_checkpoint_of_a_training_under_ray_to_the_bucket_first(
    folder: Folder, digits_tree: Path, bucket_server: BucketServer
) -> None:
    """By SIGTERM one is stopped in test_submit.py and in ../chaos/test_nodes.py."""
    endless = {"train.num_steps": 100_000, "train.checkpoint_every": 100_000, "train.log_every": 1}
    command = [*words(digits_tree, 1), *as_words(endless), "--out", bucket_server.uri("stopped")]

    def journal() -> bytes:
        return bucket_server.read("stopped").get("journal.jsonl", b"")

    with (folder.path / "log").open("w+") as log:
        job = folder.start("train_judge", *command, log=log)
        wait_for(lambda: b"train/loss" in journal() or job.poll() is not None, 150, every=1)
        job.send_signal(signal.SIGINT)
        code = job.wait()
        log.seek(0)
        told = log.read()
    assert (code, told.splitlines()[-1]) == (130, "stopped by Ctrl-C"), told
    assert "stopping: a checkpoint is saved first" in told
    assert folder.query("SELECT status FROM runs") == [("KILLED",)]
    left = copied(bucket_server, "stopped", folder.path / "left")
    newest = CheckpointStore(left / "checkpoints").latest()
    assert newest is not None and 0 < newest.step <= last_step(left / "journal.jsonl")


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Head, Path]]:
    """A cluster of two nodes of one CPU, and a folder that is another disk on the second."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("only root can give a node disks of its own")
    path = Path(tempfile.mkdtemp(prefix="hw2-", dir="/tmp"))  # short: sockets lie in it
    own = path / "own"
    own.mkdir()
    with contextlib.ExitStack() as held:
        held.callback(shutil.rmtree, path, ignore_errors=True)
        head = held.enter_context(running_head(path, 1, **VARIABLES))
        mounted = f'mount -t tmpfs none "{own}" && exec "$@"'
        second = Node(
            path / "second.log", head.environment,
            f"--address=127.0.0.1:{head.ports['port']}", "--num-cpus=1",
            before=["unshare", "-m", "sh", "-c", mounted, "sh"],
        )  # fmt: skip
        held.callback(second.kill)
        second.wait()
        yield head, own


def at_the_cluster(head: Head, own: Path) -> dict[str, str]:
    """The variables of a job there: no node has the copies of OUT that another has."""
    return {
        "RAY_ADDRESS": f"127.0.0.1:{head.ports['port']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": head.token,
        "XDG_CACHE_HOME": str(own / "cache"),
    }


def test_workers_on_other_nodes(
    folder: Folder, digits_tree: Path, bucket_server: BucketServer, node: tuple[Head, Path]
) -> None:
    head, own = node
    want = undisturbed(folder.path / "want", digits_tree, 2)
    variables = at_the_cluster(head, own)
    command = words(digits_tree, 2)
    local = folder.run("train_judge", *command, "--out", own / "out", **variables)
    said = f"{own}/out is not on all nodes of the cluster: give a folder that"
    assert local.refusal().startswith(said)
    assert not list(own.iterdir())

    command += ["--out", bucket_server.uri("ray")]
    log = folder.path / "log"
    with log.open("w") as told:
        job = folder.start("train_judge", *command, log=told, **variables)
    wait_for(lambda: len(steps_in(bucket_server, "ray")) >= 1 or job.poll() is not None, 150)
    bucket_server.stop()
    away_since = time.monotonic()
    said = "s3://results/ray cannot be used (no answer): trying again for 300 s"
    wait_for(lambda: said in log.read_text() or job.poll() is not None, 150)
    time.sleep(max(0, away_since + 30 - time.monotonic()))
    bucket_server.start()
    known = len(steps_in(bucket_server, "ray"))
    wait_for(lambda: len(steps_in(bucket_server, "ray")) > known or job.poll() is not None, 150)
    job.kill()
    job.wait()
    assert said in log.read_text()
    shutil.rmtree(own / "cache")
    ended = folder.run("train_judge", *command, **variables)
    assert ended.code == 0
    assert bits(copied(bucket_server, "ray", folder.path / "got")) == bits(want)
    assert_each_row_once(folder)


def test_what_one_part_of_a_job_makes_reaches_the_next_on_other_nodes(
    folder: Folder,
    digits_tree: Path,
    judge: Path,
    bucket_server: BucketServer,
    node: tuple[Head, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trained weights reach those who draw, and drawn pictures those who train.

    What was learnt reaches other jobs too, by the folder's URI or by the run.
    """
    variables, two = at_the_cluster(*node), {"scaling.num_workers": 2, "train.num_steps": 2}
    digits = {
        "data.root": digits_tree, "judge": judge, "network.patch": 4, "network.channels": 64,
        "network.attention": "false", "train.batch_size": 8, "sample.num_inference_steps": 2,
        "out": bucket_server.uri("digits"),
    }  # fmt: skip
    ended = folder.run("train_ddpm", *as_words(digits | two), **variables)
    assert ended.code == 0
    assert len([n for n in bucket_server.names("digits") if n.startswith("svhn/")]) == 100

    model = bucket_server.upload(tiny_pipeline_folder(folder.path / "pipeline"), "pipeline")
    concept = {
        "model": model, "input": write_input(folder.path / "concepts"),
        "sources": "0,1", "prior.num_pictures": 3, "templates": "plain_object",
        "train.batch_size": 8, "num_shown": 1, "sample.num_inference_steps": 2,
        "out": bucket_server.uri("custom"),
    }  # fmt: skip
    ended = folder.run("custom_diffusion", *as_words(concept | two), **variables)
    assert ended.code == 0
    assert "token_new1.safetensors" in bucket_server.names("custom")
    assert "find_unused_parameters" not in ended.err + ended.out  # DDP's warning

    (folder.path / "captions.txt").write_text("a photo of a cup\na red car on the street\n")
    merge = {
        "model": model, "captions": folder.path / "captions.txt", "num_targets": 2,
        "concepts": bucket_server.uri("custom"), "out": "merged",
    }  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.path / "cache"))
    assert folder.run_here("merge_concepts", merge).code == 0
    ((run,),) = folder.query("SELECT run_uuid FROM runs WHERE name='merged'")
    draw = {
        "model": model, "input": concept["input"], "sources": "0", "num_pictures": 2,
        "num_inference_steps": 2, "joint": bucket_server.uri("custom"), "merged": f"run:{run}",
        "together": "a <new1> next to a <new2>", "scaling.num_workers": 2,
        "out": bucket_server.uri("drawn"),
    }  # fmt: skip
    drawn = folder.run("generate_concepts", *as_words(draw), **variables)
    assert drawn.code == 0, drawn.err
    grade = {"input": concept["input"], "sources": "0", "generated": bucket_server.uri("drawn")}
    assert folder.run_here("grade_concepts", grade | {"out": "grades"}).code == 0
    for out in ("digits", "custom", "drawn"):
        bucket = Bucket(bucket_server.uri(out))
        assert bucket.files.get_file_info(bucket.path("ray")).type is fs.FileType.NotFound
