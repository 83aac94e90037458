"""The checkpoint that an export starts from, and what is known of how it was made.

It may be edgecifar's own or any image classifier of plain Keras 3. Either becomes a model of one
kind: raw pixels of 32 x 32 in, resizing and scaling inside, probabilities out. That holds for a
network that sees 64 px or knows 100 classes too, so that one input contract is all that the
verification, the bench and a caller have to know.
"""

import dataclasses
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar import files, provenance
from edgecifar.data import cifar10, shipped
from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.errors import UserError, first_line
from edgecifar.graphs import keras_archive
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras
from edgecifar.runtimes import normalization as normalizations
from edgecifar.runtimes import normalization_trial
from edgecifar.runtimes.normalization import AUTO, RAW
from edgecifar.runtimes.normalization_trial import KNOWS_CIFAR10_FROM, Trial
from edgecifar.runtimes.probabilities import are_probabilities, softmax

if TYPE_CHECKING:
    import keras

SHIPPED = Path("exported") / provenance.CHECKPOINT

# Training images on which probabilities are told from logits, and a network that knows CIFAR-10's
# classes from one that does not.
PROBE_IMAGES = normalization_trial.SCREENED
# It divides the numbers of images of a trial, so that every call has one shape.
TRIAL_BATCH = 50
# Layers to which training is the same as inference, whatever they are called with.
INDIFFERENT = ("Resizing", "Rescaling", "CenterCrop", "Normalization")
# Ends of a last layer that softmax makes probabilities of; log_softmax is logits too.
LOGITS = ("linear", "log_softmax")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        path: its file.
        model: `image` uint8 (n, 32, 32, 3) to probabilities float32 (n, classes).
        sha256: of the file.
        training: the `recipe.json` and `metrics.json` of its run, as {"provenance": ...,
            "metrics": ...}; None when neither a run nor a card lies beside it.
        classes: how many it tells apart, 2 or more.
        labels: their names in the order of the outputs; None where they are not known.
        normalization: name of what the pixels become for a foreign network, see
            `runtimes.normalization`; None of edgecifar's own, which scale inside.
        normalization_tried: `{"normalization", "top1", "images"}` of each normalization that was
            tried on training images to find that one; None where it was not found out so.
        rounding: what the weights lost when they were rounded, see `verification.Rounding`; None
            where nothing is known of that.
        ignored: one line for each file beside it that could not be used, see
            `provenance.Provenance`.
    """

    path: Path
    model: "keras.Model"
    sha256: str
    training: dict | None
    classes: int = len(CLASSES)
    labels: tuple[str, ...] | None = CLASSES
    normalization: str | None = None
    normalization_tried: list[dict] | None = None
    rounding: dict | None = None
    ignored: tuple[str, ...] = ()

    @property
    def knows_cifar10(self) -> bool:
        """Whether its classes are CIFAR-10's: else accuracy on CIFAR-10 means nothing."""
        return self.labels == CLASSES


def default() -> Path:
    """The newest run's checkpoint, else the shipped one.

    Raises:
        UserError: there is neither.
    """
    runs = sorted(
        provenance.RUNS.glob(f"*/{provenance.CHECKPOINT}"), key=lambda path: path.stat().st_mtime
    )
    if runs:
        return runs[-1]
    if SHIPPED.exists():
        return SHIPPED
    raise UserError(
        f"no checkpoint: there is none in {provenance.RUNS}/ and no {SHIPPED}; name one, "
        "or make one with `edgecifar train`"
    )


def find(named: Path | None) -> Path:
    """The checkpoint that the user means: a file, a run folder, or the default.

    Raises:
        UserError: it does not exist.
    """
    if named is None:
        return default()
    path = named / provenance.CHECKPOINT if named.is_dir() else named
    if not path.is_file():
        raise UserError(f"no checkpoint {path}")
    return path


def open_checkpoint(
    path: Path, normalization: str = AUTO, labels: Sequence[str] | None = None
) -> Checkpoint:
    """Load a checkpoint in Keras's safe mode: no code from the file runs.

    Args:
        path: a `.keras` file, of edgecifar or of plain Keras 3: a functional or Sequential
            classifier of square RGB images of any size, whose last layer gives probabilities or
            logits. Layers that augment do nothing at inference.
        normalization: what a foreign network expects of pixels, see `normalization.parse`.
            Networks that scale inside take "raw". "auto" takes the one with the highest top-1 on
            training images, and "raw" where the classes are not CIFAR-10's or none is clearly
            better.
        labels: the names of its classes. By default CIFAR-10's where the network is edgecifar's
            or does clearly better than chance on CIFAR-10's training images, else none.

    Raises:
        UserError: the file is not a Keras 3 model, not an image classifier, or holds what only
            code from outside Keras can run; or an option does not suit it.
    """
    config = _config(path)
    try:
        _check_is_plain_keras(path, config)
    except (AttributeError, KeyError, TypeError) as error:
        reason = "its config.json describes no model"
        raise UserError(f"{path} is not a Keras 3 checkpoint that opens: {reason}") from error
    keras = load_keras()
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises what the first damaged part happens to raise
        reason = first_line(error)
        raise UserError(f"{path} is not a Keras 3 checkpoint that opens: {reason}") from error
    _check_is_classifier(path, model)
    _compute_in_float32(model)
    classes = model.outputs[0].shape[-1]
    if _is_own(model):
        if normalization != AUTO:
            raise UserError(
                f"{path} is a checkpoint of edgecifar and scales its pixels inside: leave "
                f"--normalization {normalization} out"
            )
        known, used, trial = CLASSES, None, None
    else:
        wanted, trial = _wanted_normalization(path, model, normalization), None
        try:
            if wanted is None and classes == len(CLASSES) and tuple(labels or CLASSES) == CLASSES:
                found = _try_normalizations(model)
                if found.knows_cifar10 and found.prefers_to(RAW.name):
                    trial = found
            used = wanted or (normalizations.NAMED[trial.chosen] if trial else RAW)
            model, knows_cifar10 = _deployable(path, model, used)
        except UserError:
            raise
        except Exception as error:  # layers raise whatever they do of another batch or dtype
            raise UserError(f"{path} cannot be exported: {first_line(error)}") from error
        known = CLASSES if trial or knows_cifar10 else None
    if labels is not None:
        known = tuple(labels)
        if len(known) != classes:
            raise UserError(f"{len(known)} labels for the {classes} classes of {path}")
    sha256 = files.sha256(path)
    made = provenance.of_checkpoint(path, sha256)
    training = None
    if made.recipe and made.metrics and made.metrics["best_epoch"]:
        training = {"provenance": made.recipe, "metrics": made.metrics}
    return Checkpoint(
        path,
        model,
        sha256,
        training,
        classes,
        known,
        used.name if used else None,
        trial.tried if trial else None,
        made.rounding,
        made.ignored,
    )


def write_compact(source: Path, target: Path) -> None:
    """Write a checkpoint at half its size, as a `.keras` file that opens like any other.

    Weights keep float32's range and float16's precision, 11 bits, and the archive is compressed.

    Args:
        source: a `.keras` file.
        target: the file to write.

    Raises:
        UserError: a part of the source cannot be read.
    """
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
    ):
        for member in old.namelist():
            try:
                content = old.read(member)
                if member.endswith(".h5"):
                    content = _with_rounded_datasets(content)
            except Exception as error:  # h5py and zipfile raise what the damage happens to cause
                raise UserError(
                    f"{source} cannot be copied, its {member} may be damaged: {first_line(error)}"
                ) from error
            # Without a time of its own, the same checkpoint gives the same bytes.
            new.writestr(zipfile.ZipInfo(member), content, zipfile.ZIP_DEFLATED)


def _with_rounded_datasets(hdf5: bytes) -> bytes:
    import h5py

    buffer = io.BytesIO(hdf5)

    def round_dataset(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype == np.float32:
            item[...] = half_precision(item[...])

    with h5py.File(buffer, "r+") as file:
        file.visititems(round_dataset)
    return buffer.getvalue()


def half_precision(values: np.ndarray) -> np.ndarray:
    """Round float32 values to 11 significant bits, ties to even; any shape, still float32."""
    bits = np.asarray(values, order="C").view(np.uint32)
    dropped = 13  # float32 stores 23 bits of the 24 significant ones, float16 stores 10 of 11
    to_even = (bits >> dropped) & 1
    rounded = (bits + (2 ** (dropped - 1) - 1 + to_even).astype(np.uint32)) >> dropped << dropped
    return rounded.view(np.float32)


def _config(path: Path) -> dict:
    """What a `.keras` archive says of its model, as Keras wrote it."""
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a Keras 3 checkpoint: it is no whole .keras archive")
    try:
        return keras_archive.read_config(path)
    except Exception as error:  # a damaged archive raises what zlib, zipfile or json raise
        reason = "it has no config.json" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{path} is not a Keras 3 checkpoint that opens: {reason}") from error


def _check_is_plain_keras(path: Path, config: dict) -> None:
    """Refuse by name what Keras would not open, or what has no answer of its own at inference."""
    for layer, part in _parts(config, "the model"):
        kind, module = part["class_name"], part.get("module") or ""
        name = kind if kind != "function" else part.get("config")
        if kind == "Lambda":
            raise UserError(
                f"{path}: {layer} holds Python code, which never runs from a checkpoint: "
                "build the model from Keras's own layers"
            )
        if not (module == "keras" or module.startswith("keras.")):
            raise UserError(
                f"{path}: {layer} needs {name}, code from outside Keras, which a checkpoint does "
                "not hold: build the model from Keras's own layers"
            )
        for node in part.get("inbound_nodes") or []:
            trains = isinstance(node, dict) and node.get("kwargs", {}).get("training") is True
            if trains and kind not in INDIFFERENT:
                raise UserError(
                    f"{path}: {layer} is called with training=True, so that its answer is left "
                    "to chance or to the other images: build the model without it"
                )


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


def _check_is_classifier(path: Path, model: object) -> None:
    """Refuse what does not take one square RGB image and give one value for each class."""
    cannot = f"{path} cannot be exported"
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise UserError(f"{cannot}: it has no fixed input; build it with a keras.Input, and save")
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{cannot}: it has {len(inputs)} input(s) and {len(outputs)} output(s), and an image "
            "classifier has one of each"
        )
    shape, dtype = tuple(inputs[0].shape), inputs[0].dtype
    if len(shape) != 4 or shape[-1] != 3:
        raise UserError(
            f"{cannot}: it takes inputs of shape {shape}, and an image classifier takes "
            "(None, side, side, 3)"
        )
    if shape[1] is None or shape[1] != shape[2]:
        raise UserError(
            f"{cannot}: it takes images of shape {shape}; build it for squares of one size"
        )
    if not dtype.startswith(("float", "bfloat", "int", "uint")):
        raise UserError(f"{cannot}: it takes {dtype} inputs, and pixels are numbers")
    shape = tuple(outputs[0].shape)
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise UserError(
            f"{cannot}: it gives outputs of shape {shape}, and a classifier gives (None, classes) "
            "with 2 classes or more"
        )


def _compute_in_float32(model: "keras.Model") -> None:
    """Undo half precision, which a network was trained in to be faster: weights stay as they are.

    The quantized files start from float32, and the processors that they are for have no other.
    """
    for layer in model._flatten_layers():
        if layer.dtype_policy.compute_dtype in ("float16", "bfloat16"):
            layer.dtype_policy = "float32"


def _is_own(model: "keras.Model") -> bool:
    """Whether a network begins and ends as edgecifar's do, see `models/contract.py`."""
    names = [layer.name for layer in model.layers]
    return (
        contract.SCALE in names
        and contract.OUTPUT in names
        and model.inputs[0].dtype == "uint8"
        and tuple(model.inputs[0].shape) == (None, *IMAGE_SHAPE)
        and model.outputs[0].shape[-1] == len(CLASSES)
    )


def _wanted_normalization(
    path: Path, model: "keras.Model", text: str
) -> normalizations.Normalization | None:
    """The normalization that a foreign network is given; None where it is to be found out."""
    wanted = normalizations.parse(text)
    dtype = model.inputs[0].dtype
    if "int" not in dtype:
        return wanted
    if wanted not in (None, RAW):
        raise UserError(
            f"{path} takes {dtype} pixels and scales them inside: leave --normalization {text} out"
        )
    return RAW


def _try_normalizations(model: "keras.Model") -> Trial:
    """See how a foreign network of ten classes does with each normalization."""
    keras = load_keras()
    image = keras.Input(IMAGE_SHAPE, dtype="float32")
    network = keras.Model(image, _taking_floats(model)(_resized(image, model.inputs[0].shape[1])))

    def classify(name: str, images: np.ndarray) -> np.ndarray:
        normalization = normalizations.NAMED[name]
        pixels = images.astype(np.float32) * normalization.scale + normalization.offset
        rows = network.predict(pixels.astype(np.float32), batch_size=TRIAL_BATCH, verbose=0)
        return rows if are_probabilities(rows) else softmax(rows)

    train = shipped.calibration_set()
    return normalization_trial.try_each(
        list(normalizations.NAMED), classify, train.images(), train.labels
    )


def _deployable(
    path: Path, model: "keras.Model", normalization: normalizations.Normalization
) -> tuple["keras.Model", bool]:
    """Put resizing, scaling and a softmax around a foreign network, as far as it lacks them.

    Returns:
        `image` uint8 (n, 32, 32, 3) to probabilities float32 (n, classes), sharing the network's
        weights; and whether it knows the classes of CIFAR-10.
    """
    keras = load_keras()
    image = keras.Input(IMAGE_SHAPE, dtype="uint8", name=contract.INPUT)
    scaling = keras.layers.Rescaling(normalization.scale, normalization.offset, name=contract.SCALE)
    outputs = _taking_floats(model)(_resized(scaling(image), model.inputs[0].shape[1]))

    train = shipped.calibration_set()
    probes = cifar10.balanced(train.labels, PROBE_IMAGES)
    rows = np.asarray(keras.Model(image, outputs)(train.images(probes), training=False))
    if not are_probabilities(rows):
        _check_gives_logits(path, model)
        outputs = keras.layers.Softmax(name=contract.OUTPUT, dtype="float32")(outputs)
    knows_cifar10 = (
        rows.shape[1] == len(CLASSES)
        and np.mean(rows.argmax(axis=1) == train.labels[probes]) >= KNOWS_CIFAR10_FROM
    )
    return keras.Model(image, outputs, name="deployable"), bool(knows_cifar10)


def _resized(x: "keras.KerasTensor", size: int) -> "keras.KerasTensor":
    """Images of 32 px at the side that a network sees."""
    if size == IMAGE_SHAPE[0]:
        return x
    layers = load_keras().layers
    return layers.Resizing(size, size, interpolation="bilinear", name=contract.RESIZE)(x)


def _taking_floats(model: "keras.Model") -> "keras.Model":
    """The same layers behind a float32 input, of any batch size.

    A resized pixel need not be whole: an input of integers would cut its fraction off.
    """
    keras = load_keras()
    pixels = keras.Input(tuple(model.inputs[0].shape[1:]), dtype="float32", name="pixels")
    flat = keras.Model(model.inputs[0], model.outputs[0])
    clone = keras.models.clone_model(flat, pixels, clone_function=lambda layer: layer)
    return keras.Model(pixels, clone.output, name="classifier")


def _check_gives_logits(path: Path, model: "keras.Model") -> None:
    """Refuse values that softmax makes no probabilities of, as those of a sigmoid."""
    keras = load_keras()
    while isinstance(model, keras.Model):
        model = model.outputs[0]._keras_history.operation
    activation = getattr(getattr(model, "activation", None), "__name__", "linear")
    if activation not in LOGITS:
        raise UserError(
            f"{path} cannot be exported: its last layer {model.name!r} "
            f"({type(model).__name__}) ends in {activation}, which gives neither probabilities "
            "nor logits"
        )
