"""The tensors inside a TFLite file, image by image."""

import warnings
from collections.abc import Collection, Iterator

import numpy as np

from edgecifar.graphs.tflite import Graph, Tensor

# More would wait for one another wherever the processor is shared, and add up in another order.
THREADS = 1


def computed(graph: Graph) -> list[Tensor]:
    """The input of a graph, and what its operators make, in their order."""
    outputs = [output for operator in graph.operators for output in operator.outputs]
    return [*graph.inputs, *outputs]


def tensors(
    file: bytes, images: np.ndarray, names: Collection[str] | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Run a file, and hand out what its operators make of each image.

    Args:
        file: a TFLite file of one input.
        images: in the input's dtype, shape (n, height, width, channels); each goes in by itself.
        names: the tensors that are wanted; all that `computed` finds by default.

    Yields:
        Arrays by tensor name, as the file has them, quantized or not.
    """
    from ai_edge_litert.interpreter import Interpreter

    indices = {
        tensor.name: tensor.index
        for tensor in computed(Graph(file))
        if names is None or tensor.name in names
    }
    with warnings.catch_warnings():
        # It warns of the memory that keeping all tensors takes: some MiB here.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = Interpreter(
            model_content=file, num_threads=THREADS, experimental_preserve_all_tensors=True
        )
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    for image in images:
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        yield {name: interpreter.get_tensor(index) for name, index in indices.items()}
