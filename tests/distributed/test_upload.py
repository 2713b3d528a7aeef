"""What travels to a cluster: this repository, small, without data, results and secrets."""

import base64
import json
from pathlib import Path
from zipfile import ZipFile

import pytest

from hw2.distributed import upload
from hw2.distributed.leaks import leaks, own_secrets
from hw2.distributed.upload import packed
from tests.jobs.command import ROOT


def names(folder: Path) -> set[str]:
    with packed(folder) as package:
        return set(package.namelist())


def test_this_repository_travels_small_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with packed(ROOT) as package:
        sizes = {entry.filename: entry.file_size for entry in package.infolist()}
    code = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("hw2/**/*.py", "hw2/**/*.txt", "jobs/**/*.py", "jobs/configs/*.yaml")
        for path in ROOT.glob(pattern)
    }
    assert code <= set(sizes)
    assert {"tune_configs/guidance.yaml", "hw2/assets/digits/final.safetensors"} <= set(sizes)
    assert {name.split("/")[0] for name in sizes if "/" in name} == {"hw2", "jobs", "tune_configs"}
    without = sum(size for name, size in sizes.items() if not name.startswith("hw2/assets/"))
    assert without < 5 * 10**6
    assert sum(sizes.values()) < 40 * 10**6

    assert upload.main([str(ROOT)]) == 0
    said = capsys.readouterr().out
    assert f"{without / 10**6:.1f} MB without hw2/assets/" in said
    assert "8.6 MB  hw2/assets/faces/final.safetensors" in said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout in use, with one secret a kind of place; the ignore files are ours."""
    for name in (".gitignore", ".rayignore"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    junk = """.git/config .venv/bin/python .venv-gpu/bin/python hw2_data/face/UNet.pt
        hw2_data_real/a.png outputs/ddpm/final.safetensors outputs.old/x mlflow.db mlflow.db-wal
        mlruns/1 mlartifacts/1 mlflow-server/passwords build/lib.py dist/hw2.whl .env
        hw2.egg-info/PKG-INFO .pytest_cache/x .mypy_cache/y hw2/__pycache__/a.pyc
        tests/test_a.py docs/a.md benchmarks/b.py .ci/run accounts.csv accounts-2026.csv
        mlflow.dump backup/artifacts/a.png hw2_data_small/a.png test.log"""
    wanted = "hw2/docs/a.txt hw2/dist/b.py jobs/train_ddpm.py jobs/configs/mine.yaml"
    for name in (*junk.split(), *wanted.split()):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("num_steps: 5")
    return tmp_path


def test_data_environments_and_results_stay(folder: Path) -> None:
    assert names(folder) == {
        ".gitignore",
        ".rayignore",
        "hw2/docs/a.txt",
        "hw2/dist/b.py",
        "jobs/train_ddpm.py",
        "jobs/configs/mine.yaml",
    }


def test_what_must_not_travel_is_told(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        assert upload.main([]) == 0
    assert " in 6 files, " in capsys.readouterr().out
    deep = folder / "tune_configs" / "ours" / "deep.yaml"
    deep.parent.mkdir(parents=True)
    deep.touch()
    with (folder / ".gitignore").open("a") as file:
        file.write("mine.yaml\ndeep.yaml\n")
    outside = tmp_path_factory.mktemp("outside") / "notes.txt"
    outside.write_text("x")
    (folder / "notes.txt").symlink_to(outside)
    (folder / "jobs" / "id_rsa").write_text("x")
    (folder / "jobs" / "server.sh").write_text("\n\nmlflow --uri http://ann:opensesame@host/\n")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "tell-no-one")
    (folder / "hw2" / "constants.py").write_text("A = 'tell-no-one'")
    with (folder / "large.bin").open("wb") as file:
        file.truncate(101 * 2**20)

    assert upload.main([str(folder)]) == 1
    said, errors = capsys.readouterr()
    for name in ("jobs/configs/mine.yaml", "tune_configs/ours/deep.yaml"):
        assert f"stays here, because .gitignore or .rayignore names it: {name}\n" in said
    assert "105.9 MB  large.bin" in said
    assert sorted(errors.splitlines()) == [
        "error: 105.9 MB is more than Ray takes (104.9 MB): see .rayignore",
        "error: leads out of the folder: notes.txt",
        "error: looks like a secret: hw2/constants.py:1: the value of MLFLOW_TRACKING_PASSWORD",
        "error: looks like a secret: jobs/id_rsa: the name of a file of secrets",
        "error: looks like a secret: jobs/server.sh:3: a password in an address",
    ]


LETTERS = base64.b64encode(bytes(range(60))).decode()


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("notes.txt", "-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        ("a.py", 'URI = "postgresql://ann:sesame@db.host/mlflow"', "a password in an address"),
        ("a.bin", "\0\xffAKIA" + "ABCD" * 4 + "\0", "a key of AWS"),
        ("a.bin", "ASIA" + "ABCD" * 4, "a key of AWS"),
        ("a.json", json.dumps({"k": "AIza" + LETTERS[:35]}), "a key of Google"),
        ("a.txt", "ghp_" + LETTERS[:36], "a token of GitHub"),
        ("a.txt", "gho_" + LETTERS[:36], "a token of GitHub"),
        ("a.txt", "github_pat_" + "a1_" * 17, "a token of GitHub"),
        ("a.txt", "glpat-" + LETTERS[:20], "a token of GitLab"),
        ("a.txt", "hf_" + LETTERS[:34], "a token of Hugging Face"),
        ("a.txt", "xoxb-" + "1234567890-", "a token of Slack"),
        ("a.txt", "xoxp-" + "1234567890-", "a token of Slack"),
        ("a.py", "password = 'correct-horse'", "a quoted secret"),
        ("a.json", '{"api_key": "0123456789"}', "a quoted secret"),
        ("a.yaml", "tracking_password: correct-horse", "a secret among settings"),
        ("a.ini", "aws_secret_access_key = " + LETTERS[:40], "a secret among settings"),
        ("prod.env", "DB_PASSWORD=correct-horse", "a secret among settings"),
        ("a.toml", "api_key = 0123456789", "a secret among settings"),
        (".env.local", "x=1", "the name of a file of secrets"),
        ("conf/tls.key", "x", "the name of a file of secrets"),
        ("home/.aws/credentials", "x", "the name of a file of secrets"),
        ("home/.kube/kubeconfig", "x", "the name of a file of secrets"),
        ("home/.netrc", "x", "the name of a file of secrets"),
        ("class/Accounts.csv", "x", "the name of a file of secrets"),
        ("mlflow.dump", "x", "the name of a file of secrets"),
    ],
)
def test_a_secret_is_found_and_not_repeated(name: str, text: str, what: str) -> None:
    (leak,) = leaks(name, f"first line\n{text}\n".encode("latin-1"), {})
    assert leak in (f"{name}:2: {what}", f"{name}: {what}")
    assert text not in leak


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "token = tokenizer.encode(text)\npassword = os.environ['PASSWORD']"),
        ("a.py", 'parser.add_argument("--placeholder_token", default="<new1>")'),
        ("a.md", "https://USER@host and http://${USER}:${PASSWORD}@host and http://u:***@host"),
        ("a.md", "ssh -L 8265:localhost:8265 me@head"),
        ("a.yaml", "placeholder_token: <new1>\npassword: $PASSWORD\ntoken: [a, b]\nkey: value"),
        ("a.yaml", "token: [alpha, beta]\npassword: # of the server\nsecret: #of-the-server"),
        ("a.yaml", "initializer_token: painting"),
        ("a.bin", "\0password = 'correct-horse'"),
        ("a.py", 'password, secret = "SERVER_PASSWORD", "SERVER_SECRET_KEY"'),
        ("keys.py", "KEYS = 1"),
    ],
)
def test_what_only_speaks_of_secrets_may_travel(name: str, text: str) -> None:
    assert list(leaks(name, text.encode(), {})) == []


def test_ones_own_secrets(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123456789abcdef\n")
    environment = {
        "HF_TOKEN": "secret-of-hub",
        "AWS_SECRET_ACCESS_KEY": "secret-of-cloud",
        "AWS_ACCESS_KEY_ID": "name-in-cloud",
        "DB_PASSWD": "secret-of-database",
        "OLD_PASSWORD": "geheim\udcfcss",  # as Python has bytes that are no UTF-8
        "OPENAI_API_KEY": "secret-of-service",
        "MY_APIKEY": "87654321",
        "SHORT_TOKEN": "1234567",  # would be found everywhere
        "HOME": "not-a-secret",
    }
    own = own_secrets(environment, tmp_path)
    assert own == {
        "the value of HF_TOKEN": b"secret-of-hub",
        "the value of AWS_SECRET_ACCESS_KEY": b"secret-of-cloud",
        "the value of AWS_ACCESS_KEY_ID": b"name-in-cloud",
        "the value of DB_PASSWD": b"secret-of-database",
        "the value of OLD_PASSWORD": b"geheim\xfcss",
        "the value of OPENAI_API_KEY": b"secret-of-service",
        "the value of MY_APIKEY": b"87654321",
        "your token of Ray": b"0123456789abcdef",
    }
    found = list(leaks("a.txt", b"0123456789abcdef secret-of-hub", own))
    assert found == ["a.txt:1: the value of HF_TOKEN", "a.txt:1: your token of Ray"]


def test_the_token_of_ray_is_looked_for_where_ray_does(tmp_path: Path) -> None:
    token = tmp_path / "token"
    environment = {"RAY_AUTH_TOKEN_PATH": str(token)}
    assert own_secrets({}, tmp_path) == own_secrets(environment, tmp_path) == {}
    token.write_text("0123456789abcdef\n")
    assert own_secrets(environment, tmp_path) == {"your token of Ray": b"0123456789abcdef"}
    token.write_bytes(b"\xff\xfe\xfd")
    assert own_secrets(environment, tmp_path) == {}


def test_rays_setting_that_ignores_gitignore_is_heeded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".gitignore").write_text("mine.yaml")
    assert "jobs/configs/mine.yaml" not in names(folder)
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    assert "jobs/configs/mine.yaml" in names(folder)


def test_a_package_is_what_it_says(folder: Path) -> None:
    with packed(folder) as package:
        assert isinstance(package, ZipFile)
        assert package.read("jobs/configs/mine.yaml") == b"num_steps: 5"
