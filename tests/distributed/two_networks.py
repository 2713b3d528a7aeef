"""python -m tests.distributed.two_networks TREE OUT: a training on nodes that only a cable joins.

Two nodes of a CPU each, in networks of their own. The machine's name leads to 127.0.1.1, as on
Debian and Ubuntu. Runs under `unshare --map-root-user --net --mount`.
"""

import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.distributed.node import Node, environment
from tests.jobs.command import ROOT
from tests.waiting import wait_for

HEAD, OTHER, PORT = "10.98.0.1", "10.98.0.2", 6379


def ip(words: str, *inside: str) -> None:
    subprocess.run([*inside, "ip", *words.split()], check=True)


def connect(other: int) -> list[str]:
    """Lay the cable to the network of the process `other`; what puts a command into that."""
    there = ["nsenter", f"--net=/proc/{other}/ns/net"]
    ip("link add head type veth peer name other")
    ip(f"link set other netns {other}")
    for name, address, inside in (("head", HEAD, []), ("other", OTHER, there)):
        ip("link set lo up", *inside)
        ip(f"addr add {address}/24 dev {name}", *inside)
        ip(f"link set {name} up", *inside)
    return there


def name_leads_to_loopback(folder: Path) -> None:
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {socket.gethostname()}\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    assert socket.gethostbyname(socket.gethostname()) == "127.0.1.1"


def train(tree: str, out: str, folder: Path, there: list[str]) -> int:
    """The exit code of a training by two workers, one a node."""
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": str(ROOT)}
    nodes = []
    try:
        for name, address, before in (("head", HEAD, []), ("other", OTHER, there)):
            (folder / name).mkdir()
            first = ["--head", f"--port={PORT}", "--include-dashboard=false"]
            words = first if name == "head" else [f"--address={HEAD}:{PORT}"]
            own = environment(**token, RAY_TMPDIR=str(folder / name))
            alike = (f"--node-ip-address={address}", "--num-cpus=1")
            nodes.append(Node(folder / f"{name}.log", own, *words, *alike, before=before))
            nodes[-1].wait()
        words = f"--data.root {tree} --out {out} --scaling.num_workers 2 --train.num_steps 2"
        return subprocess.run(
            [sys.executable, "-m", "jobs.train_judge", *words.split(), "--train.batch_size", "4"],
            cwd=folder,
            env=environment(**token, RAY_ADDRESS=f"{HEAD}:{PORT}"),
        ).returncode
    finally:
        for node in nodes:
            node.kill()


def main(tree: str, out: str) -> int:
    far = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        own = Path("/proc/self/ns/net").readlink()
        wait_for(lambda: Path(f"/proc/{far.pid}/ns/net").readlink() != own)
        there = connect(far.pid)
        with tempfile.TemporaryDirectory(prefix="hw2-", dir="/tmp") as folder:  # sockets lie in it
            name_leads_to_loopback(Path(folder))
            return train(tree, out, Path(folder), there)
    finally:
        far.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
