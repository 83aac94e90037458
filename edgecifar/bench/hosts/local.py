"""This machine as a host of workers."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

from edgecifar.bench.hosts import archive
from edgecifar.bench.hosts.host import ENVIRONMENT, Piped, popen


class Local:
    """This machine; see `Host`."""

    name: str | None = None
    removal: str | None = None

    def __init__(self) -> None:
        self._folder: Path | None = None

    def start(self, stderr: IO, python: str | None = None) -> Piped:
        environment = os.environ | ENVIRONMENT
        if python is None:
            paths = [str(archive.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(paths)
            command = [sys.executable, "-P", "-m", archive.WORKER]
        else:
            # This interpreter's packages may not fit the other one's version.
            environment.pop("PYTHONPATH", None)
            command = [python, str(self._archive()), archive.WORKER]
        return popen(command, stderr, env=environment)

    def send(self, path: Path) -> str:
        return str(path)

    def close(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _archive(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="edgecifar-"))
            archive.write(self._folder / archive.NAME)
        return self._folder / archive.NAME
