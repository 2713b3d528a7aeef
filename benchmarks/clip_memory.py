"""Peak memory of jobs.clip_zero_shot on many pictures, over all of its processes.

python benchmarks/clip_memory.py --images hw2_data/clip_zeroshot/val --count 100000

The sum of proportional set sizes (shared pages count once), sampled every half second.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from clip_throughput import linked
from frame import ROOT, arguments, finish


def tree_bytes(pid: int) -> int:
    """Proportional set sizes of `pid` and all that it has started."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for one in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # it has ended
                total += one.memory_full_info().pss
    return total


def main(argv: list[str] | None = None) -> None:
    """Run the job and print its peak."""
    parser = arguments("clip_memory", __doc__)
    parser.add_argument("--images", type=Path, default=Path("hw2_data/clip_zeroshot/val"))
    parser.add_argument("--pretrained", default="asset:clip")
    parser.add_argument("--model", default="null", help="as in jobs.clip_zero_shot")
    parser.add_argument("--count", type=int, default=100_000, help="pictures (links to the files)")
    parser.add_argument("--num_workers", default="null", help="copies of the model")
    words = parser.parse_args(argv)
    # Beside the pictures: links do not cross file systems.
    with tempfile.TemporaryDirectory(dir=words.images.parent) as temporary:
        folder = Path(temporary)
        images = linked(words.images, words.count, folder)
        settings = {"images": images, "pretrained": words.pretrained, "model": words.model}
        settings |= {"out": folder / "out", "scaling.num_workers": words.num_workers}
        command = [sys.executable, "-m", "jobs.clip_zero_shot"]
        command += [str(word) for key, value in settings.items() for word in (f"--{key}", value)]
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        began, peak = time.monotonic(), 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid))
            time.sleep(0.5)
        assert process.returncode == 0
        found = json.loads((folder / "out/metrics.json").read_text())
    rate, seconds = found["pictures_per_second"], time.monotonic() - began
    figures = {"peak, GiB": peak / 2**30, "pictures/s": rate, "seconds in all": seconds}
    finish(words.json, vars(words), [{"pictures": found["pictures"], **figures}])


if __name__ == "__main__":
    main()
