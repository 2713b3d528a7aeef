"""kill -9 of an actor and of the driver while pictures are embedded, then the same command."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.clip.small import save_clip, write_set
from tests.jobs.command import Folder, as_words, descendants, wait_for_work


def wait_for_parts(cache: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Return when `count` parts are kept, or the job has ended."""
    wait_for_work(lambda: len(list(cache.glob("*/*.parquet"))) >= count, process)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_continued(folder: Folder, tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip" / "final.safetensors")
    write_set(tmp_path / "set", each=400)
    seed = time.time_ns() % 10**6
    print(f"seed of the kills: {seed}")
    draw = random.Random(seed)
    settings = {"images": "set/val", "pretrained": clip, "batch_size": 8, "templates": "cifar"}

    def given(out: str, workers: int) -> dict[str, object]:
        more = {"out": out, "cache": f"{out}.cache", "scaling.num_workers": workers}
        return settings | more

    words = as_words(given("out", 2))

    cache = tmp_path / "out.cache"
    job = folder.start("clip_zero_shot", *words)
    wait_for_parts(cache, draw.randint(2, 4), job)
    actors = sorted(p for p, title in descendants(job.pid).items() if "MapWorker" in title)
    assert len(actors) == 2
    os.kill(draw.choice(actors), signal.SIGKILL)
    before = len(list(cache.glob("*/*.parquet")))
    wait_for_parts(cache, before + draw.randint(3, 6), job)  # it goes on by itself
    assert job.poll() is None
    job.kill()
    job.communicate()
    time.sleep(3)  # actors that had a part in hand may still write it
    done = {path: path.stat().st_mtime_ns for path in cache.glob("*/*.parquet")}
    assert before < len(done) < 38
    assert not (tmp_path / "out" / "metrics.json").exists()

    assert folder.run("clip_zero_shot", *words).code == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list(cache.glob("*/*.parquet"))) == 38  # of 64 pictures
    assert folder.query("SELECT status FROM runs") == [("FINISHED",)]

    assert folder.run_here("clip_zero_shot", given("whole", 0)).code == 0
    found, want = (tmp_path / out / "predictions" / "cifar" for out in ("out", "whole"))
    assert pq.read_table(found).equals(pq.read_table(want))
    figures = [json.loads((tmp_path / o / "metrics.json").read_text()) for o in ("out", "whole")]
    assert figures[0]["prompt_sets"] == figures[1]["prompt_sets"]
