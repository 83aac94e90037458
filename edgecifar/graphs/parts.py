"""The files that a model consists of."""

import hashlib
from pathlib import Path

from edgecifar import files
from edgecifar.graphs import kinds
from edgecifar.graphs.onnx_header import external_files


def parts(path: Path) -> list[Path]:
    """Find the files that a model consists of, the one that is opened first.

    Args:
        path: of a model file or a SavedModel folder.

    Returns:
        The file itself, for most; for an ONNX file also those that hold weights of it, as far as
        they exist; for a folder all files in it.

    Raises:
        UserError: it cannot be read.
    """
    kind = kinds.of(path)
    if kind is kinds.SAVED_MODEL:
        return sorted(file for file in path.rglob("*") if file.is_file())
    external = external_files(path) if kind is kinds.ONNX else []
    return [path, *(file for file in external if file.is_file())]


def sha256(path: Path) -> str:
    """The SHA-256 of a model's content, hexadecimal.

    Of a model of one file it is that of the file; of several files, that of all their hashes. Names
    do not count, so a copy elsewhere has the same.
    """
    held = parts(path)
    hashes = [files.sha256(file) for file in held]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def size_bytes(path: Path) -> int:
    """The size of a model, all its files together."""
    return sum(file.stat().st_size for file in parts(path))
