"""Names follow from the graph alone."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from onnx_runs import constants

import edgecifar
from edgecifar.export.tflite_to_onnx.converter import (
    float_onnx,
    quantized_onnx,
    with_metadata,
)

IN_ANOTHER_PROCESS = """
import hashlib, json, pathlib, sys
from edgecifar.export.tflite_to_onnx.converter import float_onnx, quantized_onnx, with_metadata
made = [(float_onnx, sys.argv[1]), (quantized_onnx, sys.argv[2])]
files = [with_metadata(make(pathlib.Path(path).read_bytes()), "text") for make, path in made]
print(json.dumps([hashlib.sha256(file).hexdigest() for file in files]))
"""


def test_nodes_and_constants_are_named_for_their_layers(float_file, int8_model):
    model = float_onnx(float_file)
    names = [node.name for node in model.graph.node]
    assert {"first", "first_clip", "depthwise", "second", "probabilities"} <= set(names)
    assert {"first.weight", "first.bias"} <= constants(model).keys()
    assert {"first_quantized", "first_dequantized"} <= {node.name for node in int8_model.graph.node}
    for named in (model, int8_model):
        nodes = [node.name for node in named.graph.node]
        assert len(set(nodes)) == len(nodes)
        assert not any("__" in name or ":" in name for name in [*nodes, *constants(named)])


def test_the_same_file_gives_the_same_bytes_whatever_was_converted_before(
    float_file, int8_file, tmp_path
):
    here = [
        hashlib.sha256(with_metadata(make(file), "text")).hexdigest()
        for make, file in ((float_onnx, float_file), (quantized_onnx, int8_file))
    ]
    paths = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    for path, file in zip(paths, (float_file, int8_file), strict=True):
        path.write_bytes(file)
    there = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, *paths],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        cwd=Path(edgecifar.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(there.stdout.splitlines()[-1]) == here
