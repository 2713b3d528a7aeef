"""Whether a worker's node has the files of the driver's."""

from pathlib import Path

import pytest

from hw2.distributed.sight import refuse_other_disk
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
