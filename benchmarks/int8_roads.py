"""Every road from one checkpoint to an int8 file, side by side: what it costs, keeps and gains.

The roads: edgecifar's TFLite and ONNX files; TensorFlow's converter, fed the same images; and for
ONNX the one that the documentation shows, Keras's own export and `quantize_static` as it comes.
Latencies are of one image, one thread, in one process, in turns of a few inferences. Agreement,
divergence and top-1 are on the shipped training images that calibrate nothing.

    python benchmarks/int8_roads.py [CHECKPOINT] [--rounds 200]
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from edgecifar import runtimes
from edgecifar.data import shipped
from edgecifar.export.capture_output import capture_output
from edgecifar.export.checkpoint import SHIPPED, open_checkpoint
from edgecifar.export.conversion import convert
from edgecifar.export.quantization.calibration import calibration_images, judging_rows
from edgecifar.export.settings import INT8
from edgecifar.hardware import summary
from edgecifar.metrics.divergence import kl_divergences
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras

A_TURN = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    checkpoint = open_checkpoint(arguments.checkpoint)
    model = checkpoint.model
    with tempfile.TemporaryDirectory() as folder:
        with capture_output(Path(os.devnull)):
            made = make_files(checkpoint, Path(folder))
        data = shipped.calibration_set()
        rows = judging_rows()
        images, labels = data.images(rows), data.labels[rows]
        expected = model.predict(images, verbose=0)
        sessions = {name: runtimes.open_classifier(path) for name, (path, _) in made.items()}
        found = {name: session.classify(images) for name, session in sessions.items()}
        times = taking_turns(sessions, images, arguments.rounds)
        p50 = {name: statistics.median(values) for name, values in times.items()}
        sizes = {name: path.stat().st_size for name, (path, _) in made.items()}
    result = {
        "machine": summary(),
        "checkpoint_sha256": checkpoint.sha256,
        "judged_on": len(images),
        "inferences_each": arguments.rounds * A_TURN,
        "roads": {
            name: {
                "made_in_s": round(made[name][1], 2),
                "size_bytes": sizes[name],
                "p50_ms": round(1e3 * p50[name], 4),
                "agreement": round(float(np.mean(p.argmax(1) == expected.argmax(1))), 4),
                "kl_divergence": float(f"{kl_divergences(expected, p).mean():.3g}"),
                "top1": round(float(np.mean(p.argmax(1) == labels)), 4),
            }
            for name, p in found.items()
        },
        "ratios_of_p50": {
            f"{over} / {under}": round(p50[over] / p50[under], 3)
            for over, under in (
                ("TFLite int8", "TFLite float32"),
                ("TFLite int8", "TFLite int8, TensorFlow's converter"),
                ("ONNX int8", "ONNX float32"),
                ("ONNX int8", "TFLite int8"),
                ("ONNX int8", "ONNX int8, the documented road"),
            )
        },
        "ratios_of_size": {
            form: round(sizes[f"{form} int8"] / sizes[f"{form} float32"], 3)
            for form in ("TFLite", "ONNX")
        },
    }
    print(json.dumps(result, indent=2))


def make_files(checkpoint, folder: Path) -> dict[str, tuple[Path, float]]:
    """Each road's file, and the seconds that it took."""
    made = {}
    started = time.perf_counter()
    conversion = convert(checkpoint, INT8)
    seconds = time.perf_counter() - started
    for file in conversion.files:
        form = "TFLite" if file.name.endswith(".tflite") else "ONNX"
        path = folder / file.name
        path.write_bytes(file.with_metadata("{}"))
        made[f"{form} {file.precision}"] = path, seconds
    for name, road in (
        ("TFLite int8, TensorFlow's converter", by_tensorflow),
        ("ONNX int8, the documented road", as_documented),
    ):
        started = time.perf_counter()
        path = road(checkpoint.model, folder)
        made[name] = path, time.perf_counter() - started
    return made


def by_tensorflow(model, folder: Path) -> Path:
    """TensorFlow's converter with its representative data set: uint8 in, uint8 out."""
    import tensorflow as tf

    keras = load_keras()
    after_scaling = keras.Model(model.get_layer(contract.SCALE).output, model.output)
    converter = tf.lite.TFLiteConverter.from_keras_model(after_scaling)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    images = (calibration_images() / 127.5 - 1).astype(np.float32)
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    path = folder / "tensorflow.tflite"
    path.write_bytes(converter.convert())
    return path


def as_documented(model, folder: Path) -> Path:
    """Keras's ONNX export, and ONNX Runtime's static quantization with its defaults."""
    from onnxruntime.quantization import quantize_static

    source, path = folder / "keras.onnx", folder / "documented.onnx"
    keras = load_keras()
    static = keras.Model(model.input, model.output)
    static(calibration_images()[:1])  # Keras exports no model that was never called
    static.export(str(source), format="onnx", verbose=False)

    class Reader:
        images = iter(calibration_images())

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {contract.INPUT: image[None]}

    quantize_static(source, path, Reader())
    return path


def taking_turns(sessions: dict, images: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Seconds of each inference; a round gives each session a few, after one that is not timed."""
    times = {name: [] for name in sessions}
    for turn in range(rounds):
        image = images[turn % len(images)][None]
        for name, session in sessions.items():
            session.classify(image)
            for _ in range(A_TURN):
                started = time.perf_counter()
                session.classify(image)
                times[name].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
