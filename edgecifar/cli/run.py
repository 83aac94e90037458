"""`edgecifar run`."""

from typing import Annotated

import typer

from edgecifar.cli.options import (
    DEFAULT_RECIPE,
    EpochsOption,
    RecipeArgument,
    RunFolderOption,
    SeedOption,
    SetOption,
    WeightsOption,
    chosen_recipe,
)
from edgecifar.cli.output import (
    note,
    refuse_unmeasured,
    show_bench,
    show_download,
    show_epoch,
    show_export,
    show_run,
)
from edgecifar.errors import UserError


def run(
    recipe: RecipeArgument = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Use the recipe `quick`, about 3 minutes on two CPU cores."),
    ] = False,
    assignments: SetOption = None,
    out: RunFolderOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    weights: WeightsOption = None,
) -> None:
    """Download the images, train, export --int8 and bench; the exports go to the run folder.

    `--quick` works without the ImageNet weights: when they cannot be downloaded, it starts from
    the backbone of exported/model.keras and says so.

    Examples:

        edgecifar run --quick

        edgecifar run mobilenetv2 --epochs 2 --out first-run
    """
    from edgecifar import pipeline
    from edgecifar.export.checkpoint import SHIPPED
    from edgecifar.provenance import new_run_folder
    from edgecifar.report.progress import on_stderr, stdout_console

    if quick and recipe not in (None, "quick"):
        raise UserError(f"--quick is a recipe of its own: leave out {recipe} or --quick")
    name = "quick" if quick else recipe or DEFAULT_RECIPE
    settings = chosen_recipe(name, assignments, epochs, seed, weights)
    with on_stderr() as progress:
        hooks = pipeline.Hooks(
            progress=progress,
            on_download=show_download,
            on_epoch=show_epoch,
            on_run=show_run,
            on_export=show_export,
            note=note,
            on_start=note,
        )
        fallback = SHIPPED if quick and SHIPPED.exists() else None
        result = pipeline.run(settings, out or new_run_folder(name), hooks, fallback)
    show_bench(result, stdout_console())
    refuse_unmeasured(result)
