"""`edgecifar report`."""

from pathlib import Path
from typing import Annotated

import typer

from edgecifar.cli.options import OUTPUT
from edgecifar.cli.output import note

EXPORTED = Path("exported")


def report(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN|EXPORT|RESULT.json]...",
            help="Folders of `edgecifar train` and `edgecifar export`, and JSON files of "
            "`edgecifar bench`, in the order in which the page shows them.",
            show_default=str(EXPORTED),
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The page to write.", rich_help_panel=OUTPUT
        ),
    ] = Path("report.html"),
    title: Annotated[
        str | None,
        typer.Option(
            help="The title of the page.", show_default="the sources", rich_help_panel=OUTPUT
        ),
    ] = None,
) -> None:
    """Show runs, exports and benches on one HTML page.

    The page needs nothing beside it and no network: send it, print it, open it on a phone. It shows
    accuracy against latency, how latencies spread and drifted, confusion, calibration, what
    quantization changed, and how everything was measured, each chart with its table.

    Examples:

        edgecifar report

        edgecifar report runs/mobilenetv2-20261125-120000 exported result.json --out report.html
    """
    from edgecifar import files
    from edgecifar.report.page.document import page
    from edgecifar.report.page.sources import read
    from edgecifar.report.progress import on_stderr

    files.check_file_writable(str(out))
    found = [read(path) for path in sources or [EXPORTED]]
    with on_stderr() as progress, progress("drawing the page", None):
        text = page(found, title or "edgecifar: " + ", ".join(source.name for source in found))
    files.write_text(out, text)
    note(f"{out} shows {', '.join(source.name for source in found)}")
