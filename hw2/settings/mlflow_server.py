"""Settings of the tracking server."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from hw2.config import Config, Place

# USER@HOST would be masked as a credential, in --help and in errors.
ADDRESS = "postgresql://HOST/NAME, with USER@ before HOST"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class MlflowServerConfig(Config):
    """Settings of hw2.mlflow_server."""

    folder: Place = Field(
        Path("mlflow-server"), description="database, artifacts and passwords are kept here"
    )
    database: str = Field(
        "own",
        description="own: a PostgreSQL in the folder; sqlite: a file, for one machine; or "
        f"{ADDRESS}, its password in PGPASSWORD or ~/.pgpass",
    )
    artifacts: str | None = Field(
        None, description="where files go: a folder, s3:// or gs://; null: FOLDER/artifacts"
    )
    host: str = Field("127.0.0.1", description="address to listen at; 0.0.0.0: every one")
    port: int = Field(5000, ge=1, le=65535, description="port to listen at")
    allowed_hosts: list[str] = Field(
        [], description="names by which others reach the server, beside those of this machine"
    )
    default_permission: Literal["READ", "EDIT", "NO_PERMISSIONS"] = Field(
        "EDIT", description="what an account may do with the runs of others; READ: look alone"
    )
    workers: int = Field(2, ge=1, description="processes that answer, about 300 MB each")

    @field_validator("database")
    @classmethod
    def _known_database(cls, database: str) -> str:
        if database in ("own", "sqlite"):
            return database
        if not re.match(r"postgresql(\+\w+)?://", database):
            raise ValueError(f"want own, sqlite or {ADDRESS}")
        return database

    @field_validator("allowed_hosts")
    @classmethod
    def _names_alone(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not re.fullmatch(r"[\w.-]+|\[[0-9a-f:.]+\]", host, re.IGNORECASE):
                raise ValueError(f"{host!r}: want names or addresses, without port or wildcard")
        return hosts

    @model_validator(mode="after")
    def _others_are_named(self) -> "MlflowServerConfig":
        if not self.is_loopback and not self.allowed_hosts:
            raise ValueError(
                f"host={self.host} lets others in: name what they call this machine, "
                "as in --allowed_hosts mlflow.example.org"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can connect."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def host_headers(self) -> list[str]:
        """The Host headers that are answered."""
        names = dict.fromkeys([*LOOPBACK_NAMES, *self.allowed_hosts])
        return [*names, *(f"{name}:{self.port}" for name in names)]

    @property
    def origins(self) -> list[str]:
        """The pages whose scripts may write: the server's own, also behind TLS.

        Without https://[::1] and the like: Flask-CORS reads brackets as a regular expression, by
        which any origin that begins with https://1 could read. With a port it matches nothing else.
        """
        hosts = [host for host in self.host_headers if not host.endswith("]")]
        return [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
