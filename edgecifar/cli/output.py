"""What several commands print: notes, the end of a run, an export, a bench."""

import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgecifar.cli.flags import in_flags
from edgecifar.errors import CheckFailed, UserError, escaped

if TYPE_CHECKING:
    from rich.console import Console

    from edgecifar.bench.results.gates import Limits
    from edgecifar.export.exporter import Export
    from edgecifar.training.run_folder import Epoch, RunFolder


def note(line: str) -> None:
    """Print a line for people, on stderr; control characters are escaped.

    A terminal would break it in the middle of a word, so it is broken between words there.
    """
    shown = escaped(line)
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        shown = textwrap.fill(shown, width, break_long_words=False, break_on_hyphens=False)
    print(shown, file=sys.stderr)


def say(line: str) -> None:
    """Print a line of the result, on stdout; control characters are escaped."""
    print(escaped(line), flush=True)


def show_epoch(epoch: "Epoch") -> None:
    """Print an epoch in a line, as soon as it has ended."""
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.tables import print_line

    for line in str(epoch).splitlines():
        print_line(stdout_console(), line)
    sys.stdout.flush()


def show_download(fetched: list[str]) -> None:
    """Print how many of the official files a download brought."""
    from edgecifar.data import cifar10

    done = f"fetched {len(fetched)} of" if fetched else "already there: all"
    say(f"{done} {len(cifar10.SHA256)} files, in {cifar10.cache_folder()}")


def show_run(run: "RunFolder") -> None:
    """Print how a run ended, and where its checkpoint is."""
    from edgecifar.report.assessment_table import assessment_table
    from edgecifar.report.progress import stdout_console

    if not run.metrics["interrupted"]:
        assessment_table(run.metrics["test"], stdout_console())
        say(f"test top-1 {run.metrics['test_top1']:.2%}, in {run.checkpoint}")
    elif not run.best:
        note("no epoch was completed: nothing is kept")
    else:
        note(f"the best epoch so far is in {run.checkpoint}: {run.best}")
        if run.resumable:
            note(f"continue with `edgecifar train --resume {run.path}`")


def show_export(exported: "Export") -> None:
    """Print how each file was verified, and where the files are once they are published."""
    from edgecifar.report.export_tables import calibration_table, verification_table
    from edgecifar.report.progress import stdout_console

    console = stdout_console()
    if exported.calibration and exported.calibration["tried"]:
        calibration_table(exported.calibration, console)
    verification_table(exported.verifications, console)
    if exported.doubt:
        note(f"the checkpoint {exported.doubt}")
    if not exported.published:
        return
    say(f"written to {exported.folder}, with model.keras, card.json and card.md")
    if found := exported.found_normalization:
        say(
            f"its pixels go in as --normalization {found['normalization']} says: it is right on "
            f"{found['top1']:.1%} of {found['images']} training images, the most of all tried"
        )
    for path in exported.outdated:
        note(f"{path} is from an earlier export and may be of another checkpoint")


def show_bench(result: dict, console: "Console", wide: bool | None = None) -> None:
    """Print the table, and the warnings about its rows; `wide` see `report.tables.print_table`."""
    from edgecifar.report.bench_table import bench_table

    rows = [row | {"error": row["error"] and in_flags(row["error"])} for row in result["rows"]]
    if any(row["error"] is None for row in rows):
        bench_table(result | {"rows": rows}, console, wide)
    for model, warning in dict.fromkeys((row["model"], row["warning"]) for row in rows):
        if warning:
            note(f"{model}: {in_flags(warning)}")


def refuse_unmeasured(result: dict) -> None:
    """Fail with the reasons when there are models that no runtime could measure."""
    from edgecifar.bench.results.result import unmeasured

    if failed := unmeasured(result):
        reasons = (f"{model}: {'; '.join(dict.fromkeys(errors))}" for model, errors in failed)
        raise UserError(_last_line(reasons, "models were not measured"))


def hold_to_limits(result: dict, limits: "Limits") -> None:
    """Fail when a model was not measured or a row is beyond a limit; print doubts first."""
    from edgecifar.bench.results import gates

    refuse_unmeasured(result)
    for doubt in gates.doubtful(result, limits):
        note(doubt)
    if broken := gates.check(result, limits):
        raise CheckFailed(_last_line(broken, "checks failed"))


def _last_line(reasons: Iterable[str], what: str) -> str:
    """The line to fail with: the only reason, or how many there are after a line for each."""
    reasons = list(reasons)
    if len(reasons) == 1:
        return reasons[0]
    for reason in reasons:
        note(in_flags(reason))
    return f"{len(reasons)} {what}"
