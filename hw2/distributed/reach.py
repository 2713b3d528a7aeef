"""Whether there is a Ray to join that answers, or a place for one: Ray itself tries for minutes."""

import os

from hw2.errors import ConfigError

ANSWER_SECONDS = 15.0
SOCKET_BYTES = 107  # of the path of a socket
HEAD = "give the head's HOST:6379 or auto, or unset RAY_ADDRESS for a local Ray"


def joining() -> bool:
    """Whether there is a cluster to join: "local" is Ray's word for one of one's own."""
    return os.environ.get("RAY_ADDRESS", "") not in ("", "local")


def refuse_silent(seconds: float = ANSWER_SECONDS) -> None:
    """Raise ConfigError if no Ray answers at RAY_ADDRESS within `seconds`.

    A head that wants another token than ours answers; `ray.init` then says so itself.
    """
    address = os.environ["RAY_ADDRESS"]
    advice = "start the cluster (`ray status` shows it), or unset RAY_ADDRESS for a local Ray"
    if address.startswith(("http://", "https://")):
        why: str | None = "that is where jobs are submitted (`ray job submit`)"
        advice = HEAD
    elif address.startswith("ray://"):
        why = "that is Ray's client, by which Ray Data does not run"
        advice = f"submit the job (`ray job submit`), or {HEAD}"
    else:
        why = _silence(address, seconds)
    if why is not None:
        raise ConfigError(f"RAY_ADDRESS={address}: {why}: {advice}")


def _silence(address: str, seconds: float) -> str | None:
    import grpc
    from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
    from ray._private.services import canonicalize_bootstrap_address
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    try:
        head = canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError) as error:
        return str(error)
    if not head:  # "local": a Ray of one's own
        return None
    refused = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    try:
        # By Ray's options: a proxy for the web (http_proxy) is none between a cluster's machines.
        with grpc.insecure_channel(head, GLOBAL_GRPC_OPTIONS) as channel:
            stub = NodeInfoGcsServiceStub(channel)
            stub.CheckAlive(CheckAliveRequest(), timeout=seconds, wait_for_ready=True)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer within {seconds:g} s"
        if error.code() not in refused:
            return f"what answers there is no Ray head ({error.code().name})"
    return None


def refuse_long_folder() -> None:
    """Raise ConfigError if a local Ray's sockets cannot lie where RAY_TMPDIR or TMPDIR says."""
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(name, "/tmp")
    below = f"/ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    room = SOCKET_BYTES - len(below)
    if not folder.startswith("/") or len(os.fsencode(folder)) > room:
        raise ConfigError(
            f"{name}={folder}: Ray's sockets lie there, which takes an absolute path of at most "
            f"{room} bytes: set RAY_TMPDIR=/tmp, or another short one"
        )
