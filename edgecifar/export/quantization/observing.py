"""The tensors inside a TFLite file, image by image."""

import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.graphs.tflite import Graph, Tensor

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

# More threads would wait for one another on a shared processor, and add in another order.
THREADS = 1


def computed(graph: Graph) -> list[Tensor]:
    """The input of a graph, and what its operators make, in their order."""
    outputs = [output for operator in graph.operators for output in operator.outputs]
    return [*graph.inputs, *outputs]


def tensors(
    file: bytes, images: np.ndarray, names: Collection[str] | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Run a file, and give what its operators compute for each image.

    Args:
        file: a TFLite file of one input.
        images: in the input's dtype, shape (n, height, width, channels); each goes in by itself.
        names: the tensors that are wanted; all that `computed` finds by default.

    Yields:
        Arrays by tensor name, as the file has them, quantized or not.
    """
    indices = {
        tensor.name: tensor.index
        for tensor in computed(Graph(file))
        if names is None or tensor.name in names
    }
    with warnings.catch_warnings():
        # It warns of the memory that keeping all tensors takes: some MiB here.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = _interpreter(file, experimental_preserve_all_tensors=True)
    for _ in _runs(interpreter, images):
        yield {name: interpreter.get_tensor(index) for name, index in indices.items()}


def outputs(file: bytes, images: np.ndarray) -> np.ndarray:
    """Run a file as it is deployed, with nothing kept of what lies inside it.

    Args:
        file: a TFLite file of one input and one output.
        images: see `tensors`.

    Returns:
        The real values of the output, float32, shape (n, ...), quantized or not.
    """
    (output,) = Graph(file).outputs
    interpreter = _interpreter(file)
    rows = [interpreter.get_tensor(output.index)[0] for _ in _runs(interpreter, images)]
    return real(np.stack(rows), output.quantization)


def real(array: np.ndarray, quantization: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """The real values of a tensor, float32.

    Args:
        array: as an interpreter gives it.
        quantization: of the tensor, see `Tensor.quantization`.
    """
    if quantization is None:
        return array
    scale, zero_point = quantization
    return (array.astype(np.float32) - zero_point.astype(np.float32)) * scale


def _interpreter(file: bytes, **options: bool) -> "Interpreter":
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=THREADS, **options)
    interpreter.allocate_tensors()
    return interpreter


def _runs(interpreter: "Interpreter", images: np.ndarray) -> Iterator[None]:
    """Run images one by one; the tensors are there to be read after each."""
    (taken,) = interpreter.get_input_details()
    for image in images:
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        yield
