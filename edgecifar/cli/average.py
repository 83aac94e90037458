"""`edgecifar average`."""

from pathlib import Path
from typing import Annotated

import typer

from edgecifar.cli.options import RunFolderOption
from edgecifar.cli.output import say, show_run


def average(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, two or more.")],
    out: RunFolderOption = None,
) -> None:
    """Average the weights of runs that continued one another, into a new run.

    The average is often better than each of the runs. It is judged on the training images that
    all of them held out.

    Examples:

        edgecifar average runs/first runs/second

        edgecifar average runs/first runs/second runs/third --out runs/average
    """
    from edgecifar.data import cifar10
    from edgecifar.provenance import new_run_folder
    from edgecifar.report.progress import progress_bar
    from edgecifar.training import averaging

    folder = out or new_run_folder("average")
    finished = averaging.average(runs, cifar10.training_set(), folder, progress_bar)
    for run, facts in zip(runs, finished.provenance["averaged"], strict=True):
        best = facts["metrics"]["best_epoch"]
        say(f"{run}: validation top-1 {best['validation_top1']:.2%}")
    say(str(finished.best))
    show_run(finished)
