"""Whether a worker's node has the files of the driver's."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from hw2.distributed import sight
from hw2.distributed.sight import refuse_missing, refuse_other_disk, refuse_unseen
from hw2.errors import ConfigError


def test_the_same_file_only(tmp_path: Path) -> None:
    file = tmp_path / "out" / "run.json"
    with pytest.raises(ConfigError, match=r"/out is not on all nodes .* \(NFS\), or a URI as s3:"):
        refuse_other_disk(file, "mine")
    file.parent.mkdir()
    file.write_text("another's")
    with pytest.raises(ConfigError, match=r"/out is not on all nodes of the cluster: .* \(NFS\)$"):
        refuse_other_disk(file, "mine", or_uri=False)
    file.write_text("mine")
    refuse_other_disk(file, "mine")


def test_without_a_cluster_nothing_is_asked(tmp_path: Path) -> None:
    refuse_unseen(tmp_path / "out")
    refuse_missing(tmp_path / "none")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What another node, with the same disk, has been asked for."""
    paths: list[Path] = []

    def have(path: Path, nodes: list[str]) -> bool:
        paths.append(path)
        return path.exists()

    monkeypatch.setattr(sight, "_other_nodes", lambda: ["other"])
    monkeypatch.setattr(sight, "_all_have", have)
    return paths


def test_a_passing_file_tells_where_the_folder_is_not_there_yet(
    tmp_path: Path, asked: list[Path]
) -> None:
    refuse_unseen(tmp_path / "not yet" / "out")
    assert [path.parent for path in asked] == [tmp_path]
    assert list(tmp_path.iterdir()) == []


def test_what_a_node_has_not_is_refused(
    tmp_path: Path, asked: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the others' processes work elsewhere
    refuse_missing(Path())
    with pytest.raises(ConfigError, match=r"/none is not on all nodes .* or a URI as s3:"):
        refuse_missing(tmp_path, tmp_path / "none")
    assert asked == [tmp_path, tmp_path, tmp_path / "none"]


def test_another_disk_under_the_same_path_is_refused(
    tmp_path: Path, asked: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight, "_all_have", lambda path, nodes: False)
    with pytest.raises(ConfigError, match=r"/out is not on all nodes of the cluster: .* \(NFS\)$"):
        refuse_unseen(tmp_path / "out", or_uri=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=f"^{tmp_path}/out is not on all nodes"):
        refuse_unseen(Path("~/out"))
    refuse_unseen(Path("/proc/none/out"))  # cannot be written here either, as the job will say


def test_a_node_that_takes_no_work_any_more_is_not_asked_for_the_files(
    tmp_path: Path, ray_session: None
) -> None:
    here, drained = ray.get_runtime_context().get_node_id(), 56 * "0"
    assert sight._all_have(tmp_path, [here, drained])
    assert not sight._all_have(tmp_path / "none", [here, drained])


def test_who_else_is_there_is_alive_and_another(monkeypatch: pytest.MonkeyPatch) -> None:
    every = [{"NodeID": name, "Alive": name != "lost"} for name in ("here", "other", "lost")]
    here = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setattr(ray, "nodes", lambda: every)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    for connected, others in ((True, ["other"]), (False, [])):
        monkeypatch.setattr(ray, "is_initialized", lambda connected=connected: connected)
        assert sight._other_nodes() == others


def test_a_node_is_asked_for_a_file(
    tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ray.get_runtime_context().get_node_id()
    assert sight._all_have(tmp_path, [here])
    assert not sight._all_have(tmp_path / "none", [here])
    monkeypatch.setattr(sight, "ANSWER_SECONDS", 0.0)
    with pytest.raises(ConfigError, match=r"^1 of 1 other nodes do not answer within 0 s: look at"):
        sight._all_have(tmp_path, [here])
