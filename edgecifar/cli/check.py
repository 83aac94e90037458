"""`edgecifar check`."""

from pathlib import Path
from typing import Annotated

import typer

from edgecifar.cli.options import (
    BaselineOption,
    MaxP90Option,
    MaxRegressionOption,
    MaxSizeOption,
    MinTop1Option,
    limits,
)
from edgecifar.cli.output import hold_to_limits, say
from edgecifar.errors import UserError


def check(
    result: Annotated[Path, typer.Argument(help="A JSON file of `edgecifar bench`.")],
    min_top1: MinTop1Option = None,
    max_p90_ms: MaxP90Option = None,
    max_size_mb: MaxSizeOption = None,
    baseline: BaselineOption = None,
    max_regression: MaxRegressionOption = None,
) -> None:
    """Check a result of `edgecifar bench` against limits, as the gates of `bench` do.

    Nothing is measured. The exit code is 1 when a row is beyond a limit, and 2 when a model was
    not measured or the result cannot be read.

    Examples:

        edgecifar check result.json --min-top1 95% --max-p90-ms 20 --max-size-mb 3

        edgecifar check result.json --baseline last.json --max-regression 5%
    """
    from edgecifar.bench.results.gates import Limits
    from edgecifar.bench.results.result import load

    given = limits(min_top1, max_p90_ms, max_size_mb, baseline, max_regression)
    if given == Limits():
        raise UserError(
            "nothing to check: give --min-top1, --max-p90-ms, --max-size-mb or --baseline"
        )
    found = load(result)
    hold_to_limits(found, given)
    count = len(found["rows"])
    say(f"{result}: {count} {'row is' if count == 1 else 'rows are'} within the limits")
