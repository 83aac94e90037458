"""`edgecifar doctor`."""

import json
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON, for a bug report.")
    ] = False,
) -> None:
    """Show what this machine has for edgecifar, what is missing, and the command that brings it.

    It shows the versions, the runtimes, the processor and what its instructions mean for int8
    files, memory, the images, GPUs and cameras. Nothing is measured, downloaded or changed.

    Examples:

        edgecifar doctor

        edgecifar doctor --json > machine.json
    """
    from edgecifar.doctor import diagnose
    from edgecifar.report.diagnosis import diagnosis
    from edgecifar.report.progress import stdout_console

    found = diagnose()
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        diagnosis(found, stdout_console())
