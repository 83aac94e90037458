"""Whether a file in the cache has its SHA-256: read once, then remembered with size and time."""

import contextlib
import json
from pathlib import Path

from edgecifar import files
from edgecifar.data import cifar10
from edgecifar.errors import UserError


def is_intact(path: Path, sha256: str) -> bool:
    """Whether a file of the cache exists and has that SHA-256.

    Its bytes are read only if its size or modification time changed since it was last right. In a
    cache that cannot be written they are read each time.

    Args:
        path: of the file, in the cache folder.
        sha256: in hexadecimal.

    Raises:
        UserError: the file cannot be read.
    """
    memory = cifar10.cache_folder() / "checked" / f"{path.name}.json"
    try:
        if not path.is_file():
            return False
        status = path.stat()
        seen = {"sha256": sha256, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        if _remembered(memory) == seen:
            return True
        if files.sha256(path) != sha256:
            return False
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    with contextlib.suppress(UserError):  # the file is right all the same
        files.write_json(memory, seen)
    return True


def _remembered(memory: Path) -> object:
    try:
        return json.loads(memory.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
