"""The files that a command writes its result to; `-` is stdout."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from edgecifar import files
from edgecifar.errors import UserError
from edgecifar.report.progress import stderr_console, stdout_console
from edgecifar.report.tables import print_line

STDOUT = "-"


class Outputs:
    """Where the texts of a result go. It is checked before the work begins.

    Attributes:
        console: where the tables for people go: stderr when stdout is one of the outputs.
    """

    def __init__(self, targets: Mapping[str, str | None]) -> None:
        """Check that every output can be written.

        Args:
            targets: a path or `-` for each option; None when the option was not given.

        Raises:
            UserError: one cannot be written, or two are the same.
        """
        self._targets = {option: path for option, path in targets.items() if path is not None}
        taken: dict[object, str] = {}
        for option, target in self._targets.items():
            if target != STDOUT:
                files.check_file_writable(target)
            same = target if target == STDOUT else Path(target).resolve()
            if same in taken:
                raise UserError(f"{taken[same]} and {option}: both would write {target}")
            taken[same] = option
        self.console = stderr_console() if STDOUT in taken else stdout_console()
        self._open: dict[str, TextIO] = {}
        self._closing = contextlib.ExitStack()

    def __contains__(self, option: str) -> bool:
        """Whether the option was given."""
        return option in self._targets

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the files that `append` has opened."""
        # What could not be written cannot be written now; that was the error.
        with contextlib.suppress(OSError):
            self._closing.close()

    def append(self, option: str, text: str) -> None:
        """Add text to an output at once, so that it is kept whatever happens later.

        The first text replaces what the file held before.

        Args:
            option: one that was given.
            text: whole lines.

        Raises:
            UserError: it cannot be written.
        """
        if option not in self._open:
            self._open[option] = self._opened(self._targets[option])
        try:
            self._open[option].write(text)
            self._open[option].flush()
        except OSError as error:
            target = self._targets[option]
            if target == STDOUT:
                raise
            raise UserError(f"cannot write {target}: {error.strerror}") from error

    def _opened(self, target: str) -> TextIO:
        if target == STDOUT:
            return sys.stdout
        path = Path(target)
        is_new = not path.parent.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._closing.enter_context(path.open("w", encoding="utf-8", newline=""))
        except OSError as error:
            raise UserError(f"cannot write {target}: {error.strerror}") from error
        if is_new:
            _say_new(path)
        return file

    def write(self, texts: Mapping[str, str]) -> None:
        """Write the texts whose options were given, and say on stderr which folders are new.

        Args:
            texts: a text for each option.

        Raises:
            UserError: one cannot be written.
        """
        for option, target in self._targets.items():
            if target == STDOUT:
                print(texts[option], end="")
            else:
                path = Path(target)
                is_new = not path.parent.exists()
                files.write_text(path, texts[option])
                if is_new:
                    _say_new(path)


def _say_new(path: Path) -> None:
    print_line(stderr_console(), f"made the folder {path.parent} for {path.name}")
