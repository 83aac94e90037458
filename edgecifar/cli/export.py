"""`edgecifar export`."""

from pathlib import Path
from typing import Annotated

import typer

from edgecifar.cli.options import OUTPUT, class_order
from edgecifar.cli.output import note, show_export
from edgecifar.errors import CheckFailed

FILES, QUANTIZATION, FOREIGN = "Files", "Quantization", "Checkpoints not made by edgecifar"


def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="A .keras or whole-model .h5 file, from edgecifar or plain Keras, a SavedModel "
            "folder of Keras, or a run folder; by default the newest run in runs/, else "
            "exported/model.keras."
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Short for --precision float32 --precision int8.",
            rich_help_panel=FILES,
        ),
    ] = False,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRECISION",
            help="float32, float16, dynamic, int8, int8-float-io or int16x8 (TFLite only); can be "
            "given several times.",
            rich_help_panel=FILES,
        ),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="tflite|onnx",
            help="The file format; both by default.",
            rich_help_panel=FILES,
        ),
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            metavar="auto|minmax|percentile|entropy|mse",
            help="How the ranges of int8 activations are chosen; auto tries every method on "
            "training images.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = "auto",
    calibration_images: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Number of training images for the calibration.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = 500,
    keep_float: Annotated[
        str,
        typer.Option(
            metavar="LAYER,...|auto:N",
            help="Layers of the int8 files that stay float; auto:N chooses the N layers that lose "
            "most by quantization.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = "",
    batch: Annotated[
        str,
        typer.Option(
            metavar="N|dynamic", help="Images that a file takes at a time.", rich_help_panel=FILES
        ),
    ] = "1",
    normalization: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME|MEAN,STD",
            help="How the checkpoint expects its pixels to be scaled: raw, unit, symmetric, "
            "centered, imagenet, cifar10 or pytorch-cifar; add -bgr to a name for pixels in BGR "
            "order; auto tries them on training images.",
            rich_help_panel=FOREIGN,
        ),
    ] = "auto",
    resize: Annotated[
        str,
        typer.Option(
            metavar="squash|crop",
            help="How images are made smaller for a checkpoint that takes fewer than "
            "32 x 32 pixels: squash scales them down, crop cuts out their centre.",
            rich_help_panel=FOREIGN,
        ),
    ] = "squash",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...|FILE",
            help="The classes of the checkpoint, in its order; FILE has one name on each line.",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    c_array: Annotated[
        bool,
        typer.Option(
            "--c-array",
            help="Also write the int8 TFLite file as C source and header.",
            rich_help_panel=FILES,
        ),
    ] = False,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="NAME",
            help="The license of the files, Apache-2.0 for example; by default none is named.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The folder for the files.", rich_help_panel=OUTPUT),
    ] = Path("exported"),
) -> None:
    """Convert a checkpoint to TFLite and ONNX; write the files only when all are verified.

    Every file is compared with the checkpoint on the 10,000 test images. model.tflite and
    model.onnx are the int8 files, model.float.tflite and model.float.onnx the float32 ones; the
    others have their precision in their name.

    Examples:

        edgecifar export --int8

        edgecifar export runs/mobilenetv2-20260101-120000 --int8 --out deploy

        edgecifar export theirs.keras --normalization unit --precision int8 --format tflite
    """
    from edgecifar.export import exporter
    from edgecifar.export.checkpoint import find
    from edgecifar.export.settings import FORMATS, ExportSettings
    from edgecifar.report.progress import on_stderr

    wanted = ["float32", "int8"] if int8 else []
    settings = ExportSettings(
        precisions=tuple(dict.fromkeys([*wanted, *(precision or [])])) or ("float32",),
        formats=tuple(format_ or FORMATS),
        calibration=calibration,
        calibration_images=calibration_images,
        keep_float=tuple(name.strip() for name in keep_float.split(",") if name.strip()),
        batch=int(batch) if batch.isdecimal() else batch,
        normalization=normalization,
        resize=resize,
        labels=class_order(labels),
        c_array=c_array,
        license=license_,
    )
    with on_stderr() as progress:
        exported = exporter.export(find(checkpoint), out, settings, progress)
    show_export(exported)
    if exported.failure:
        raise CheckFailed(exported.failure)
    unknown = normalization == "auto" and not exported.found_normalization
    if unknown and exported.normalization == "raw":
        note(
            "the pixels go in as 0 to 255: if the checkpoint was trained on scaled pixels, "
            "give --normalization unit, symmetric or imagenet"
        )
