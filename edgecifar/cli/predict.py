"""`edgecifar predict`."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecifar.cli.options import OUTPUT, class_order
from edgecifar.cli.output import note
from edgecifar.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgecifar.predict.classifier import Classifier
    from edgecifar.predict.pictures import Picture
    from edgecifar.predict.prediction import Prediction
    from edgecifar.progress import Update
    from edgecifar.report.outputs import Outputs
    from edgecifar.report.prediction_grid import Grid

MODEL, PICTURES = "Model", "Pictures"
DEFAULT_MODEL = Path("exported", "model.tflite")
# From this number of pictures on, a bar shows how many are done.
MANY = 20
SOME_UNREAD, NONE_READ = 1, UserError.exit_code


def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGE]...",
            help="Image files of any size; folders, for all images in them; patterns such as "
            "'*.jpg'; - for standard input.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="A .tflite, .onnx or .keras file, from edgecifar or elsewhere.",
            rich_help_panel=MODEL,
        ),
    ] = DEFAULT_MODEL,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="A runtime, see `edgecifar runtimes`; by default the first installed one that "
            "opens the file.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="N", help="Threads of the runtime.", rich_help_panel=MODEL)
    ] = 1,
    normalization: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME|MEAN,STD",
            help="How pixels are scaled for a file that edgecifar did not export, as in "
            "`edgecifar bench`.",
            rich_help_panel=MODEL,
        ),
    ] = "auto",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...|FILE",
            help="The classes of a file that edgecifar did not export, in their order; FILE has "
            "one name on each line.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Classify each image that is written into this folder from now on, until Ctrl-C.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="How many classes to show.", rich_help_panel=OUTPUT),
    ] = 3,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json",
            metavar="FILE|-",
            help="Write a line of JSON for each image; - is stdout.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    csv_file: Annotated[
        str | None,
        typer.Option(
            "--csv",
            metavar="FILE|-",
            help="Write a line for each image as CSV, for a spreadsheet.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the images with their predictions side by side, into a .png, .jpg or .webp "
            "file; green is right and red is wrong, where the folder has the name of a class.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Say what is in photographs.

    A photograph is cropped to its centre square and reduced to what the model takes. Each line is
    written as soon as its image is classified, to --json and --csv too. Images whose folder has the
    name of a class are counted as right or wrong.

    The exit code is 0 when all images were classified, 1 when some could not be read, and 2 when
    none could be read. Each image that cannot be read is one line on stderr.

    Examples:

        edgecifar predict photo.jpg

        edgecifar predict holiday/ --csv holiday.csv --save holiday.png

        edgecifar predict - --top 1 < photo.jpg

        edgecifar predict --watch incoming --json -
    """
    from edgecifar.predict.pictures import pictures
    from edgecifar.predict.prediction import Tally, classify
    from edgecifar.predict.watch import watch as arrivals
    from edgecifar.report.outputs import Outputs
    from edgecifar.report.prediction_lines import summary

    names = images or []
    if not names and watch is None:
        raise UserError("name images or folders, or a folder to watch with --watch")
    tally, grid = Tally(), _grid(save)
    with (
        Outputs({"--json": json_file, "--csv": csv_file}) as outputs,
        _open(model, runtime, threads, normalization, labels) as classifier,
    ):

        def classified(picture: "Picture") -> "Prediction":
            prediction = classify(classifier, picture, top)
            if grid is not None and not prediction.error:
                grid.add(prediction, picture)
            return prediction

        def show(prediction: "Prediction") -> None:
            tally.add(prediction)
            _show(prediction, outputs, top, tally.total == 1)

        incoming = None if watch is None else arrivals(watch, classified)
        try:
            with _bar(names) as update:
                for picture in pictures(names):
                    show(classified(picture))
                    update(tally.total)
            if incoming is not None:
                with _until_interrupted(f"waiting for images in {watch}"):
                    for prediction in incoming:
                        show(prediction)
        finally:
            if tally.total != 1:
                note(summary(tally))
            if grid is not None and (written := grid.save()):
                note(written)
    if tally.unread and incoming is None:
        raise typer.Exit(SOME_UNREAD if tally.classified else NONE_READ)


def _open(
    model: Path, runtime: str | None, threads: int, normalization: str, labels: str | None
) -> "Classifier":
    """Open the model, without what LiteRT prints about its kernels."""
    from edgecifar.export.capture_output import capture_output
    from edgecifar.predict.classifier import Classifier

    if model == DEFAULT_MODEL and not model.exists():
        raise UserError(
            f"{model}: there is no such file: name a model with --model, or run this where "
            "`edgecifar export` has written one"
        )
    with capture_output(Path(os.devnull)):
        return Classifier(
            model,
            runtime=runtime,
            threads=threads,
            normalization=normalization,
            labels=class_order(labels),
        )


def _grid(save: Path | None) -> "Grid | None":
    if save is None:
        return None
    from edgecifar.report.prediction_grid import Grid

    return Grid(save)


def _show(prediction: "Prediction", outputs: "Outputs", top: int, is_first: bool) -> None:
    """Write a prediction to each output, then print it."""
    from edgecifar.report import prediction_lines as lines

    if "--json" in outputs:
        outputs.append("--json", lines.json_line(prediction))
    if "--csv" in outputs:
        outputs.append("--csv", lines.csv_text(prediction, top, with_headings=is_first))
    if prediction.error:
        note(f"edgecifar: {prediction.image}: {prediction.error}")
    else:
        lines.show_prediction(prediction, outputs.console)
        outputs.console.file.flush()


@contextlib.contextmanager
def _bar(names: "Sequence[str]") -> "Iterator[Update]":
    """A progress bar on a terminal, where there are many images."""
    from edgecifar.predict.pictures import count
    from edgecifar.progress import ignore
    from edgecifar.report.progress import progress_bar

    total = count(names) if sys.stderr.isatty() else 0
    if total < MANY:
        yield ignore
    else:
        with progress_bar("predict", total) as update:
            yield update


@contextlib.contextmanager
def _until_interrupted(doing: str) -> "Iterator[None]":
    """Ctrl-C is how this work ends, and no failure."""
    note(f"{doing}; Ctrl-C ends this")
    with contextlib.suppress(KeyboardInterrupt):
        yield
