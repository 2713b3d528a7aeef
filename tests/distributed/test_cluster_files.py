"""The files that start clusters: valid by Ray's check, closed by a token, from the lock file."""

import copy
import importlib.util
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from tests.jobs.command import ROOT

CLUSTERS = ("cluster.yaml", "docs/cluster/local.yaml")
LISTS = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def check(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` does with a file before it asks a cloud for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def locked(package: str) -> Version:
    text = (ROOT / "requirements.lock").read_text()
    found = re.search(rf"^{package}(?:\[[\w,]+\])?==(\S+)", text, re.MULTILINE)
    assert found
    return Version(found[1])


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_takes_the_file(name: str) -> None:
    prepared = check(read(name))
    assert prepared["head_node_type"] in prepared["available_node_types"]


@pytest.mark.parametrize("name", CLUSTERS)
@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("setup_comands", [], "setup_comands"),
        ("idle_timeout_minutes", "ten", "ten"),
        ("docker", {"image": "x"}, "container"),
    ],
)
def test_a_typo_is_caught(name: str, key: str, value: object, told: str) -> None:
    with pytest.raises(Exception, match=told):
        check(read(name) | {key: value})


def test_workers_with_gpus_come_and_go() -> None:
    prepared = check(read("cluster.yaml"))
    with pytest.raises(ValueError, match="head_node_type"):
        check(read("cluster.yaml") | {"head_node_type": "haed"})
    types = prepared["available_node_types"]
    head, gpu = types["head"], types["gpu"]
    assert (head["min_workers"], head["max_workers"]) == (0, 0)
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, 4)
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in head["node_config"]
    for kind in LISTS[1:]:
        assert " HW2_CLUSTER_GROWS=1; ray start " in prepared[kind][-1]
    # Ray does not look inside of these.
    assert set(prepared["provider"]) == {"type", "region", "cache_stopped_nodes"}
    keys = {"InstanceType", "ImageId", "BlockDeviceMappings"}
    assert set(head["node_config"]) == keys
    assert set(gpu["node_config"]) == keys | {"InstanceMarketOptions"}


def test_machines_of_ones_own_stay() -> None:
    prepared = check(read("docs/cluster/local.yaml"))
    (node,) = prepared["available_node_types"].values()
    assert node["min_workers"] == node["max_workers"] == 2
    assert set(prepared["provider"]) == {"type", "head_ip", "worker_ips"}


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_token_is_on_every_node_and_asked_for(name: str) -> None:
    config = read(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [config[kind][-1] for kind in LISTS[1:]]
    for command in starts:
        assert re.search(r"export [^;]*RAY_AUTH_MODE=token[^;]*; ray start ", command)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "0.0.0.0" not in (ROOT / name).read_text()


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_start_knows_the_options(name: str) -> None:
    from ray.scripts.scripts import start

    for kind in LISTS[1:]:
        words = read(name)[kind][-1].split("ray start ")[1]
        context = start.make_context(
            "start", shlex.split(words.replace("$RAY_HEAD_IP", "192.0.2.1"))
        )
        assert context.params["disable_usage_stats"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_node_needs_this_repository_alone(name: str) -> None:
    config = read(name)
    mounted = config["file_mounts"] | {"~/.ray/auth_token": "README.md"}  # that one is the user's
    assert [here for here in mounted.values() if not (ROOT / here).is_file()] == []
    installs = [c for c in config["setup_commands"] if "pip install" in c and " uv" not in c[-4:]]
    assert len(installs) == 1
    assert "--require-hashes -r ~/hw2/requirements.lock" in installs[0]
    assert "~/hw2/requirements.lock" in config["file_mounts"]
    for command in (command for kind in LISTS for command in config[kind]):
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_nodes_that_come_later_have_the_python_of_the_head() -> None:
    # Ray refuses a node of another patch.
    (makes,) = [c for c in read("cluster.yaml")["setup_commands"] if "uv venv" in c]
    assert re.search(r" --python 3\.11\.\d+ ", makes)


def test_jobs_that_queue_hold_no_cpu() -> None:
    (asks,) = re.findall(
        r"`--entrypoint-resources '(.*?)'`", (ROOT / "docs/cluster.md").read_text()
    )
    turn = set(json.loads(asks))
    aws, own = (read(name) for name in CLUSTERS)
    assert set(aws["available_node_types"]["head"]["resources"]) == turn
    assert not aws["available_node_types"]["gpu"]["resources"]  # the driver is on the head
    words = own["head_start_ray_commands"][-1]
    assert set(json.loads(re.findall("--resources='(.*?)'", words)[0])) == turn
    assert "--resources" not in own["worker_start_ray_commands"][-1]


@pytest.mark.parametrize("name", CLUSTERS)
def test_setting_a_node_up_twice(name: str, tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("x")
    token.chmod(0o644)  # as `ray get-auth-token --generate` writes it
    light = [c for c in read(name)["setup_commands"] if "pip " not in c and "venv " not in c]
    for command in 2 * light:
        subprocess.run(["bash", "-c", command], check=True, env=os.environ | {"HOME": tmp_path})
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700
    (line,) = (tmp_path / ".bashrc").read_text().splitlines()
    assert line == "export PATH=$HOME/hw2/env/bin:$PATH RAY_AUTH_MODE=token"


def test_the_job_of_kubernetes() -> None:
    job = read("docs/cluster/rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert Version(cluster["rayVersion"]) == locked("ray")
    assert cluster["enableInTreeAutoscaling"] is True

    words = spec["entrypoint"].split()
    assert words[:2] == ["python", "-m"]
    assert importlib.util.find_spec(words[2])
    settings = dict(zip(words[3::2], words[4::2], strict=True))
    assert (ROOT / settings["--config"]).is_file()
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == 0
    assert int(settings["--scaling.num_workers"]) <= workers["maxReplicas"]

    pods = [cluster["headGroupSpec"]["template"]["spec"], workers["template"]["spec"]]
    containers = [container for pod in pods for container in pod["containers"]]
    assert len({container["image"] for container in containers}) == 1
    gpus = [container["resources"]["limits"].get("nvidia.com/gpu") for container in containers]
    assert gpus == [None, "1"]
    for pod, container in zip(pods, containers, strict=True):
        (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
        assert mount["name"] == volume["name"]
        for key in ("--data.root", "--out"):
            assert settings[key].startswith(mount["mountPath"] + "/")

    image = (ROOT / "docs/cluster/Dockerfile").read_text()
    assert f"local://{re.findall('WORKDIR (.*)', image)[0]}" in spec["runtimeEnvYAML"]
    assert "--require-hashes -r /hw2/requirements.lock" in image
    copied = re.findall(r"^COPY (\S+)", image, re.MULTILINE)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_no_version_with_a_known_hole() -> None:
    """docs/cluster.md says which holes; pyproject.toml asks for more than these."""
    assert locked("ray") > Version("2.56")
    assert locked("mlflow") > Version("3.17.1")
