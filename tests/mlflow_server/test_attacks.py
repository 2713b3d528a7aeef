"""What an account of the server may not reach, and who is not answered at all."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.mlflow_server.served import Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STORE = "/api/2.0/mlflow-artifacts/artifacts"
SECRET = b"of the server alone"


@dataclass(frozen=True)
class Place:
    """A run of Amy's, its folder on the server, and files outside of it that she must not reach."""

    run_id: str
    folder: Path
    server: Path

    @property
    def inside(self) -> str:
        """The run's artifacts, as the proxy's path names them."""
        return "/".join(self.folder.parts[-3:])

    def outside(self) -> dict[Path, bytes]:
        """All files of the server but those of the run and the database."""
        return {
            path: path.read_bytes()
            for path in self.server.rglob("*")
            if path.is_file()
            and not path.is_relative_to(self.folder)
            and not path.is_relative_to(self.server / "postgres")
            and path.suffix != ".log"
        }


@pytest.fixture(scope="module")
def place(served: Served) -> Iterator[Place]:
    made = served.call("POST", "/api/2.0/mlflow/experiments/create", {"name": "amys"}, "amy").json()
    experiment = made["experiment_id"]
    body = {"experiment_id": experiment}
    run = served.call("POST", "/api/2.0/mlflow/runs/create", body, "amy").json()
    run_id = run["run"]["info"]["run_id"]
    server = served.folder / "server"
    place = Place(run_id, server / "artifacts" / experiment / run_id / "artifacts", server)
    path = f"{STORE}/{place.inside}/mine.txt"
    assert served.call("PUT", path, "mine", "amy").status == 200
    assert (place.folder / "mine.txt").read_text() == "mine"
    assert served.call("GET", path, user="amy").body == b"mine"
    (server / "stolen.txt").write_bytes(SECRET)
    (server / "artifacts" / "stolen.txt").write_bytes(SECRET)
    yield place
    for path in (server / "stolen.txt", server / "artifacts" / "stolen.txt"):
        path.unlink()


def ways_out(place: Place) -> list[str]:
    """Names of `stolen.txt` above the run's folder and of /etc/passwd, as a URL may hold them."""
    plain = ["../" * up + "stolen.txt" for up in (3, 4)]
    plain += [f"{place.server}/stolen.txt", "/etc/passwd", "../" * 12 + "etc/passwd"]
    plain += [f"file://{place.server}/stolen.txt", "mine.txt/../../../../stolen.txt"]
    plain += ["..\\..\\..\\stolen.txt", "./../../../stolen.txt", "//etc/passwd"]
    once = [quote(path, safe="") for path in plain]
    dots = [path.replace(".", "%2e") for path in plain]
    twice = [quote(path, safe="") for path in once]
    return list(dict.fromkeys([*plain, *once, *dots, *twice]))


def test_no_artifact_path_leaves_the_folder_of_its_run(served: Served, place: Place) -> None:
    before = place.outside()
    for out in ways_out(place):
        query = quote(out, safe="%/")
        readings = [
            f"{STORE}/{place.inside}/{query}",
            f"{STORE}/{query}",
            f"{STORE}?path={place.inside}/{query}",
            f"/get-artifact?run_uuid={place.run_id}&path={query}",
            f"/api/2.0/mlflow/artifacts/list?run_id={place.run_id}&path={query}",
        ]
        for reading in readings:
            answer = served.call("GET", reading, user="amy")
            assert SECRET not in answer.body and b"root:x:0" not in answer.body, reading
            assert b"stolen.txt" not in answer.body or answer.status >= 400, reading
        upload = f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={place.run_id}&path={query}"
        for method, path in [
            ("PUT", f"{STORE}/{place.inside}/{query}"),
            ("POST", upload),
            ("DELETE", f"{STORE}/{place.inside}/{query}"),
        ]:
            served.call(method, path, "evil", "amy")
            assert place.outside() == before, (method, path)
    for everything in ("", ".", "..", "%2e", place.inside.partition("/")[0]):
        assert served.call("DELETE", f"{STORE}/{everything}", user="bob").status >= 400
    assert place.outside() == before
    assert Path("/etc/passwd").read_text().startswith("root:")


@pytest.mark.parametrize(
    "location",
    ["{server}/evil", "file://{server}/evil", "FILE://{server}/evil", "evil", "../evil",
     "mlflow-artifacts:/../evil", "mlflow-artifacts:/%2e%2e/evil", "mlflow-artifacts:/0",
     "mlflow-artifacts://elsewhere/evil", "http://127.0.0.1:1{store}/evil", "s3://bucket/evil"],
)  # fmt: skip
def test_no_account_chooses_where_files_lie(served: Served, place: Place, location: str) -> None:
    before = place.outside()
    where = location.format(server=place.server, store=STORE)
    body = {"name": f"evil {where}", "artifact_location": where}
    answer = served.call("POST", "/api/2.0/mlflow/experiments/create", body, "bob")
    assert answer.status == 400
    found = served.client.get_experiment_by_name(body["name"])
    assert found is None
    assert place.outside() == before


def test_accounts_leave_what_is_of_others(served: Served, place: Place) -> None:
    assert served.call("GET", f"{STORE}/{place.inside}/mine.txt", user="bob").body == b"mine"
    run = {"run_id": place.run_id}
    experiment = {"experiment_id": place.folder.parts[-3]}
    account = {"username": "eve", "password": "eves-own-password"}
    for method, path, body in [
        ("DELETE", f"{STORE}/{place.inside}/mine.txt", None),
        ("POST", "/api/2.0/mlflow/runs/delete", run),
        ("POST", "/api/2.0/mlflow/experiments/delete", experiment),
        ("POST", "/api/2.0/mlflow/users/create", account),
        ("PATCH", "/api/2.0/mlflow/users/update-password", account | {"username": "amy"}),
        ("PATCH", "/api/2.0/mlflow/users/update-admin", {"username": "bob", "is_admin": True}),
    ]:
        assert served.call(method, path, body, "bob").status == 403, path
    assert (place.folder / "mine.txt").exists()
    assert served.client.get_run(place.run_id).info.lifecycle_stage == "active"


def test_a_remembered_password_is_forgotten_when_it_changes(served: Served) -> None:
    def status(password: str) -> int:
        pair = base64.b64encode(f"kim:{password}".encode()).decode()
        asked = {"user": None, "Authorization": f"Basic {pair}"}
        return served.call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", **asked).status

    users = "/api/2.0/mlflow/users"
    kim = {"username": "kim", "password": "kims-first-password"}
    changed = kim | {"password": "kims-other-password"}
    assert served.call("POST", f"{users}/create", kim).status == 200
    assert [status(kim["password"]) for _ in range(3)] == [200] * 3
    assert status(changed["password"]) == 401
    assert served.call("PATCH", f"{users}/update-password", changed).status == 200
    assert (status(kim["password"]), status(changed["password"])) == (401, 200)
    assert served.call("DELETE", f"{users}/delete", {"username": "kim"}).status == 200
    assert status(changed["password"]) == 401


def test_nothing_is_shown_without_an_account(served: Served, place: Place) -> None:
    paths = ["/", f"/get-artifact?run_uuid={place.run_id}&path=mine.txt", "/signup", "/metrics",
             f"{STORE}/{place.inside}/mine.txt", f"{STORE}?path=", "/api/2.0/mlflow/users/list",
             "/api/2.0/mlflow/experiments/search?max_results=1", "/graphql"]  # fmt: skip
    for path in paths:
        assert served.call("GET", path, user=None).status == 401, path
    wrong = {"Authorization": "Basic YW15Ondyb25n"}
    assert served.call("GET", paths[0], user=None, **wrong).status == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost:1", "", "*"],
)
def test_a_foreign_host_header_is_refused(served: Served, host: str) -> None:
    for path in ("/", "/api/2.0/mlflow/experiments/search?max_results=1", f"{STORE}?path="):
        answer = served.call("GET", path, Host=host.format(port=served.port))
        assert answer.status in (400, 403), path
        assert b"experiment" not in answer.body
    assert served.call("GET", "/", Host=f"localhost:{served.port}").status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1.evil", "null"])
def test_a_foreign_origin_neither_writes_nor_reads(
    served: Served, place: Place, origin: str
) -> None:
    before = place.outside()
    body = {"name": f"of {origin}"}
    for prefix in ("/api", "/ajax-api"):
        path = f"{prefix}/2.0/mlflow/experiments/create"
        assert served.call("POST", path, body, Origin=origin).status == 403
    put = served.call("PUT", f"{STORE}/{place.inside}/evil.txt", "evil", Origin=origin)
    assert put.status == 403
    reading = "/ajax-api/2.0/mlflow/experiments/search?max_results=1"
    shown = served.call("GET", reading, Origin=origin).headers  # the browser shows it to no page
    assert shown.get("access-control-allow-origin") not in (origin, "*")
    assert served.client.get_experiment_by_name(body["name"]) is None
    assert place.outside() == before and not (place.folder / "evil.txt").exists()
