"""Whether a file in the cache has its SHA-256: read once, then remembered with size and time.

`checked/NAME.json` in the cache remembers it.
"""

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
    try:
        if not path.is_file():
            return False
        seen = _state(path, sha256)
        if _remembered(path) == seen:
            return True
        if files.sha256(path) != sha256:
            return False
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    with contextlib.suppress(UserError):  # the file is right all the same
        files.write_json(_memory(path), seen)
    return True


def remember(path: Path) -> None:
    """Remember the SHA-256 of a file that was just written to the cache.

    Raises:
        UserError: the cache cannot be written.
    """
    files.write_json(_memory(path), _state(path, files.sha256(path)))


def is_as_remembered(path: Path) -> bool:
    """Whether a file of the cache exists and has the SHA-256 that `remember` kept.

    Raises:
        UserError: the file cannot be read.
    """
    sha256 = _remembered(path).get("sha256")
    return isinstance(sha256, str) and is_intact(path, sha256)


def _state(path: Path, sha256: str) -> dict:
    status = path.stat()
    return {"sha256": sha256, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _memory(path: Path) -> Path:
    return cifar10.cache_folder() / "checked" / f"{path.name}.json"


def _remembered(path: Path) -> dict:
    """What is remembered of a file; empty where nothing is, or where it is damaged itself."""
    try:
        found = json.loads(_memory(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
