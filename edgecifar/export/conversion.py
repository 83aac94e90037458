"""Makes every file of an export from the one float graph of its checkpoint.

    checkpoint -> float TFLite -> split, corrected -> quantized TFLite, of each precision
                       each TFLite file -> the ONNX file made from it

TensorFlow's converter runs once. What is quantized is quantized in TFLite, and ONNX takes the
weights, the biases, the scales and the zero points from there.
"""

import contextlib
import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.export import tflite
from edgecifar.export.batching import with_batch
from edgecifar.export.checkpoint import Checkpoint
from edgecifar.export.quantization import (
    bias_correction,
    calibration,
    choice,
    integer_forms,
    observing,
    quantizer,
    raw_pixels,
    sensitivity,
)
from edgecifar.export.settings import INTEGER, ExportSettings, file_name
from edgecifar.export.tflite_to_onnx import converter as onnx
from edgecifar.export.tflite_to_onnx.names import layer_names
from edgecifar.graphs import products
from edgecifar.graphs.tflite import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

Watched = Callable[[str], AbstractContextManager]
# Each choice of layers is run on these images; the noise hardly differs from image to image.
SENSITIVITY_IMAGES = 50
SHOWN = {"tflite": "TFLite", "onnx": "ONNX"}
# The TFLite precisions of which ONNX files are made, where they differ: float16 comes from ONNX's
# own converter, and float pixels are put before the integers of the int8 file.
ONNX_SOURCES = {"float16": "float32", "int8-float-io": "int8"}


@dataclasses.dataclass(frozen=True)
class Converted:
    """One file of an export, before it is published.

    Attributes:
        name: its final name.
        precision: of `settings.PRECISIONS`.
        with_metadata: gives the file's bytes, with a text written into it.
        kept_float: what was left in floats on request: in a TFLite file the outputs of operators,
            in an ONNX file the layers of convolutions and matrix products, one for each product.
    """

    name: str
    precision: str
    with_metadata: Callable[[str], bytes]
    kept_float: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Conversion:
    """All files of an export, and how their activations were quantized.

    Attributes:
        files: in the order of the settings.
        calibration: None without quantized activations; else `images`, the number of calibration
            images, and `of`, where they are from; the `method`; `tried`, a `choice.Tried` for each
            method, empty when the method was given; `judged_on`, the number of images that these
            were judged on; `kept_float`, names; and `noise`, a `sensitivity.LayerNoise` for each
            operator.
    """

    files: list[Converted]
    calibration: dict | None


def convert(
    checkpoint: Checkpoint,
    settings: ExportSettings,
    watched: Watched = lambda what: contextlib.nullcontext(),
) -> Conversion:
    """Make every file that the settings ask for.

    Args:
        checkpoint: an opened one.
        settings: which files, and how.
        watched: gives the context of each conversion by its name, which shows the conversion and
            its errors.

    Raises:
        Any exception of a converter, through `watched`.
    """
    with watched("TFLite float32"):
        float_file = tflite.float_tflite(checkpoint.model)
    quantize: Callable[[str], bytes]
    facts: dict | None = None
    if any(precision != "float32" for precision, _ in settings.files()):
        with watched("scaled pixels"):
            split, scaling = raw_pixels.split(float_file)
        if set(settings.precisions) & set(INTEGER):
            quantize, facts = _calibrated(split, scaling, checkpoint, settings, watched)
        else:
            quantize = functools.cache(functools.partial(quantizer.quantize, split, scaling))

    converted = []
    for precision, form in settings.files():
        shown = (precision, form) != ("float32", "tflite")  # which is there already
        with watched(f"{SHOWN[form]} {precision}") if shown else contextlib.nullcontext():
            source = ONNX_SOURCES.get(precision, precision) if form == "onnx" else precision
            file = float_file if source == "float32" else quantize(source)
            kept = facts["kept_float"] if facts and precision in INTEGER else ()
            if form == "tflite":
                stamped = functools.partial(tflite.with_metadata, with_batch(file, settings.batch))
            else:
                onnx_model = _onnx_model(file, precision, settings.batch)
                stamped = functools.partial(onnx.with_metadata, onnx_model)
                kept = _layers_of_products(file, kept)
        name = file_name(precision, form)
        converted.append(Converted(name, precision, stamped, tuple(kept)))
    return Conversion(converted, facts)


def _calibrated(
    split: bytes,
    scaling: raw_pixels.Scaling,
    checkpoint: Checkpoint,
    settings: ExportSettings,
    watched: Watched,
) -> tuple[Callable[[str], bytes], dict]:
    """Round the weights, record the activations, and choose their ranges.

    Args:
        split: the float graph of scaled pixels.
        scaling: of the pixels.
        checkpoint: says whether it has the classes of the images.
        settings: of the export.
        watched: see `convert`.

    Returns:
        A function that makes the file of a precision, once; and `Conversion.calibration`.
    """
    images = calibration.calibration_images(settings.calibration_images)
    scaled = scaling(images)
    split = integer_forms.rewritten(split)
    if not settings.kept_automatically:
        kept = _outputs_of(settings.keep_float, split)
    else:
        with watched("int8 without the most sensitive layers"):
            rounded = bias_correction.corrected(split, scaled)
            kept = sensitivity.most_sensitive(
                rounded,
                scaling,
                calibration.ranges(calibration.observe(rounded, scaled), "minmax"),
                images[:SENSITIVITY_IMAGES],
                settings.kept_automatically,
            )
    with watched("int8 weights"):
        corrected = bias_correction.corrected(split, scaled, kept)
    with watched("int8 ranges"):
        observations = calibration.observe(corrected, scaled)
    rows = calibration.judging_rows(settings.calibration_images)
    method, tried = settings.calibration, []
    if method == "auto":
        with watched("int8 by each calibration"):
            data = shipped.calibration_set()
            labels = data.labels[rows] if checkpoint.knows_cifar10 else None
            judged = data.images(rows)
            expected = observing.outputs(split, scaling(judged))
            tried = choice.try_methods(
                corrected, scaling, observations, judged, expected, labels, kept
            )
            method = tried[0].method
    ranges = calibration.ranges(observations, method)

    @functools.cache
    def quantize(precision: str) -> bytes:
        if precision in INTEGER:
            return quantizer.quantize(corrected, scaling, precision, ranges, kept)
        return quantizer.quantize(split, scaling, precision)

    with watched("int8 beside float, layer by layer"):
        few = images[:SENSITIVITY_IMAGES]
        noise = sensitivity.noise(split, quantize("int8"), scaling(few), few)
    facts = {
        "images": len(images),
        "of": "CIFAR-10 training images, even over the classes",
        "method": method,
        "tried": [dataclasses.asdict(one) for one in tried],
        "judged_on": len(rows) if tried else None,
        "kept_float": list(kept),
        "noise": [dataclasses.asdict(one) for one in noise if one.sqnr_db < math.inf],
    }
    return quantize, facts


def _outputs_of(layers: Sequence[str], file: bytes) -> list[str]:
    """The tensors that a user means by layers of the checkpoint.

    A tensor's name joins those of all layers that were folded into its operator.

    Raises:
        UserError: there is no such layer.
    """
    names = [operator.outputs[0].name for operator in Graph(file).operators]
    found = []
    for layer in layers:
        meant = [
            name
            for name in names
            if name == layer or any(f"/{layer}/" in f"/{part}" for part in name.split(";"))
        ]
        if not meant:
            paths = (name.rpartition(";")[2].removeprefix("classifier/") for name in names)
            known = dict.fromkeys(path.split("/")[0] for path in paths)
            near = difflib.get_close_matches(layer, known, 3) or list(known)[:3]
            raise UserError(f"`keep_float={layer}`: no such layer; there is {', '.join(near)}")
        found += meant
    return found


def _layers_of_products(file: bytes, outputs: Sequence[str]) -> list[str]:
    """The layers, as ONNX files name them, of those operators that are convolutions or products."""
    graph = Graph(file)
    layers = layer_names(graph)
    return [
        layers[operator.outputs[0].index]
        for operator in graph.operators
        if operator.name in products.TFLITE and operator.outputs[0].name in outputs
    ]


def _onnx_model(file: bytes, precision: str, batch: int | str) -> "ModelProto":
    """The ONNX model of a precision, made from the TFLite file of its source."""
    if precision == "float32":
        return onnx.float_onnx(file, batch)
    if precision == "float16":
        return onnx.float16_onnx(file, batch)
    return onnx.quantized_onnx(file, batch, float_pixels=precision == "int8-float-io")
