"""What can be said of a model file without running it: TFLite, ONNX and Keras, of any origin."""

import contextlib
import dataclasses
import importlib.util
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import UserError, first_line
from edgecifar.graphs import METADATA, RESIZING, keras_files, keras_models, kinds, products
from edgecifar.graphs.kinds import Kind
from edgecifar.graphs.onnx_header import Header, check_onnx
from edgecifar.graphs.parts import size_bytes

if TYPE_CHECKING:
    import keras

    from edgecifar.graphs.onnx import Graph as OnnxGraph
    from edgecifar.graphs.products import Product
    from edgecifar.graphs.tflite import Graph as TfliteGraph
    from edgecifar.graphs.tflite import Tensor

TFLITE, ONNX, KERAS = "TFLite", "ONNX", "Keras"
MINIMUM_RUNTIME = "min_runtime_version"
FLEX = "Flex"
# By operator, the inputs that are settings of it, scales and zero points among them: no weights.
ONNX_SETTINGS = {
    "Clip": {1, 2},
    "ConvInteger": {2, 3},
    "DequantizeLinear": {1, 2},
    "DynamicQuantizeMatMul": {2, 3},
    "MatMulInteger": {2, 3},
    "MatMulIntegerToFloat": {2, 3, 4, 5},
    "Pad": {1, 2, 3},
    "QGemm": {1, 2, 4, 5, 7, 8},
    "QLinearAdd": {1, 2, 4, 5, 6, 7},
    "QLinearConv": {1, 2, 4, 5, 6, 7},
    "QLinearMatMul": {1, 2, 4, 5, 6, 7},
    "QLinearMul": {1, 2, 4, 5, 6, 7},
    "QuantizeLinear": {1, 2},
    "Resize": {1, 2, 3},
    "Upsample": {1},
}
# The inputs that are weights and biases even as integers.
ONNX_QUANTIZED = {
    "ConvInteger": {1},
    "DequantizeLinear": {0},
    "DynamicQuantizeMatMul": {1},
    "MatMulInteger": {1},
    "MatMulIntegerToFloat": {1},
    "QGemm": {3, 6},
    "QLinearAdd": {3},
    "QLinearConv": {3, 8},
    "QLinearMatMul": {0, 3},
    "QLinearMul": {3},
}


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Attributes:
        name: as the file has it.
        dtype: as NumPy writes it.
        shape: its sides, None for an open one; None where the file does not say how many.
        scale: of one integer step; None of floats, and where the file does not say.
        zero_point: the integer that stands for 0.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    scale: float | None = None
    zero_point: int | None = None

    @property
    def shape_text(self) -> str:
        """For people: `(any, 32, 32, 3)`."""
        if self.shape is None:
            return "of any shape"
        return f"({', '.join('any' if side is None else str(side) for side in self.shape)})"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a model file is.

    Attributes:
        format: `TFLite`, `ONNX` or `Keras`.
        version: of the format: `schema` and `minimum_runtime` (None where it does not say) of
            TFLite; `opset`, `ir` and `domains` (other operators' names to their versions) of ONNX;
            `kind`, ".keras file" for example, and `keras` (None where it does not say) of Keras.
        producer: what made it, as it says itself; empty where it does not.
        size_bytes: of the file, with the files beside it that hold weights of it.
        inputs: what a caller sets.
        outputs: what a caller gets.
        operators: how many of each, those of the main graph. A name is followed by `(custom)`,
            `(Flex)` or its domain where the operator is not of the format's own set.
        parameters: values of weights and biases; what is held once counts once. Shapes, axes,
            scales and other single numbers are none.
        multiply_accumulates: of one inference, an open batch counted as 1 and a fixed one as it
            is; None where a shape is open or not known.
        integer_share: the part of them that multiplies integers; None where they are not known,
            or are none.
        dtypes: how many tensors there are of each.
        precision: float32, float16, dynamic (float activations, integer weights), int8, int16x8,
            or mixed; None where it is not known.
        metadata: what travels in the file, by name: texts, and the number of bytes of blobs;
            edgecifar's own is a dict.
        needs: the package without which the multiply-accumulates, the precision and the dtypes of
            all but inputs, outputs and constants are not known; None where nothing is missing.
    """

    format: str
    version: dict
    producer: str
    size_bytes: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: Counter[str]
    parameters: int
    multiply_accumulates: int | None
    integer_share: float | None
    dtypes: Counter[str]
    precision: str | None
    metadata: dict
    needs: str | None = None

    def as_dict(self) -> dict:
        """As plain values for JSON; operators and dtypes from the most frequent on."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("inputs", "outputs"):
            plain[name] = [dataclasses.asdict(port) for port in plain[name]]
        for name in ("operators", "dtypes"):
            plain[name] = dict(plain[name].most_common())
        return plain


def of(path: Path) -> Facts:
    """Read what a model file is.

    Args:
        path: a TFLite file, an ONNX file, or what `keras_models.open_model` opens.

    Raises:
        UserError: there is none, it is empty, damaged or of another kind, or it is of Keras and
            Keras is not installed.
    """
    path = Path(path)
    kind = kinds.of(path)
    if path.is_file() and not path.stat().st_size:
        raise UserError(f"{path}: is empty: export it again")
    if kind is None:
        raise UserError(
            f"{path}: is not a model file that edgecifar can read: give a .tflite, .onnx, .keras "
            "or .h5 file, or a SavedModel folder"
        )
    kinds.refuse_others(path, kinds.TFLITE, kinds.ONNX, *kinds.OPENED_BY_KERAS)
    try:
        if kind is kinds.TFLITE:
            return of_tflite(path.read_bytes())
        return _of_onnx(path) if kind is kinds.ONNX else _of_keras(path)
    except UserError as error:
        text = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: {text}") from error
    except Exception as error:  # numbers that a damaged file makes up raise anything
        reason = first_line(error)
        raise UserError(
            f"{path}: cannot be opened as {_format_of(kind)}, it may be damaged: {reason}"
        ) from error


def _format_of(kind: Kind) -> str:
    return {kinds.TFLITE: TFLITE, kinds.ONNX: ONNX}.get(kind, KERAS)


def of_tflite(file: bytes) -> Facts:
    """Read what the bytes of a TFLite file are.

    Raises:
        Exception: of any kind, where they are damaged.
    """
    from edgecifar.graphs.tflite import Graph

    graph = Graph(file)
    tensors = list(graph.tensors)
    minimum = graph.metadata.get(MINIMUM_RUNTIME, b"").rstrip(b"\0").decode(errors="replace")
    description = graph.model.description or b""
    return Facts(
        format=TFLITE,
        version={"schema": graph.model.version, "minimum_runtime": minimum or None},
        producer=description.decode(errors="replace"),
        size_bytes=len(file),
        inputs=tuple(map(_tflite_port, graph.inputs)),
        outputs=tuple(map(_tflite_port, graph.outputs)),
        operators=Counter(
            operator.name
            if not operator.custom
            else f"{operator.name} ({FLEX if operator.name.startswith(FLEX) else 'custom'})"
            for operator in graph.operators
        ),
        parameters=_tflite_parameters(graph, tensors),
        **_costs(products.of_tflite(graph), (tensor.dtype for tensor in tensors)),
        dtypes=Counter(tensor.dtype for tensor in tensors),
        metadata=_readable(graph.metadata),
    )


def _tflite_port(tensor: "Tensor") -> Port:
    signature = tensor.raw.shapeSignature
    sides = tensor.shape if signature is None or len(signature) == 0 else signature
    shape = tuple(None if side < 0 else int(side) for side in sides)
    known = tensor.quantization
    if known is None or len(known[0]) != 1:
        return Port(tensor.name, tensor.dtype, shape)
    scales, zero_points = known
    zero_point = int(zero_points[0]) if len(zero_points) else 0
    return Port(tensor.name, tensor.dtype, shape, float(scales[0]), zero_point)


def _tflite_parameters(graph: "TfliteGraph", tensors: list["Tensor"]) -> int:
    """Values of floats, and of integers with a scale, that are held once each."""
    in_products = {
        tensor.index
        for operator in graph.operators
        if operator.name in products.TFLITE
        for tensor in operator.inputs
        if tensor is not None
    }
    weights = {}
    for tensor in tensors:
        data = graph.model.buffers[tensor.raw.buffer].data
        if data is None or len(data) == 0:
            continue
        _check_length(tensor, len(data))
        values = math.prod(tensor.shape)
        is_setting = values == 1 and tensor.index not in in_products
        is_real = tensor.dtype in products.FLOATS or tensor.quantization is not None
        if is_real and not is_setting:
            weights[tensor.raw.buffer] = values
    return sum(weights.values())


def _check_length(tensor: "Tensor", length: int) -> None:
    """A damaged shape would be counted otherwise."""
    values = tensor.constant if tensor.raw.sparsity is None else None
    if values is None and any(side < 0 or side > 8 * length for side in tensor.shape):
        raise ValueError(f"{tensor.name} is of shape {tensor.shape}, and has {length} bytes")


def _of_onnx(path: Path) -> Facts:
    from edgecifar.graphs.onnx import OWN_DOMAINS, Graph, operator_name

    file = path.read_bytes()
    header = Header(file)
    graph: OnnxGraph | Header = header
    check_onnx(path)
    found: dict = {"multiply_accumulates": None, "integer_share": None, "precision": None}
    needs: str | None = "onnx"
    names = [*header.inputs, *header.constants, *header.outputs]
    if importlib.util.find_spec("onnx"):
        graph, needs = Graph(file), None
        names = list(graph.tensors)
    dtypes = Counter(graph.dtype(name) or products.UNKNOWN for name in names)
    if isinstance(graph, Graph):
        found = _costs(products.of_onnx(graph), dtypes)
    own = [version for domain, version in header.opsets.items() if domain in OWN_DOMAINS]
    others = {k: version for k, version in header.opsets.items() if k not in OWN_DOMAINS}
    return Facts(
        format=ONNX,
        version={"opset": max(own, default=None), "ir": header.ir_version, "domains": others},
        producer=header.producer,
        size_bytes=size_bytes(path),
        inputs=tuple(_onnx_port(graph, name) for name in graph.inputs),
        outputs=tuple(_onnx_port(graph, name) for name in graph.outputs),
        operators=Counter(operator_name(node) for node in graph.nodes),
        parameters=_onnx_parameters(graph),
        **found,
        dtypes=dtypes,
        metadata=_readable(header.metadata),
        needs=needs,
    )


def _onnx_port(graph: "OnnxGraph | Header", name: str) -> Port:
    dtype = graph.dtype(name) or products.UNKNOWN
    known = None
    if dtype in products.INTEGERS and not isinstance(graph, Header):
        known = graph.quantization(name)
    return Port(name, dtype, graph.shape(name), *(known or ()))


def _onnx_parameters(graph: "OnnxGraph | Header") -> int:
    weights = set()
    for node in graph.nodes:
        if node.doc_string == RESIZING:
            continue
        for slot, name in enumerate(node.input):
            if name not in graph.constants or slot in ONNX_SETTINGS.get(node.op_type, ()):
                continue
            is_float = graph.dtype(name) in products.FLOATS
            is_setting = graph.size(name) == 1 and node.op_type not in products.ONNX
            if not is_setting and (is_float or slot in ONNX_QUANTIZED.get(node.op_type, ())):
                weights.add(name)
    return sum(graph.size(name) or 0 for name in weights)


def _of_keras(path: Path) -> Facts:
    model, file = keras_models.open_model(path), keras_files.read(path)
    layers = list(_leaves(model))
    weights = [variable for layer in layers for variable in layer.weights]
    counts = [_keras_multiply_accumulates(layer) for layer in layers]
    known = [count for count in counts if count is not None]
    is_complete = len(known) == len(counts)
    version = f" {file.version}" if file.version else ""
    return Facts(
        format=KERAS,
        version={"kind": file.kind.text, "keras": file.version},
        producer=f"Keras{version}",
        size_bytes=size_bytes(path),
        inputs=tuple(map(_keras_port, model.inputs or ())),
        outputs=tuple(map(_keras_port, model.outputs or ())),
        operators=Counter(type(layer).__name__ for layer in layers),
        parameters=model.count_params(),
        multiply_accumulates=sum(known) if is_complete else None,
        integer_share=0.0 if is_complete and any(known) else None,
        dtypes=Counter(variable.dtype for variable in weights),
        precision=_precision_of({variable.dtype for variable in weights}),
        metadata={},
    )


def _leaves(model: "keras.Model") -> Iterable["keras.Layer"]:
    """The layers that are not models, also those inside models."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer


def _keras_multiply_accumulates(layer: "keras.Layer") -> int | None:
    """Of one image, as `models.networks.multiply_accumulates` counts them.

    None of a layer whose kernel works in another way than those of convolutions and dense layers.
    """
    kernels = [variable.shape for variable in layer.weights if "kernel" in variable.name]
    sides = layer.output.shape[1:-1] if kernels else ()
    known = type(layer).__name__ in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense")
    if kernels and (not known or None in sides):
        return None
    return sum(math.prod(kernel) * math.prod(sides) for kernel in kernels)


def _keras_port(symbol: "keras.KerasTensor") -> Port:
    return Port(symbol.name, symbol.dtype, tuple(symbol.shape))


def _costs(found: list["Product"], dtypes: Iterable[str]) -> dict:
    """Multiply-accumulates, the share of them on integers, and the precision in a word."""
    counts = [product.multiply_accumulates for product in found]
    known = [count for count in counts if count is not None]
    total = sum(known) if len(known) == len(counts) else None
    on_integers = sum(product.multiply_accumulates or 0 for product in found if product.on_integers)
    precisions = {product.precision for product in found}
    return {
        "multiply_accumulates": total,
        "integer_share": on_integers / total if total else None,
        "precision": _one_of(precisions) if precisions else _precision_of(set(dtypes)),
    }


def _precision_of(dtypes: set[str]) -> str:
    """Of what multiplies no matrices in its graph, by its tensors."""
    names = {"float32": "float32", "float16": "float16", "int8": "int8", "uint8": "int8"}
    return _one_of({names[dtype] for dtype in dtypes if dtype in names})


def _one_of(precisions: set[str]) -> str:
    return precisions.pop() if len(precisions) == 1 else "mixed"


def _readable(metadata: Mapping[str, bytes | str]) -> dict:
    readable: dict[str, object] = {
        name: _text_or_size(content) for name, content in metadata.items()
    }
    own = readable.get(METADATA)
    if isinstance(own, str):
        with contextlib.suppress(ValueError):  # not edgecifar's, or damaged: it stays text
            readable[METADATA] = json.loads(own)
    return readable


def _text_or_size(content: bytes | str) -> str | int:
    if isinstance(content, str):
        return content
    try:
        text = content.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return len(content)
    return text if text.isprintable() or text.isspace() or "\n" in text else len(content)
