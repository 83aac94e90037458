"""`edgecifar compare`."""

from pathlib import Path
from typing import Annotated

import typer

from edgecifar.cli.options import CsvFileOption, JsonFileOption, MarkdownFileOption, WideOption


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="JSON files of `edgecifar bench`; the first is the base.")
    ],
    json_file: JsonFileOption = None,
    csv_file: CsvFileOption = None,
    md_file: MarkdownFileOption = None,
    wide: WideOption = False,
) -> None:
    """Compare results of `edgecifar bench`, and say which differences are noise.

    Rows are compared when their model, runtime, threads, scenario and options are the same. When
    only one result is given, its own rows are compared with one another: they took turns, so their
    differences are more exact than those between two benches.

    Examples:

        edgecifar compare before.json after.json

        edgecifar compare result.json --md result.md
    """
    from edgecifar.bench.results.comparison import compare
    from edgecifar.bench.results.result import load
    from edgecifar.files import json_text
    from edgecifar.report.comparison_table import comparison_table, csv_text, markdown
    from edgecifar.report.outputs import Outputs

    outputs = Outputs({"--json": json_file, "--csv": csv_file, "--md": md_file})
    comparison = compare([(str(path), load(path)) for path in results])
    try:
        outputs.write(
            {
                "--json": json_text(comparison.as_dict()),
                "--csv": csv_text(comparison),
                "--md": markdown(comparison),
            }
        )
    finally:
        comparison_table(comparison, outputs.console, wide)
