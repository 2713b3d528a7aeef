"""kill -9 of a run by Ray while pictures are embedded; what is left is done without Ray.

Of an actor and of a node: ../chaos/test_nodes.py.
"""

import json
import random
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.clip.small import save_clip, write_set
from tests.jobs.command import Folder, as_words, wait_for_work


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_continued(folder: Folder, tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip" / "final.safetensors")
    write_set(tmp_path / "set", each=400)
    seed = time.time_ns() % 10**6
    print(f"seed of the kill: {seed}")
    settings = {"images": "set/val", "pretrained": clip, "batch_size": 8, "templates": "cifar"}

    def given(out: str, workers: int) -> dict[str, object]:
        more = {"out": out, "cache": f"{out}.cache", "scaling.num_workers": workers}
        return settings | more

    cache, few = tmp_path / "out.cache", random.Random(seed).randint(2, 12)
    job = folder.start("clip_zero_shot", *as_words(given("out", 2)))
    wait_for_work(lambda: len(list(cache.glob("*/*.parquet"))) >= few, job)
    assert job.poll() is None
    job.kill()
    job.communicate()
    time.sleep(3)  # actors that had a part in hand may still write it
    done = {path: path.stat().st_mtime_ns for path in cache.glob("*/*.parquet")}
    assert few <= len(done) < 38
    assert not (tmp_path / "out" / "metrics.json").exists()

    assert folder.run_here("clip_zero_shot", given("out", 0)).code == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list(cache.glob("*/*.parquet"))) == 38  # of 64 pictures
    assert folder.query("SELECT status FROM runs") == [("FINISHED",)]

    assert folder.run_here("clip_zero_shot", given("whole", 0)).code == 0
    found, want = (tmp_path / out / "predictions" / "cifar" for out in ("out", "whole"))
    assert pq.read_table(found).equals(pq.read_table(want))
    figures = [json.loads((tmp_path / o / "metrics.json").read_text()) for o in ("out", "whole")]
    assert figures[0]["prompt_sets"] == figures[1]["prompt_sets"]
