"""ONNX models run and looked into."""

from collections import Counter

import numpy as np
import onnxruntime
import small_graph
from onnx import numpy_helper

from edgecifar.graphs.tflite import Graph


def session(model, optimized=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model, images):
    opened = session(model)
    return np.concatenate([opened.run(None, {"image": image[None]})[0] for image in images])


def run_tflite(file, images):
    """As float32 probabilities."""
    given = small_graph.run(file, images)
    if given.dtype == np.float32:
        return given
    scale, zero_point = Graph(file).outputs[0].quantization
    return (given.astype(np.float32) - zero_point) * scale


def constants(model):
    return {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}


def counted(model):
    return Counter(node.op_type for node in model.graph.node)


def ends(model):
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    ]
