"""python -m tests.distributed.open_head: a job beside a head that anyone may use.

Nobody is: it runs in a network of its own, which has a loopback interface and nothing else.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hw2.config import ScalingConfig
from hw2.distributed.session import connected
from tests.distributed.head import running_head

ADDRESS = "10.99.0.1"


def main() -> None:
    """What the job says goes to stderr."""
    for words in ("link set lo up", f"addr add {ADDRESS}/32 dev lo", "route add default dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    path = Path(tempfile.mkdtemp(prefix="hw2-", dir="/tmp"))
    with running_head(path, num_cpus=1, RAY_AUTH_MODE="disabled") as head:
        os.environ["RAY_ADDRESS"] = f"{ADDRESS}:{head.ports['port']}"
        os.environ["RAY_AUTH_MODE"] = "disabled"
        with connected(ScalingConfig(num_workers=1)):
            print("connected", file=sys.stderr)
    shutil.rmtree(path)


if __name__ == "__main__":
    main()
