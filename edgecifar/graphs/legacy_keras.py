"""Rebuilds a model of Keras 2 in Keras 3, from its config and its weights.

Keras 3 opens almost no file of Keras 2: its layers take fewer arguments, and the weights are stored
in other places. No code from a file runs here: neither Lambda layers nor the graph of a SavedModel.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecifar.errors import UserError
from edgecifar.graphs import kinds
from edgecifar.graphs.keras_files import ROOT, WEIGHTS, KerasFile
from edgecifar.graphs.protobuf import as_integer, as_message, as_text, fields

if TYPE_CHECKING:
    import h5py
    import keras

MODELS = ("Functional", "Model", "Sequential")
# Arguments that do not affect inference, and those for which Keras 3 has one way only.
NOT_FOR_INFERENCE = re.compile(r".*_(initializer|regularizer|constraint)")
DROPPED = {
    "batch_input_shape", "force_generator", "fused", "implementation", "input_dtype", "ragged",
    "renorm", "renorm_clipping", "renorm_momentum", "rng_type", "sparse", "virtual_batch_size",
}  # fmt: skip
# In the groups of a `.keras` archive: until Keras 2.14, and from 2.15 on.
CONTAINERS = ("_layer_checkpoint_dependencies", "layers")
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# What a layer of Keras 3 calls `kernel`, where Keras 2 has another name.
KERNELS = ("kernel", "depthwise_kernel")
# State of the random layers, of which Keras 3 keeps none among the weights.
RANDOM_STATE = ("StateVar", "seed_generator")


def open_legacy(file: KerasFile) -> "keras.Model":
    """Rebuild a model of Keras 2 in Keras 3.

    Args:
        file: which `plain_keras.check_is_plain` accepts.

    Returns:
        The model, not compiled, with the file's weights.

    Raises:
        UserError: its weights are not those of its layers.
        Exception: of any kind, where Keras 3 does not take its config or it is damaged.
    """
    config = _modern(file.config)
    model = _built(config)
    try:
        if file.kind is kinds.KERAS_H5:
            _assign_h5(file, model, config)
        elif file.kind is kinds.SAVED_MODEL:
            _assign_saved_model(file, model, config)
        else:
            _assign_archive(file, model, config)
    except _Misfit as misfit:
        raise UserError(
            f"{file.path}: layer {misfit.layer!r} takes weights of the shapes {misfit.taken}, and "
            f"the file holds {misfit.held}: save it again with the Keras that wrote it, "
            "model.save('model.h5'), or build it in Keras 3 and load the weights there"
        ) from misfit
    for _, layer in _leaves(model, config):
        if hasattr(layer, "finalize_state"):  # Normalization computes with what this derives
            layer.finalize_state()
    return model


class _Misfit(Exception):
    """A layer's weights are not those of the file."""

    def __init__(self, layer: str, taken: list, held: list) -> None:
        self.layer, self.taken, self.held = layer, taken, held


def _modern(entry: dict) -> dict:
    """A layer or model as Keras 2 writes it, in the words of Keras 3."""
    config = _plain(entry["config"])
    if entry["class_name"] == "Sequential" and isinstance(config, list):  # before Keras 2.2.3
        config = {"name": "sequential", "layers": config}
    if entry["class_name"] in MODELS:
        layers = [_modern(layer) for layer in config["layers"]]
        _count_calls_from_0(layers)
        if entry["class_name"] == "Sequential":
            layers = [*_input_layer(config["layers"]), *layers]
        # A list of one tensor would be a list in Keras 3 too.
        ends = {key: config[key] for key in ("input_layers", "output_layers") if key in config}
        ends = {key: held[0] if len(held) == 1 else held for key, held in ends.items()}
        kept = {key: config[key] for key in ("name", "trainable") if key in config}
        config = kept | ends | {"layers": layers}
    else:
        if entry["class_name"] == "InputLayer":
            config["batch_shape"] = config.pop("batch_input_shape", None)
        if isinstance(config.get("layer"), dict):
            config["layer"] = _modern(config["layer"])
        if isinstance(config.get("dtype"), dict):  # a policy
            config["dtype"] = config["dtype"]["config"]["name"]
        if config.get("groups") == 1:  # the default; depthwise layers do not take it
            del config["groups"]
        # Without these, Keras 3 sets what counts at inference as Keras 2 does.
        config = {
            key: value
            for key, value in config.items()
            if not NOT_FOR_INFERENCE.fullmatch(key) and key not in DROPPED
        }
    others = ("class_name", "name", "inbound_nodes")
    return {key: _plain(entry[key]) for key in others if key in entry} | {"config": config}


def _count_calls_from_0(layers: list[dict]) -> None:
    """Count the calls of a Sequential model inside a model as Keras 3 does.

    In Keras 2 a model with an input is called by its own making first; of other models Keras 3
    knows that itself.
    """
    calls = [call for layer in layers for call in _calls(layer.get("inbound_nodes"))]
    for name in (layer["name"] for layer in layers if layer["class_name"] == "Sequential"):
        own = [call for call in calls if call[0] == name]
        if own and min(call[1] for call in own) > 0:
            for call in own:
                call[1] -= 1


def _calls(node: object) -> Iterator[list]:
    """What a layer's inbound nodes take: lists of a layer's name, call and output number."""
    if not isinstance(node, list):
        return
    if len(node) in (3, 4) and isinstance(node[0], str) and isinstance(node[1], int):
        yield node
    for held in node:
        yield from _calls(held)


def _plain(value: Any) -> Any:
    """The same without the tuples that Keras 2 writes as objects; a copy."""
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__":
            return _plain(value["items"])
        return {key: _plain(held) for key, held in value.items()}
    return [_plain(held) for held in value] if isinstance(value, list) else value


def _input_layer(layers: list[dict]) -> Iterator[dict]:
    """The input of a Sequential model, where only the first layer knows its shape."""
    if not layers or layers[0]["class_name"] in ("InputLayer", *MODELS):
        return
    if shape := layers[0]["config"].get("batch_input_shape"):
        taken = {"batch_shape": shape, "dtype": "float32", "name": "input"}
        yield {"class_name": "InputLayer", "config": taken}


def _built(config: dict) -> "keras.Model":
    import keras

    made = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
    return made.from_config(_plain(config["config"]))


def _leaves(model: "keras.Model", config: dict) -> Iterator[tuple[str, "keras.Layer"]]:
    """The layers that are not models, in the order of the config, each with its path."""
    for entry in config["config"]["layers"]:
        name = entry["config"]["name"]
        if entry["class_name"] == "InputLayer":
            continue
        layer = model.get_layer(name)
        if entry["class_name"] in MODELS:
            yield from ((f"{name}/{inner}", leaf) for inner, leaf in _leaves(layer, entry))
        else:
            yield name, layer


def _assign(layer: str, variables: list["keras.Variable"], values: list[np.ndarray]) -> None:
    taken = [tuple(variable.shape) for variable in variables]
    held = [tuple(value.shape) for value in values]
    if taken != held:
        raise _Misfit(layer, taken, held)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _assign_h5(file: KerasFile, model: "keras.Model", config: dict) -> None:
    """From the group of each layer; that of a nested model holds all its weights in a row."""
    import h5py

    with h5py.File(file.path) as opened:
        groups = opened["model_weights"]
        for entry in config["config"]["layers"]:
            name = entry["config"]["name"]
            if name not in groups:
                continue  # an input
            group = groups[name]
            names = [_name(found) for found in group.attrs.get("weight_names", [])]
            values = [group[found][()] for found in names if not _is_random_state(found)]
            layers = [model.get_layer(name)] if entry["class_name"] != "InputLayer" else []
            if entry["class_name"] in MODELS:
                layers = [leaf for _, leaf in _leaves(layers[0], entry)]
            variables = [v for layer in layers for v in layer.trainable_weights]
            variables += [v for layer in layers for v in layer.non_trainable_weights]
            _assign(name, variables, values)


def _name(found: "bytes | str") -> str:
    return found.decode() if isinstance(found, bytes) else found


def _is_random_state(name: str) -> bool:
    return any(state in name for state in RANDOM_STATE)


def _assign_archive(file: KerasFile, model: "keras.Model", config: dict) -> None:
    """From `model.weights.h5`, whose groups are called after the classes of the layers."""
    import h5py

    with zipfile.ZipFile(file.path) as archive:
        content = io.BytesIO(archive.read(WEIGHTS))
    with h5py.File(content) as opened:
        _assign_group(opened, model, config)


def _assign_group(group: "h5py.Group", model: "keras.Model", config: dict) -> None:
    """Layers of one class come in order; a number is missing where a layer was counted twice."""
    empty: Mapping[str, h5py.Group] = {}
    container = next((group[name] for name in CONTAINERS if name in group), empty)
    by_class: dict[str, list[h5py.Group]] = {}
    for name in sorted(container, key=_class_and_number):
        if _holds_values(container[name]):
            by_class.setdefault(_class_and_number(name)[0], []).append(container[name])
    for entry in config["config"]["layers"]:
        name, kind = entry["config"]["name"], _snake_case(entry["class_name"])
        if entry["class_name"] == "InputLayer" or not model.get_layer(name).weights:
            continue
        kind = "functional" if kind == "model" else kind
        found = by_class.get(kind, [])
        stored = found.pop(0) if found else {}
        if entry["class_name"] in MODELS:
            _assign_group(stored, model.get_layer(name), entry)
        else:
            held = stored.get("vars", {})
            values = [held[index][()] for index in sorted(held, key=int)]
            _assign(name, model.get_layer(name).weights, values)
    if left := [group.name for groups in by_class.values() for group in groups]:
        raise _Misfit(left[0], [], ["others"])


def _holds_values(group: "h5py.Group") -> bool:
    return any(_holds_values(held) if hasattr(held, "items") else True for held in group.values())


def _class_and_number(name: str) -> tuple[str, int]:
    """`conv2d_12` as ("conv2d", 12); without a number it is the first."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if kind and number.isdecimal() else (name, 0)


def _snake_case(name: str) -> str:
    """As Keras names the groups: `BatchNormalization` is `batch_normalization`."""
    parted = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", parted).lower()


def _assign_saved_model(file: KerasFile, model: "keras.Model", config: dict) -> None:
    """From the checkpoint in its folder, by the names of layers and variables."""
    import tensorflow

    stored = tensorflow.train.load_checkpoint(str(file.path / "variables" / "variables"))
    objects = _objects(stored.get_tensor(OBJECT_GRAPH))
    places = _places(file.nodes)
    for path, layer in _leaves(model, config):
        keys = _variable_keys(objects, places.get(path, ""))
        names = [_stored_name(variable.name, keys) for variable in layer.weights]
        values = [stored.get_tensor(keys[name]) for name in names if name in keys]
        _assign(path, layer.weights, values)


def _objects(graph: bytes) -> list[tuple[dict[str, int], str | None]]:
    """The objects of a checkpoint: the numbers of those each has by name, and a variable's key.

    After https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/trackable_object_graph.proto
    """
    objects: list[tuple[dict[str, int], str | None]] = []
    for _, node in fields(graph):
        has: dict[str, int] = {}
        key = None
        for number, value in fields(as_message(node)):
            held = dict(fields(as_message(value))) if number in (1, 2) else {}
            if number == 1:
                has[as_text(held[2])] = as_integer(held.get(1, 0))
            elif number == 2 and 3 in held:
                key = as_text(held[3])
        objects.append((has, key))
    return objects


def _variable_keys(objects: list, place: str) -> dict[str, str]:
    """The keys of a layer's variables in the checkpoint, by their names."""
    number = 0
    for step in place.split("/"):
        if step not in objects[number][0]:
            return {}
        number = objects[number][0][step]
    keys = {name: objects[child][1] for name, child in objects[number][0].items()}
    return {name: key for name, key in keys.items() if key is not None}


def _places(nodes: dict[str, str]) -> dict[str, str]:
    """Where the checkpoint has each layer, by the path of names to it."""
    places = {}
    for node in nodes:
        steps = node.split(".")
        if steps[0] != ROOT or not all(step.startswith("layer") for step in steps[1:]):
            continue
        above = [nodes.get(".".join(steps[:end]), "") for end in range(2, len(steps) + 1)]
        places["/".join(above)] = "/".join(steps[1:])
    return places


def _stored_name(name: str, keys: dict[str, str]) -> str:
    other = next((kernel for kernel in KERNELS if kernel in keys), name)
    return other if name in KERNELS and name not in keys else name
