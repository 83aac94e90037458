"""Latency of a checkpoint's convolutions, each alone, int8 against float32, in LiteRT.

One thread, batch 1; the two files of a layer take turns in blocks. Ranges are random: the outputs
mean nothing, the times do. Usage: python benchmarks/int8_by_layer.py CHECKPOINT
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
BLOCKS, BLOCK = 20, 50


def main(checkpoint: str) -> None:
    from edgecifar.export.capture_output import capture_output
    from edgecifar.models.keras_loader import load_keras

    keras = load_keras()
    model = keras.saving.load_model(checkpoint, compile=False)
    print(f"{'layer':28s}{'input':>16s}{'int8 us':>10s}{'float us':>10s}{'ratio':>8s}")
    seen = set()
    for layer in model.layers:
        if not isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            continue
        shape = layer.input.shape[1:]
        kind = (type(layer), shape, layer.output.shape)
        if kind in seen:
            continue
        seen.add(kind)
        inputs = keras.Input(shape)
        alone = keras.Model(inputs, layer(inputs))
        with capture_output(Path(os.devnull)):
            files = [convert(alone, int8=True), convert(alone, int8=False)]
        int8, float32 = medians(files)
        size = "x".join(map(str, shape))
        print(f"{layer.name:28s}{size:>16s}{int8:10.1f}{float32:10.1f}{int8 / float32:8.2f}")


def convert(model, int8: bool) -> bytes:
    """A one-layer model as TFLite, with int8 or float32 input and output."""
    import tensorflow as tf

    shape = (1, *model.input.shape[1:])
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False, input_signature=[tf.TensorSpec(shape, tf.float32)])
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [random.random(shape, np.float32)] for _ in range(4)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        return converter.convert()


def medians(files: list[bytes]) -> list[float]:
    """Median microseconds of an invocation of each file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreters = [Interpreter(model_content=file, num_threads=1) for file in files]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
    times = [[] for _ in files]
    for _ in range(BLOCKS):
        for interpreter, own in zip(interpreters, times, strict=True):
            for _ in range(BLOCK):
                start = time.perf_counter_ns()
                interpreter.invoke()
                own.append(time.perf_counter_ns() - start)
    return [float(np.median(own)) / 1000 for own in times]


if __name__ == "__main__":
    main(sys.argv[1])
