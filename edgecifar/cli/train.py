"""`edgecifar train`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecifar.cli.options import (
    DEFAULT_RECIPE,
    OUTPUT,
    EpochsOption,
    RecipeArgument,
    RunFolderOption,
    SeedOption,
    SetOption,
    WeightsOption,
    chosen_recipe,
)
from edgecifar.cli.output import note, show_epoch, show_export, show_run
from edgecifar.errors import UserError

if TYPE_CHECKING:
    from edgecifar.export.exporter import Export
    from edgecifar.pipeline import Hooks
    from edgecifar.training.compression.methods import Method
    from edgecifar.training.run_folder import Epoch

MACHINE, RESUME, COMPRESSION = "Machine", "Continue a run", "Compress a finished run"
PROCESSES = "Several processes"


def train(
    recipe: RecipeArgument = None,
    assignments: SetOption = None,
    out: RunFolderOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    weights: WeightsOption = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Continue an interrupted run from its last epoch.",
            rich_help_panel=RESUME,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="tensorflow|jax",
            help="The backend of Keras; by default KERAS_BACKEND, else TensorFlow.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="float32|mixed_bfloat16|auto",
            help="Precision of the computation; auto is mixed_bfloat16 on a GPU and float32 on a "
            "CPU.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help="Number of devices that share each batch; JAX only.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="EDGECIFAR_COORDINATOR",
            help="Where process 0 listens and the others find it; JAX only.",
            rich_help_panel=PROCESSES,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            envvar="EDGECIFAR_PROCESSES",
            help="Number of processes that share each batch, with all devices of each.",
            rich_help_panel=PROCESSES,
        ),
    ] = None,
    process: Annotated[
        int | None,
        typer.Option(
            metavar="I",
            envvar="EDGECIFAR_PROCESS",
            help="Number of this process, from 0; process 0 keeps the run folder.",
            rich_help_panel=PROCESSES,
        ),
    ] = None,
    heartbeat: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=5,
            max=3600,
            help="Time without a sign of life after which a process is lost and the run ends.",
            rich_help_panel=PROCESSES,
        ),
    ] = 30,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Also write a TensorBoard log, to RUN/tensorboard.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    qat: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Fine-tune this run with quantization-aware training.",
            rich_help_panel=COMPRESSION,
        ),
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(
            metavar="SPARSITY",
            help="Fine-tune with the smallest weights set to zero; SPARSITY is their "
            "share, 0 to 1.",
            rich_help_panel=COMPRESSION,
        ),
    ] = None,
    cluster: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Fine-tune with N distinct weight values in each kernel.",
            rich_help_panel=COMPRESSION,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="The finished run that --prune and --cluster start from; by default the newest.",
            rich_help_panel=COMPRESSION,
        ),
    ] = None,
) -> None:
    """Train a recipe (see `edgecifar recipes`) and keep the best epoch.

    The run folder gets model.keras, recipe.json, history.csv, metrics.json and the pictures
    curves.png, confusion.png, mistakes.png and reliability.png. Ctrl-C ends the run and keeps the
    best epoch so far; `--resume` continues from the last one.

    `--qat`, `--prune` and `--cluster` fine-tune a finished run into a new one, export both, and
    show the int8 files side by side.

    Examples:

        edgecifar train

        edgecifar train mobilenetv2 --set alpha=0.35 --set size=64 --epochs 3

        edgecifar train --resume runs/mobilenetv2-20260101-120000

        edgecifar train --qat runs/mobilenetv2-20260101-120000
    """
    from edgecifar import pipeline
    from edgecifar.provenance import new_run_folder
    from edgecifar.training import devices as machine
    from edgecifar.training import processes as together

    methods = {"--qat": qat, "--prune": prune, "--cluster": cluster, "--resume": resume}
    given = [name for name, value in methods.items() if value is not None]
    if len(given) > 1 or (given and recipe):
        raise UserError(
            f"{' and '.join([*([recipe] if recipe else []), *given])}: give only one of them"
        )
    if source and not (prune is not None or cluster is not None):
        raise UserError("--from goes with --prune or --cluster")
    machine.choose_backend(backend)
    place = together.place(coordinator, processes, process, heartbeat)
    if given and not resume:
        if place:
            raise UserError(f"{given[0]}: a compression runs in one process")
        machine.use_devices(devices)
        _compress(qat or source, _method(prune, cluster, epochs), out)
        return
    if resume:
        settings, folder = None, resume
    else:
        settings = chosen_recipe(recipe or DEFAULT_RECIPE, assignments, epochs, seed, weights)
        folder = out or new_run_folder(settings.name)

    def work(used: Path) -> None:
        shown = not place or place.index == 0
        hooks = _hooks(used, tensorboard) if shown else pipeline.NO_HOOKS
        if settings:
            pipeline.train(settings, used, hooks, machine.chosen_precision(precision))
        else:
            pipeline.resume(used, hooks)

    if not place:
        machine.use_devices(devices)
        work(folder)
        return
    if devices not in (None, "all"):
        raise UserError(f"`devices={devices}`: several processes use all devices of each")
    if place.index:
        note(
            f"process {place.index} of {place.count}: process 0, at {place.coordinator}, keeps the "
            "run folder and shows the epochs"
        )
    together.train_together(place, folder, bool(resume), work)


def _hooks(run: Path, tensorboard: bool) -> "Hooks":
    """Show each epoch and the end of the run; log the epochs when asked to."""
    from edgecifar.pipeline import Hooks
    from edgecifar.report.progress import progress_bar

    on_epoch = _logged(run / "tensorboard") if tensorboard else show_epoch
    return Hooks(
        progress=progress_bar, on_epoch=on_epoch, on_run=show_run, note=note, on_start=note
    )


def _logged(folder: Path) -> "Callable[[Epoch], None]":
    from edgecifar.training.tensorboard import tensorboard_log

    log = tensorboard_log(folder)

    def on_epoch(epoch: "Epoch") -> None:
        show_epoch(epoch)
        log(epoch)

    return on_epoch


def _method(prune: float | None, cluster: int | None, epochs: int | None) -> "Method":
    """The method of compression that the options give; quantization-aware without them."""
    from edgecifar.training.compression.methods import Clustering, Pruning, QuantizationAware

    given = {"epochs": epochs} if epochs else {}
    if prune is not None:
        return Pruning(sparsity=prune, **given)
    if cluster is not None:
        return Clustering(clusters=cluster, **given)
    return QuantizationAware(**given)


def _compress(parent: Path | None, method: "Method", out: Path | None) -> None:
    from edgecifar import pipeline
    from edgecifar.provenance import new_run_folder
    from edgecifar.report.compression_table import compression_table
    from edgecifar.report.progress import on_stderr, stdout_console

    folder = out or new_run_folder(method.name)

    def on_export(exported: "Export") -> None:
        print(f"{method.name if exported.folder == folder else pipeline.POST_TRAINING}:")
        show_export(exported)

    with on_stderr() as progress:
        hooks = pipeline.Hooks(
            progress=progress,
            on_epoch=show_epoch,
            on_run=show_run,
            on_export=on_export,
            note=note,
        )
        rows = pipeline.compress(parent, method, folder, hooks)
    compression_table(rows, stdout_console())
