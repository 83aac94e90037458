"""`edgecifar runtimes`."""

from typing import Annotated

import typer

from edgecifar.cli.options import WideOption
from edgecifar.cli.output import note, say
from edgecifar.errors import UserError

app = typer.Typer()


@app.callback(invoke_without_command=True)
def show(context: typer.Context, wide: WideOption = False) -> None:
    """List the runtimes: which are installed, which files they open, how to install the others.

    Examples:

        edgecifar runtimes

        edgecifar runtimes install tflite-runtime
    """
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.runtime_table import runtime_table
    from edgecifar.runtimes import RUNTIMES

    if not context.invoked_subcommand:
        runtime_table(RUNTIMES, stdout_console(), wide)


@app.command()
def install(
    name: Annotated[str, typer.Argument(help="A runtime that needs an environment of its own.")],
) -> None:
    """Install a runtime in an environment of its own, with a suitable Python from the PATH.

    `edgecifar bench` uses it from then on. The environment is in the folder `runtimes` of
    `EDGECIFAR_DATA`, or of the user's data folder when that is not set. For a runtime that needs
    no environment of its own, the command prints how to install it.

    Examples:

        edgecifar runtimes install tflite-runtime

        EDGECIFAR_DATA=/mnt/data edgecifar runtimes install tflite-runtime
    """
    from edgecifar.runtimes import environments, named

    runtime = named(name)
    if not runtime.environment:
        raise UserError(f"{name} needs no environment: get it with `{runtime.get}`")
    version = environments.install(runtime, lambda doing: note(f"{name}: {doing}"))
    say(f"{name} {version}, in {environments.folder(name)}")


@app.command()
def remove(
    name: Annotated[
        str, typer.Argument(help="A runtime that `edgecifar runtimes install` installed.")
    ],
) -> None:
    """Delete the environment of a runtime.

    Examples:

        edgecifar runtimes remove tflite-runtime

        EDGECIFAR_DATA=/mnt/data edgecifar runtimes remove tflite-runtime
    """
    from edgecifar.runtimes import environments, named

    if not named(name).environment:
        raise UserError(f"{name} has no environment: remove it with pip")
    say(f"removed {environments.remove(name)}")
