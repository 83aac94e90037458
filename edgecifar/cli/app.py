"""The `edgecifar` command: its subcommands, the options before them, and its exit codes."""

import logging
import sys
from typing import Annotated, NoReturn

import typer

from edgecifar import __version__
from edgecifar.cli import (
    average,
    bench,
    check,
    compare,
    data,
    doctor,
    export,
    info,
    predict,
    recipes,
    report,
    run,
    runtimes,
    serve,
    train,
)
from edgecifar.cli.flags import FlagGroup, in_flags
from edgecifar.cli.output import note
from edgecifar.errors import CheckFailed, UserError, plain
from edgecifar.report.terminal import write_readably

INTERRUPTED = 130

log = logging.getLogger("edgecifar")
app = typer.Typer(
    cls=FlagGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(runtimes.app, name="runtimes")
app.command()(train.train)
app.command()(average.average)
app.command("recipes")(recipes.show_recipes)
app.command()(export.export)
app.command()(bench.bench)
app.command()(check.check)
app.command()(compare.compare)
app.command()(report.report)
app.command()(predict.predict)
app.command()(serve.serve)
app.command()(info.info)
app.command()(doctor.doctor)
app.command()(run.run)


class _ToStderr(logging.Handler):
    """Prints records on stderr, without control characters: they may quote a model file."""

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            note(plain(line))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edgecifar {__version__}")
        raise typer.Exit


@app.callback()
def edgecifar(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="When a command fails, print the traceback too; for a bench, also what the worker "
            "printed to its stderr.",
        ),
    ] = False,
) -> None:
    """Train CIFAR-10-size image classifiers, export them to int8, measure what they cost."""
    if debug:
        log.addHandler(_ToStderr())
        log.setLevel(logging.DEBUG)
        log.propagate = False  # TensorFlow's handler of all records would print them again


def main() -> NoReturn:
    """Run the command line; a failure on purpose is one line on stderr and its exit code."""
    write_readably()
    try:
        code = app(standalone_mode=False) or 0
        if code == INTERRUPTED:  # typer turns Ctrl-C into this, without a message
            _fail("stopped", code)
    except (UserError, CheckFailed) as error:
        code = _fail(in_flags(str(error)), error.exit_code)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "edgecifar"
        # Empty where a command without arguments shows its help.
        said = error.format_message().rstrip(".")
        code = _fail(f"{said} (see `{where} --help`)", error.exit_code) if said else error.exit_code
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        code = _fail(f"{error.strerror or error}{where}", UserError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("stopped", INTERRUPTED)
    sys.exit(code)


def _fail(line: str, code: int) -> int:
    """Print the line with which a failed command ends; with --debug, the traceback before it."""
    if sys.exception():
        log.debug("full traceback:", exc_info=True)
    note("edgecifar: " + " ".join(plain(line).split()))
    return code
