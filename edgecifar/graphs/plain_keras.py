"""Whether a Keras model can be rebuilt from its file alone: refuses by name what cannot."""

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgecifar.errors import UserError
from edgecifar.graphs.keras_files import KerasFile

if TYPE_CHECKING:
    import keras

MODELS = ("Functional", "InputLayer", "Model", "Sequential")
# Operations of TensorFlow that were called on the tensors of a Keras 2 model.
TENSORFLOW_OPERATIONS = ("SlicingOpLambda", "TFOpLambda", "TensorFlowOpLayer")


def check_is_plain(file: KerasFile) -> None:
    """Refuse by name what Keras would not open, or whose answers at inference are not fixed.

    Args:
        file: as `keras_files.read` gives it.

    Raises:
        UserError: it needs code that it does not hold, or a layer stays in training.
        ValueError: its config describes no model.
    """
    try:
        for layer, part in _parts(file.config, "the model"):
            _check_part(file, layer, part)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("its config describes no model") from error


def _check_part(file: KerasFile, layer: str, part: dict) -> None:
    path, kind = file.path, part["class_name"]
    name = kind if kind != "function" else part.get("config")
    if kind == "Lambda":
        raise UserError(
            f"{path}: {layer} holds Python code, which never runs from a checkpoint: "
            "build the model from Keras's own layers"
        )
    if kind in TENSORFLOW_OPERATIONS:
        raise UserError(
            f"{path}: {layer} is an operation of TensorFlow, which Keras 3 does not open: "
            "build the model from Keras's own layers"
        )
    if not _is_of_keras(file, layer, part):
        raise UserError(
            f"{path}: {layer} needs {name}, code from outside Keras, which a checkpoint does "
            "not hold: build the model from Keras's own layers"
        )
    if any(_trains(node) for node in part.get("inbound_nodes") or []) and _decides_by_training(
        kind
    ):
        raise UserError(
            f"{path}: {layer} is called with training=True, so its answer depends on chance or on "
            "the other images of the batch: build the model without it"
        )


def _is_of_keras(file: KerasFile, layer: str, part: dict) -> bool:
    module = part.get("module") or ""
    if module or not file.is_legacy:
        return f"{module}.".startswith(("keras.", "tf_keras."))
    # Most of Keras 2 wrote no modules. Of what it wrote beside layers, nothing counts at inference.
    is_layer = layer.endswith(f"({part['class_name']})") or layer == "the model"
    kind = part["class_name"]
    return not is_layer or kind in MODELS or _layer_class(kind) is not None


def _trains(node: object) -> bool:
    """Whether a call, as Keras 3 or Keras 2 writes it, has training=True among its arguments."""
    if isinstance(node, dict):
        return node.get("kwargs", {}).get("training") is True
    if not isinstance(node, list):
        return False
    if len(node) == 4 and isinstance(node[3], dict):
        return node[3].get("training") is True
    return any(_trains(one) for one in node)


def _decides_by_training(kind: str) -> bool:
    """Whether the user set training=True.

    Keras writes it for a layer whose call has that default: at inference such a layer gets
    training=False, and an augmentation then does nothing.
    """
    layer = _layer_class(kind)
    if layer is None:
        return True
    parameter = inspect.signature(layer.call).parameters.get("training")
    return parameter is not None and parameter.default is not True


def _layer_class(kind: str) -> "type[keras.Layer] | None":
    import keras

    found = getattr(keras.layers, kind, None)
    return found if isinstance(found, type) and issubclass(found, keras.layers.Layer) else None


def _parts(config: object, layer: str) -> Iterator[tuple[str, dict]]:
    """The objects that a model is made of, each with the layer that it belongs to."""
    if isinstance(config, list):
        for entry in config:
            yield from _parts(entry, layer)
    if not isinstance(config, dict):
        return
    # `__keras_tensor__` and its like are values, not objects of a class.
    if isinstance(config.get("class_name"), str) and not config["class_name"].startswith("__"):
        inner = config.get("config")
        if isinstance(inner, dict) and "name" in inner:
            layer = f"layer {inner['name']!r} ({config['class_name']})"
        yield layer, config
    for key, value in config.items():
        if key != "compile_config":  # the loss and the metrics are not loaded
            yield from _parts(value, layer)
