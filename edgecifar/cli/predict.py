"""`edgecifar predict`."""

import contextlib
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from edgecifar.cli.options import (
    DEFAULT_MODEL,
    OUTPUT,
    LabelsOption,
    ModelOption,
    NormalizationOption,
    RuntimeOption,
    ThreadsOption,
    open_classifier,
)
from edgecifar.cli.output import note
from edgecifar.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgecifar.predict.pictures import Picture
    from edgecifar.predict.prediction import Prediction
    from edgecifar.progress import Update
    from edgecifar.report.outputs import Outputs
    from edgecifar.report.prediction_grid import Grid

PICTURES, CAMERA = "Pictures", "Camera"
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
    model: ModelOption = DEFAULT_MODEL,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = 1,
    normalization: NormalizationOption = "auto",
    labels: LabelsOption = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Classify each image that is written into this folder from now on, until Ctrl-C.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    camera: Annotated[
        bool,
        typer.Option(
            "--camera",
            help="Classify live frames of a camera, until Ctrl-C: with picamera2 where it is "
            "installed, else with OpenCV.",
            rich_help_panel=CAMERA,
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="N|FILE",
            help="The number of the camera, or a device such as /dev/video0, or a video file.  [0]",
            rich_help_panel=CAMERA,
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Wait until this time has passed since the last frame.  [0]",
            rich_help_panel=CAMERA,
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
    """Say what is in photographs, or in what a camera sees.

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

        edgecifar predict --camera --every 10 --csv seen.csv
    """
    from edgecifar.predict.camera import classify_frames, open_camera
    from edgecifar.predict.pictures import pictures
    from edgecifar.predict.prediction import Tally, classify
    from edgecifar.predict.watch import watch as arrivals
    from edgecifar.report.outputs import Outputs
    from edgecifar.report.prediction_lines import show_prediction, summary

    names = images or []
    if camera and (names or watch or save):
        raise UserError("--camera classifies its frames only: leave out images, --watch and --save")
    if not camera and (device is not None or every is not None):
        raise UserError(f"{'--device' if device is not None else '--every'} is for --camera")
    if not names and not camera and watch is None:
        raise UserError("name images or folders, or a folder to watch with --watch, or --camera")
    tally, grid = Tally(), _grid(save)
    with (
        Outputs({"--json": json_file, "--csv": csv_file}) as outputs,
        open_classifier(model, runtime, threads, normalization, labels) as classifier,
    ):
        top = min(top, len(classifier.labels))

        def classified(picture: "Picture") -> "Prediction":
            prediction = classify(classifier, picture, top)
            if grid is not None and not prediction.error:
                grid.add(prediction, picture)
            return prediction

        def keep(prediction: "Prediction") -> None:
            tally.add(prediction)
            _write(prediction, outputs, top, is_first=tally.total == 1)

        def show(prediction: "Prediction") -> None:
            keep(prediction)
            if prediction.error:
                note(f"edgecifar: {prediction.image}: {prediction.error}")
            else:
                show_prediction(prediction, outputs.console)

        if camera:
            with contextlib.closing(open_camera(device or "0")) as opened:
                frames = classify_frames(opened, classifier, top, every or 0)
                _show_frames(f"showing frames of {opened.name}", frames, keep, outputs)
            note(summary(tally))
            return
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


def _grid(save: Path | None) -> "Grid | None":
    if save is None:
        return None
    from edgecifar.report.prediction_grid import Grid

    return Grid(save)


def _show_frames(
    doing: str,
    predictions: "Iterator[Prediction]",
    keep: "Callable[[Prediction], None]",
    outputs: "Outputs",
) -> None:
    """Show the predictions of a camera until they end or Ctrl-C, then how many there were."""
    from edgecifar.report.prediction_lines import live_predictions

    began, frames = monotonic(), 0
    with _until_interrupted(doing), live_predictions(outputs.console) as show:
        for prediction in predictions:
            keep(prediction)
            show(prediction)
            frames += 1
    note(f"{frames / (monotonic() - began):.1f} frames/s")


def _write(prediction: "Prediction", outputs: "Outputs", top: int, is_first: bool) -> None:
    """Write a prediction to the files, before it is shown: the reader of stdout may be gone."""
    from edgecifar.report.prediction_lines import csv_text, json_line

    if "--json" in outputs:
        outputs.append("--json", json_line(prediction))
    if "--csv" in outputs:
        outputs.append("--csv", csv_text(prediction, top, with_headings=is_first))


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
