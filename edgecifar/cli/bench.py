"""`edgecifar bench`."""

from pathlib import Path
from typing import Annotated

import typer

from edgecifar.cli.options import (
    BaselineOption,
    CsvFileOption,
    JsonFileOption,
    MarkdownFileOption,
    MaxP90Option,
    MaxRegressionOption,
    MaxSizeOption,
    MinTop1Option,
    WideOption,
    class_order,
    limits,
    numbers,
    samples,
)
from edgecifar.cli.output import hold_to_limits, note, show_bench
from edgecifar.errors import UserError

WHAT, ACCURACY, TIMING, MACHINES = "What to measure", "Accuracy", "Timing", "Machines"


def bench(
    models: Annotated[
        list[Path],
        typer.Argument(
            help=".tflite, .onnx, .keras or whole-model .h5 files, or SavedModel folders of Keras; "
            "from edgecifar or elsewhere."
        ),
    ],
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="A runtime, see `edgecifar runtimes`; can be given several times; by default "
            "every installed one that opens the file.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Number of threads of each runtime; each number gives a row.  "
            "[1; every core when offline]",
            rich_help_panel=WHAT,
        ),
    ] = None,
    samples_: Annotated[
        str,
        typer.Option(
            "--samples",
            metavar="N|all",
            help="Number of test images; a smaller number has equally many of each class.",
            rich_help_panel=ACCURACY,
        ),
    ] = "all",
    scenario: Annotated[
        str,
        typer.Option(
            metavar="single-stream|offline",
            help="single-stream: one image after the other; offline: batches, on every core.",
            rich_help_panel=WHAT,
        ),
    ] = "single-stream",
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Images in a batch when offline.  [32]", rich_help_panel=WHAT
        ),
    ] = None,
    ci: Annotated[
        str,
        typer.Option(
            metavar="PERCENT",
            help="Time a row until the 95 % interval of its median reaches no farther than this "
            "to either side.",
            rich_help_panel=TIMING,
        ),
    ] = "1%",
    max_seconds: Annotated[
        float,
        typer.Option(
            metavar="S",
            help="Stop timing a row after S seconds, however wide the interval is.",
            rich_help_panel=TIMING,
        ),
    ] = 20.0,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of processes that classify the remaining images after the timing.  "
            "[one for each core]",
            rich_help_panel=ACCURACY,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Give up a row when loading, or another step, takes longer than S seconds.  [300]",
            rich_help_panel=TIMING,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Seed for the order in which models take turns and for the bootstrap.",
            rich_help_panel=TIMING,
        ),
    ] = 0,
    normalization: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME|MEAN,STD",
            help="How pixels are scaled for a file that edgecifar did not export: raw, "
            "unit, symmetric, centered, imagenet, cifar10 or pytorch-cifar; add -bgr to a name for "
            "pixels in BGR order; auto tries them on training images.",
            rich_help_panel=ACCURACY,
        ),
    ] = "auto",
    output: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In files with several outputs, the one that gives the classes; by default the "
            "one that gives probabilities.",
            rich_help_panel=ACCURACY,
        ),
    ] = None,
    resize: Annotated[
        str,
        typer.Option(
            metavar="squash|crop",
            help="How images are made smaller for a file that takes fewer than "
            "32 x 32 pixels: squash scales them down, crop cuts out their centre.",
            rich_help_panel=ACCURACY,
        ),
    ] = "squash",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...|FILE",
            help="The classes of the files, in their order; FILE has one name on each line.",
            rich_help_panel=ACCURACY,
        ),
    ] = None,
    xnnpack: Annotated[
        bool | None,
        typer.Option(
            "--xnnpack/--no-xnnpack",
            help="Use TFLite's fast kernels (XNNPACK) or not.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    delegate: Annotated[
        str | None,
        typer.Option(
            metavar="LIB",
            help="A TFLite delegate: a shared library, for an Edge TPU for example.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    graph_level: Annotated[
        str | None,
        typer.Option(
            metavar="disable|basic|extended|all",
            help="How far ONNX Runtime optimizes graphs.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    spinning: Annotated[
        bool | None,
        typer.Option(
            "--spinning/--no-spinning",
            help="Whether idle threads of ONNX Runtime spin.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ssh://[USER@]HOST",
            help="Measure on another machine instead of this one; can be given several times, and "
            "the machines then measure at the same time.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    bootstrap: Annotated[
        bool,
        typer.Option(
            "--bootstrap",
            help="Install LiteRT and ONNX Runtime on that machine, in a virtual environment.",
            rich_help_panel=MACHINES,
        ),
    ] = False,
    json_file: JsonFileOption = None,
    csv_file: CsvFileOption = None,
    md_file: MarkdownFileOption = None,
    wide: WideOption = False,
    min_top1: MinTop1Option = None,
    max_p90_ms: MaxP90Option = None,
    max_size_mb: MaxSizeOption = None,
    baseline: BaselineOption = None,
    max_regression: MaxRegressionOption = None,
) -> None:
    """Measure accuracy, latency and memory of model files on the real test images.

    Each model runs in each runtime in a process of its own, one image at a time; the processes
    take turns in short blocks. Latency is from pixels in to probabilities out.

    Examples:

        edgecifar bench exported/model.tflite

        edgecifar bench exported/model.tflite exported/model.onnx --threads 1,4 --json result.json

        edgecifar bench exported/model.tflite --on ssh://pi@raspberrypi --bootstrap

        edgecifar bench model.tflite --min-top1 95% --max-p90-ms 20 --baseline last.json
    """
    from edgecifar.bench import runner
    from edgecifar.bench.hosts.opening import open_hosts
    from edgecifar.bench.results.gates import parse_percent
    from edgecifar.bench.settings import BenchSettings
    from edgecifar.files import json_text
    from edgecifar.progress import PERCENT, as_whole_of
    from edgecifar.report.bench_table import csv_text, markdown
    from edgecifar.report.outputs import Outputs
    from edgecifar.report.progress import progress_bar
    from edgecifar.runtimes import Options
    from edgecifar.runtimes import normalization as normalizations

    normalizations.parse(normalization)
    settings = BenchSettings(
        scenario=scenario,
        threads=() if threads is None else numbers("--threads", threads),
        samples=samples(samples_),
        jobs=jobs,
        seed=seed,
        precision=parse_percent("--ci", ci),
        max_seconds=max_seconds,
        normalization=normalization,
        labels=class_order(labels),
        output=output,
        resize=resize,
        options=Options(
            batch=batch,
            xnnpack=xnnpack,
            delegate=delegate,
            graph_level=graph_level,
            spinning=spinning,
        ),
    )
    gates = limits(min_top1, max_p90_ms, max_size_mb, baseline, max_regression)
    if bootstrap and not on:
        raise UserError("--bootstrap installs on another machine: say which with --on")
    # Before minutes are spent on measuring.
    outputs = Outputs({"--json": json_file, "--csv": csv_file, "--md": md_file})

    with (
        progress_bar("bench", 100, PERCENT) as update,
        open_hosts(on or [], bootstrap, update) as hosts,
    ):
        result = runner.bench(
            models,
            runtime,
            settings,
            hosts,
            as_whole_of(update, 100),
            runner.TIMEOUT_S if timeout is None else timeout,
        )
    for host in hosts:
        if host.removal:
            kept = f"{host.name} keeps the copied files for the next bench"
            note(f"{kept}; `{host.removal}` removes them")
    try:  # before the table: the reader of stdout may have closed it
        outputs.write(
            {"--json": json_text(result), "--csv": csv_text(result), "--md": markdown(result)}
        )
    finally:
        show_bench(result, outputs.console, wide)
    hold_to_limits(result, gates)
