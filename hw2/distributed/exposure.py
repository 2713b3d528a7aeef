"""Whether anybody who reaches this cluster over the network may run code on it."""

from hw2.disclosure import warn

PROBE_SECONDS = 3.0


def warn_if_open(gcs_address: str | None = None) -> None:
    """One line on stderr if a head, None: the connected one, answers others without a token."""
    if gcs_address is None:
        import ray

        gcs_address = ray.get_runtime_context().gcs_address
    if open_to_others(gcs_address):
        warn(
            f"the Ray cluster at {gcs_address} answers other hosts without a token, so "
            "anyone who reaches it may run code there: start it with RAY_AUTH_MODE=token "
            "(docs/cluster.md)"
        )


def open_to_others(gcs_address: str) -> bool:
    """Whether the head at `gcs_address` (host:port) lets in who comes from outside with no token.

    It is asked, as a stranger would: settings of this process say nothing about the cluster. A head
    that is known here by a loopback address may listen on all interfaces, so it is asked at this
    machine's own address. An answer that does not come is a refusal.
    """
    import grpc
    from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
    from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
    from ray.util import get_node_ip_address

    host, _, port = gcs_address.rpartition(":")
    if _is_loopback(host):
        host = get_node_ip_address()
        if _is_loopback(host):  # this machine has no network
            return False
    try:
        with grpc.insecure_channel(f"{host}:{port}", GLOBAL_GRPC_OPTIONS) as channel:
            ask = NodeInfoGcsServiceStub(channel).GetAllNodeInfo
            ask(GetAllNodeInfoRequest(limit=1), timeout=PROBE_SECONDS)
    except grpc.RpcError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host.strip("[]") in ("localhost", "::1") or host.startswith("127.")
