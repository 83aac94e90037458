"""How long small networks take in int8, as shares of the default model's time: the choice of those
that have recipes.

The networks are not trained: the ranges of their activations come from 64 training images, and
batch norm takes its statistics from the same. This changes no latency. In a round each network
classifies one image a few times in LiteRT and in ONNX Runtime, with one thread, in one process. The
ratio of a round is that of its medians; between two rounds the script rests, so that other work
goes on. On a busy Linux, `--real-time` keeps other processes off the core during a round; it needs
root's rights:

    python benchmarks/small_networks.py --real-time > benchmarks/small_networks.json

A name says the network, the side in pixels that it sees, and its last block where it is cut short.
"depthwise", "inverted" and "plain" are sketches for 32 px that have no ImageNet weights: residual
blocks of depthwise separable convolutions, of inverted bottlenecks, and of 3 x 3 convolutions.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar import runtimes
from edgecifar.data import shipped
from edgecifar.export import tflite
from edgecifar.export.capture_output import capture_output
from edgecifar.export.quantization import calibration, integer_forms, quantizer, raw_pixels
from edgecifar.export.tflite_to_onnx import converter as onnx
from edgecifar.hardware import summary
from edgecifar.models import blocks, contract, networks
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

DEFAULT = "mobilenetv2 96"
A_TURN = 5
REST_S = 0.3
MOMENTUM = 0.0  # of batch norm: one batch gives the statistics
HIDDEN = 256  # units of the dense layer that stands in for the blocks that are cut off


def network(name: str, size: int, **kwargs: float) -> "keras.Model":
    return networks.build(name, size=size, batch_norm_momentum=MOMENTUM, **kwargs)


def cut(name: str, size: int, last: str) -> "keras.Model":
    """A network that ends with one of its layers."""
    whole = network(name, size)
    feature_map = whole.get_layer(last).output
    return load_keras().Model(whole.input, contract.classifier_head(feature_map, 0, HIDDEN))


def sketch(
    block: Callable[["keras.KerasTensor", int, int, str], "keras.KerasTensor"],
    stem: int,
    stem_strides: int,
    stages: tuple[tuple[int, int, int], ...],
) -> "keras.Model":
    """A network for 32 px.

    Args:
        block: of a tensor, its channels, its strides and its name.
        stem: channels of the first convolution.
        stem_strides: of the first convolution.
        stages: blocks, channels and strides of each stage.
    """
    image, x = contract.image_input(32)
    x = blocks.convolution(x, stem, "stem", MOMENTUM, strides=stem_strides)
    for stage, (count, channels, strides) in enumerate(stages, 1):
        for number in range(count):
            name = f"stage{stage}_block{number + 1}"
            x = block(x, channels, 1 if number else strides, name)
    return load_keras().Model(image, contract.classifier_head(x, 0))


def plain(x: "keras.KerasTensor", channels: int, strides: int, name: str) -> "keras.KerasTensor":
    skip = x
    x = blocks.convolution(x, channels, f"{name}_conv1", MOMENTUM, strides=strides)
    x = blocks.convolution(x, channels, f"{name}_conv2", MOMENTUM, relu=False)
    if skip.shape != x.shape:
        skip = blocks.convolution(skip, channels, f"{name}_skip", MOMENTUM, 1, strides, relu=False)
    return rectified_sum(skip, x)


def depthwise(
    x: "keras.KerasTensor", channels: int, strides: int, name: str
) -> "keras.KerasTensor":
    """One depthwise separable convolution where the shape changes, else two and a skip."""
    skip = x
    x = per_channel(x, f"{name}_depthwise1", strides)
    x = blocks.convolution(x, channels, f"{name}_pointwise1", MOMENTUM, 1)
    if skip.shape != x.shape:
        return x
    x = per_channel(x, f"{name}_depthwise2")
    x = blocks.convolution(x, channels, f"{name}_pointwise2", MOMENTUM, 1, relu=False)
    return rectified_sum(skip, x)


def inverted(x: "keras.KerasTensor", channels: int, strides: int, name: str) -> "keras.KerasTensor":
    """A bottleneck of MobileNetV2 with four times the channels inside."""
    skip = x
    x = blocks.convolution(x, 4 * x.shape[-1], f"{name}_expand", MOMENTUM, 1)
    x = per_channel(x, f"{name}_depthwise", strides)
    x = blocks.convolution(x, channels, f"{name}_project", MOMENTUM, 1, relu=False)
    return load_keras().layers.Add()([skip, x]) if skip.shape == x.shape else x


def per_channel(x: "keras.KerasTensor", name: str, strides: int = 1) -> "keras.KerasTensor":
    layers = load_keras().layers
    x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=name)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(x))


def rectified_sum(skip: "keras.KerasTensor", x: "keras.KerasTensor") -> "keras.KerasTensor":
    layers = load_keras().layers
    return layers.ReLU()(layers.Add()([skip, x]))


CANDIDATES: dict[str, Callable[[], "keras.Model"]] = {
    DEFAULT: partial(network, "mobilenetv2", 96),
    "resnet 32": partial(network, "resnet", 32),
    "resnet8 32": partial(network, "resnet8", 32),
    "mobilenetv2 64": partial(network, "mobilenetv2", 64),
    "mobilenetv2 48": partial(network, "mobilenetv2", 48),
    "mobilenetv2 0.35 96": partial(network, "mobilenetv2", 96, alpha=0.35),
    "mobilenetv2 0.35 64": partial(network, "mobilenetv2", 64, alpha=0.35),
    "mobilenetv2 0.35 48": partial(network, "mobilenetv2", 48, alpha=0.35),
    "mobilenetv2 64 to block 12": partial(cut, "mobilenetv2", 64, "block_12_add"),
    "mobilenetv2 48 to block 12": partial(cut, "mobilenetv2", 48, "block_12_add"),
    "efficientnet_lite0 64": partial(network, "efficientnet_lite0", 64),
    "efficientnet_lite0 56": partial(network, "efficientnet_lite0", 56),
    "efficientnet_lite0 48": partial(network, "efficientnet_lite0", 48),
    "efficientnet_lite0 64 to block 14": partial(cut, "efficientnet_lite0", 64, "block14_sum"),
    "efficientnet_lite0 64 to block 12": partial(cut, "efficientnet_lite0", 64, "block12_sum"),
    "efficientnet_lite0 64 to block 7": partial(cut, "efficientnet_lite0", 64, "block7_sum"),
    **{
        f"efficientnet_lite0_short {size}": partial(
            network, "efficientnet_lite0_short", size, hidden=HIDDEN
        )
        for size in (72, 64, 56, 48, 40, 32)
    },
    "plain, stem 32 at stride 2": partial(
        sketch, plain, 32, 2, ((1, 32, 1), (1, 64, 2), (1, 128, 2))
    ),
    "depthwise, stem 32 at stride 2": partial(
        sketch, depthwise, 32, 2, ((2, 64, 1), (3, 128, 2), (2, 256, 2))
    ),
    "depthwise, stem 16 at stride 1": partial(
        sketch, depthwise, 16, 1, ((2, 64, 2), (3, 128, 2), (2, 256, 2))
    ),
    "inverted, stem 32 at stride 2": partial(
        sketch, inverted, 32, 2, ((2, 32, 1), (3, 48, 2), (3, 96, 2))
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--real-time", action="store_true")
    arguments = parser.parse_args()
    images = shipped.calibration_set().images(slice(64))
    costs, sessions = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, build in CANDIDATES.items():
            with capture_output(Path(os.devnull)):
                model = build()
                files = int8_files(model, images)
            costs[name] = {
                "multiply_accumulates": networks.multiply_accumulates(model),
                "parameters": model.count_params(),
            }
            for runtime, (suffix, content) in files.items():
                path = Path(folder, f"{len(costs)}{suffix}")
                path.write_bytes(content)
                sessions[name, runtime] = runtimes.open_classifier(path)
        load = os.getloadavg()[0]
        if arguments.real_time:  # from here on, because making the files takes minutes
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        times = taking_turns(sessions, images, arguments.rounds)
    result = {
        "machine": summary(),
        "load_average": round(load, 2),
        "real_time": arguments.real_time,
        "inferences_each": arguments.rounds * A_TURN,
        "networks": {
            name: cost | {runtime: figures(times, name, runtime) for runtime in files}
            for name, cost in costs.items()
        },
    }
    print(json.dumps(result, indent=2))


def int8_files(model: "keras.Model", images: np.ndarray) -> dict[str, tuple[str, bytes]]:
    """For each runtime, the suffix and the content of a model's int8 file."""
    model(images, training=True)
    graph, scaling = raw_pixels.split(tflite.float_tflite(model))
    graph = integer_forms.rewritten(graph)
    ranges = calibration.ranges(calibration.observe(graph, scaling(images)), "minmax")
    quantized = quantizer.quantize(graph, scaling, "int8", ranges)
    return {
        "litert": (".tflite", quantized),
        "onnxruntime": (".onnx", onnx.with_metadata(onnx.quantized_onnx(quantized, 1), "{}")),
    }


def taking_turns(sessions: dict, images: np.ndarray, rounds: int) -> dict:
    """Median milliseconds in each round; the first inference of a turn is not timed."""
    times: dict = {key: [] for key in sessions}
    for turn in range(rounds):
        time.sleep(REST_S)
        image = images[turn % len(images)][None]
        for key, session in sessions.items():
            session.classify(image)
            own = []
            for _ in range(A_TURN):
                started = time.perf_counter()
                session.classify(image)
                own.append(time.perf_counter() - started)
            times[key].append(1e3 * np.median(own))
    return times


def figures(times: dict, name: str, runtime: str) -> dict:
    """The median of the rounds, and of their ratios to the default in LiteRT, with quartiles."""
    own = np.array(times[name, runtime])
    ratios = own / times[DEFAULT, "litert"]
    return {
        "p50_ms": round(float(np.median(own)), 3),
        "share_of_default": round(float(np.median(ratios)), 3),
        "quartiles": [round(float(value), 3) for value in np.percentile(ratios, (25, 75))],
    }


if __name__ == "__main__":
    main()
