"""What each way to keep int8 weights from overflowing costs, on one checkpoint.

The ways: nothing (8 bits); no two weights overflow that ONNX Runtime's or OpenVINO's kernels add
(see saturating_pairs.py); no two weights of a channel overflow, which is what edgecifar exports; 7
bits. Depthwise layers keep 8 bits. Biases are corrected and ranges chosen alike.

The noise of the logits is on 500 training images that calibrate nothing, in LiteRT, which never
overflows: of the rounded weights alone, with float activations, and of the int8 file. Top-1 is on
the 10,000 test images in every runtime.

    python benchmarks/overflow_forms.py [CHECKPOINT [NORMALIZATION]] > overflow_forms.json
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from edgecifar import hardware, runtimes
from edgecifar.data import shipped
from edgecifar.export import tflite
from edgecifar.export.capture_output import capture_output
from edgecifar.export.checkpoint import SHIPPED, open_checkpoint
from edgecifar.export.quantization import (
    bias_correction,
    calibration,
    integer_forms,
    observing,
    quantizer,
    raw_pixels,
    weights,
)
from edgecifar.export.tflite_to_onnx import converter
from edgecifar.graphs.overflow import PAIR_LIMIT, largest_pairs
from edgecifar.graphs.tflite import Graph, Operator
from edgecifar.models import int8_steps
from edgecifar.runtimes import environments

METHOD = "percentile"
BLOCK = 1000


def eight_bits(operator: Operator, taps: np.ndarray) -> np.ndarray:
    return np.abs(taps).max(axis=0) / int8_steps.INT8_MAX


def seven_bits(operator: Operator, taps: np.ndarray) -> np.ndarray:
    return np.abs(taps).max(axis=0) / (PAIR_LIMIT / 2)


def any_two(operator: Operator, taps: np.ndarray) -> np.ndarray:
    return int8_steps.steps(taps, depthwise=False)


def pairs_of_kernels(operator: Operator, taps: np.ndarray) -> np.ndarray:
    """A little wider than they must be, so that rounding makes no pair overflow."""
    kernel = operator.inputs[weights.WEIGHTS].shape
    channels = kernel[-1]
    in_order = [(i, i + 1) for i in range(0, len(taps) - 1, 2)]
    at_positions = [
        (start + i, start + i + 1)
        for start in range(0, len(taps), channels)
        for i in range(0, channels - 1, 2)
    ]
    pairs = np.array([*in_order, *at_positions]).reshape(-1, 2)
    sums = np.abs(taps[pairs].sum(axis=1)).max(axis=0, initial=0)
    return np.maximum(eight_bits(operator, taps), sums / (PAIR_LIMIT - 1))


FORMS = {
    "8 bits": eight_bits,
    "pairs that kernels add": pairs_of_kernels,
    "any two weights of a channel": any_two,
    "7 bits": seven_bits,
}


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED
    normalization = sys.argv[2] if len(sys.argv) > 2 else "auto"
    with capture_output(Path(os.devnull)):
        checkpoint = open_checkpoint(path, normalization)
        split, scaling = raw_pixels.split(tflite.float_tflite(checkpoint.model))
        split = integer_forms.rewritten(split)
        forms = {name: measured(form, split, scaling) for name, form in FORMS.items()}
    test = shipped.test_set()
    found = checkpoint.model.predict(test.images(), batch_size=BLOCK, verbose=0).argmax(axis=1)
    result = {
        "processor": hardware.processor(),
        "int8_features": hardware.int8_features(hardware.text("/proc/cpuinfo") or ""),
        "runtimes": {
            one.name: environments.version_of(one)
            for one in runtimes.RUNTIMES
            if environments.importable(one)
        },
        "checkpoint_sha256": checkpoint.sha256,
        "checkpoint_top1": float(np.mean(found == test.labels)),
        "calibration": METHOD,
        "forms": forms,
    }
    print(json.dumps(result, indent=2))


def measured(
    form: Callable[[Operator, np.ndarray], np.ndarray], split: bytes, scaling: raw_pixels.Scaling
) -> dict:
    """Quantize with the steps that a form gives, and run the files."""
    original = weights.steps_of

    def steps_of(operator: Operator) -> np.ndarray:
        if operator.name == "DEPTHWISE_CONV_2D":
            return original(operator)
        return form(operator, weights.taps_of(operator).astype(np.float64))

    def round_weights(operators: list[Operator]) -> None:
        for operator in operators:
            tensor = operator.inputs[weights.WEIGHTS]
            steps = weights.per_channel(operator, steps_of(operator))
            whole = np.round(tensor.constant / np.where(steps == 0, 1, steps))
            tensor.set_constant((whole * steps).astype(np.float32))

    scaled = scaling(calibration.calibration_images())
    # Of the original weights: rounded ones may give other steps.
    steps = {one.outputs[0].name: steps_of(one) for one in weights.with_weights(Graph(split))}
    with mock.patch.object(bias_correction, "round_weights", round_weights):
        corrected = bias_correction.corrected(split, scaled)
    with mock.patch.object(quantizer, "steps_of", lambda one: steps[one.outputs[0].name]):
        ranges = calibration.ranges(calibration.observe(corrected, scaled), METHOD)
        file = quantizer.quantize(corrected, scaling, "int8", ranges)
    judged = shipped.calibration_set().images(calibration.judging_rows())
    return {
        "channels_that_overflow": sum(overflowing(file)),
        "weights_sqnr_db": round(
            logit_noise(split, corrected, scaling(judged), scaling(judged)), 2
        ),
        "int8_sqnr_db": round(logit_noise(split, file, scaling(judged), judged), 2),
        "top1": dict(top1(file)),
    }


def overflowing(file: bytes) -> Iterator[int]:
    """Of each layer but the depthwise ones, the channels with two weights that overflow."""
    for operator in Graph(file).operators:
        if operator.name in weights.OUTPUT_AXES and operator.name != "DEPTHWISE_CONV_2D":
            yield int((largest_pairs(weights.taps_of(operator)) > PAIR_LIMIT).sum())


def logit_noise(split: bytes, file: bytes, exact_images: np.ndarray, images: np.ndarray) -> float:
    """The signal to quantization noise ratio of what the softmax reads, in decibels."""
    end = next(one.inputs[0].name for one in Graph(split).operators if one.name == "SOFTMAX")
    steps = {tensor.name: tensor.quantization for tensor in Graph(file).tensors}[end]
    exact = np.stack([one[end] for one in observing.tensors(split, exact_images, [end])])
    rough = np.stack([one[end] for one in observing.tensors(file, images, [end])])
    noise = np.square(exact - observing.real(rough, steps)).sum()
    return float(10 * np.log10(np.square(exact).sum() / noise))


def top1(file: bytes) -> Iterator[tuple[str, float]]:
    """In each runtime, on the test images."""
    test = shipped.test_set()
    model = converter.quantized_onnx(file)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("model.tflite", "model.onnx")]
        for path, data in zip(paths, (file, model.SerializeToString()), strict=True):
            path.write_bytes(data)
        runs = {"litert": paths[0], "onnxruntime": paths[1], "openvino": paths[1]}
        for name, path in runs.items():
            session = runtimes.open_classifier(path, runtime=runtimes.named(name))
            answers = [
                session.classify(test.images(slice(start, start + BLOCK)))
                for start in range(0, len(test.labels), BLOCK)
            ]
            session.close()
            yield name, float(np.mean(np.concatenate(answers).argmax(axis=1) == test.labels))


if __name__ == "__main__":
    main()
