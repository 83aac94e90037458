"""The files that a command writes its result to; `-` is stdout."""

from collections.abc import Mapping
from pathlib import Path

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
                    print_line(stderr_console(), f"made the folder {path.parent} for {path.name}")
