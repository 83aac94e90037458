"""Files that are written whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from edgecifar.errors import UserError

PARTIAL_PREFIX = ".partial-"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; rename it to `path` when the block succeeds.

    The temporary name keeps the suffixes of `path`, because Keras and others choose a format by
    them. A block that raises leaves `path` as it was and nothing beside it.

    Args:
        path: the final name; its folder is made when missing. Of a symbolic link, its target.

    Yields:
        The path to write to. No file exists there yet.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    path = Path(path).resolve()
    with scratch_folder(path.parent) as scratch:
        partial = scratch / path.name
        yield partial
        move_whole(partial, path)


def move_whole(partial: Path, path: Path) -> None:
    """Give a finished file its final name, on the same file system, once the disk has it.

    Raises:
        UserError: `path` cannot be written.
    """
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    try:
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give an empty folder inside `parent`, on the same file system, gone when the block ends.

    Args:
        parent: made when missing.

    Raises:
        UserError: `parent` cannot be written, or the disk is full.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{PARTIAL_PREFIX}{os.getpid()}-", dir=parent))
    except OSError as error:
        raise UserError(f"cannot write in {parent}: {error.strerror}") from error
    try:
        yield scratch
    except OSError as error:
        if error.errno in NO_ROOM:
            raise UserError(f"cannot write in {parent}: {error.strerror}") from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Check that a folder, or what is missing of it, can be made and written; make nothing.

    Raises:
        UserError: it cannot.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"cannot write in {folder}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"cannot write in {folder}: {os.strerror(errno.EACCES)}")


def check_file_writable(name: str) -> None:
    """Check that a file of that name can be written, as far as possible; make nothing.

    Raises:
        UserError: it cannot.
    """
    path = Path(name)
    if not name or path.is_dir():
        raise UserError(
            f"cannot write {name!r}: {'it is a folder' if name else 'it is not a file name'}"
        )
    if is_special(path):
        return
    check_writable(path.resolve().parent)


def is_special(path: Path) -> bool:
    """Whether there is a device, a pipe or so of that name, which is written to, not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def clear_leftovers(parent: Path) -> None:
    """Remove the scratch folders that a killed process left in `parent`.

    A folder names the process that made it, so that one still at work keeps its own. This
    process counts as the one killed: in a container each run has the same number.
    """
    for scratch in parent.glob(PARTIAL_PREFIX + "*"):
        maker = scratch.name.removeprefix(PARTIAL_PREFIX).partition("-")[0]
        at_work = maker.isdecimal() and int(maker) != os.getpid() and psutil.pid_exists(int(maker))
        if not at_work:
            shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all; into a device or a pipe, as it comes."""
    if is_special(path):
        path.write_text(text, encoding="utf-8")
        return
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """Indented JSON, as a file has it."""
    return json.dumps(value, indent=2) + "\n"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
