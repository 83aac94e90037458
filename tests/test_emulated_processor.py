"""Int8 ONNX files on an x86-64 processor without VNNI, whatever this one is: QEMU emulates it.

Its 8-bit products are added in 16 bits and saturate, see `edgecifar.graphs.overflow`.
"""

import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_graphs

from edgecifar import runtimes
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings
from edgecifar.data import shipped
from edgecifar.export.tflite_to_onnx.converter import quantized_onnx
from edgecifar.runtimes import environments

EXPORTED = Path(__file__).parents[1] / "exported"
IMAGES = 30
CLASSIFY = """
import sys
import numpy as np
from pathlib import Path
from edgecifar import runtimes
model, images, answers = sys.argv[1:]
classifier = runtimes.open_classifier(Path(model), runtime=runtimes.named("onnxruntime"))
np.save(answers, classifier.classify(np.load(images)))
"""


@pytest.fixture(scope="module")
def haswell(tmp_path_factory) -> Path:
    """A Python that runs on an emulated Haswell: AVX2, and neither AVX-512 nor VNNI."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip("needs qemu-x86_64 (Debian's qemu-user) on an x86-64 machine")
    script = tmp_path_factory.mktemp("haswell") / "python"
    # QEMU warns of each instruction set that it does not emulate, once a CPU.
    emulated = shlex.join([emulator, "-cpu", "Haswell", sys.executable])
    script.write_text(f'#!/bin/sh\nexec {emulated} "$@"\n')
    script.chmod(0o755)
    return script


def answers_on(python: Path, model: Path, folder: Path, images: np.ndarray) -> np.ndarray:
    taken, given = folder / "images.npy", folder / "answers.npy"
    np.save(taken, images)
    command = [python, "-c", CLASSIFY, model, taken, given]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    return np.load(given)


def small_onnx(folder: Path) -> Path:
    """The ONNX form of a small int8 file that ships."""
    path = folder / "small.onnx"
    tflite = (EXPORTED / "zoo" / "cnn" / "model.tflite").read_bytes()
    path.write_bytes(quantized_onnx(tflite).SerializeToString())
    return path


@pytest.mark.parametrize("name", ["model", "small"])
def test_the_classes_are_those_of_litert(name, haswell, tmp_path):
    images = shipped.test_set().images(slice(IMAGES))
    if name == "small":
        tflite, onnx = EXPORTED / "zoo" / "cnn" / "model.tflite", small_onnx(tmp_path)
    else:
        tflite, onnx = EXPORTED / "model.tflite", EXPORTED / "model.onnx"
    expected = runtimes.open_classifier(tflite).classify(images)
    found = answers_on(haswell, onnx, tmp_path, images)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(found - expected).max() < 0.05


def test_the_bench_marks_a_file_whose_weights_overflow_there(haswell, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "pythons", lambda: {"onnxruntime": str(haswell)})
    models = [tmp_path / "overflows.onnx", tmp_path / "safe.onnx"]
    models[0].write_bytes(tiny_graphs.onnx("int8", reduce_range=False))
    models[1].write_bytes(tiny_graphs.onnx("int8"))
    result = bench(models, ["onnxruntime"], BenchSettings(samples=20, max_seconds=0.2))
    overflowing, safe = result["rows"]
    assert overflowing["error"] is None
    assert "overflow" in overflowing["marks"]
    assert overflowing["overflow"]["images"] == 200
    assert overflowing["overflow"]["agreement"] < 0.95
    assert "its int8 weights overflow on this processor: onnxruntime" in overflowing["warning"]
    assert "overflow" not in safe["marks"]
    assert safe["overflow"] is None  # its integers alone tell: nothing was compared
