"""A real server of the S3 protocol on loopback, which can go away and come back."""

import logging
import urllib.request
from pathlib import Path

from moto.server import ThreadedMotoServer
from pyarrow import fs

from hw2.bucket.storage import Bucket
from tests.ports import free_port

BUCKET = "results"
# Keys that moto takes as long as it asks for none; and no look for a role of this machine.
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class BucketServer:
    """A server with one bucket."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.port = free_port()
        self.start()
        files, _ = fs.FileSystem.from_uri(f"{self.uri('')}&allow_bucket_creation=true")
        files.create_dir(BUCKET)

    def start(self) -> None:
        """Answer again, at the same port with the same files."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.stop()

    def uri(self, folder: str, bucket: str = BUCKET) -> str:
        """The URI of a folder of the bucket."""
        address = f"endpoint_override=127.0.0.1:{self.port}&scheme=http"
        return f"s3://{bucket}/{folder}?{address}"

    def upload(self, folder: Path, name: str) -> str:
        """Put all files of a local folder below `name`; its URI."""
        bucket = Bucket(self.uri(name))
        for path in folder.rglob("*"):
            if path.is_file():
                bucket.put(str(path.relative_to(folder)), path, path.stat().st_size)
        return bucket.uri

    def ask_for_keys(self, asked: bool) -> None:
        """Whether to know no keys at all from now on, as if those given were wrong."""
        url = f"http://127.0.0.1:{self.port}/moto-api/reset-auth"
        kind = {"Content-Type": "text/plain"}
        count = b"0" if asked else b"inf"
        urllib.request.urlopen(urllib.request.Request(url, count, kind, method="POST"))

    def names(self, folder: str) -> list[str]:
        """All files below a folder."""
        return list(Bucket(self.uri(folder)).names())

    def read(self, folder: str) -> dict[str, bytes]:
        """All files below a folder by name."""
        bucket = Bucket(self.uri(folder))
        return {
            name: bucket.files.open_input_stream(bucket.path(name)).read()
            for name in bucket.names()
        }
