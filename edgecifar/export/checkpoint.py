"""The checkpoint that an export starts from, and how it was made, as far as that is known.

It may be edgecifar's own or any image classifier of plain Keras. Either becomes a model of one
kind: raw pixels of 32 x 32 in, resizing and scaling inside, probabilities out. This is also true of
a network that takes 64 px or has 100 classes, so the verification, the bench and a caller need only
one input contract.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar import files, provenance
from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.errors import UserError, first_line
from edgecifar.export.foreign import (
    check_is_classifier,
    deployable,
    try_normalizations,
    wanted_normalization,
)
from edgecifar.graphs import kinds
from edgecifar.models import contract
from edgecifar.models.keras_loader import open_model
from edgecifar.runtimes import normalization as normalizations
from edgecifar.runtimes.normalization import AUTO, RAW
from edgecifar.runtimes.preparation import SQUASH

if TYPE_CHECKING:
    import keras

SHIPPED = Path("exported") / provenance.CHECKPOINT


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        path: its file.
        model: `image` uint8 (n, 32, 32, 3) to probabilities float32 (n, classes).
        sha256: of the file; of a SavedModel folder, of the file with its graph.
        training: the `recipe.json` and `metrics.json` of its run, as {"provenance": ...,
            "metrics": ...}; None when neither a run nor a card is beside it.
        classes: how many it distinguishes, 2 or more.
        labels: their names in the order of the outputs; None where they are not known.
        normalization: name of what the pixels become for a foreign network, see
            `runtimes.normalization`; None for edgecifar's own networks, which scale inside.
        normalization_tried: `{"normalization", "top1", "images"}` of each normalization that was
            tried on training images to find that one; None where it was not found by a trial.
        rounding: what the rounding of the weights changed, see `verification.Rounding`; None where
            that is not known.
        ignored: one line for each file beside it that could not be used, see
            `provenance.Provenance`.
        doubt: why its accuracy may mean nothing, or why another normalization should be used, one
            line; None where nothing is doubtful.
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
    doubt: str | None = None

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
    """The checkpoint that the user means: a file, a run or SavedModel folder, or the default.

    Raises:
        UserError: it does not exist.
    """
    if named is None:
        return default()
    if named.is_dir() and kinds.of(named) is kinds.SAVED_MODEL:
        return named
    path = named / provenance.CHECKPOINT if named.is_dir() else named
    if not path.is_file():
        raise UserError(f"no checkpoint {path}")
    return path


def open_checkpoint(
    path: Path,
    normalization: str = AUTO,
    labels: Sequence[str] | None = None,
    resize: str = SQUASH,
    check_normalization: bool = True,
) -> Checkpoint:
    """Open a checkpoint; no code from the file runs.

    Args:
        path: what `graphs.keras_models.open_model` opens, of edgecifar or of plain Keras: a
            functional or Sequential classifier of square RGB images of any size, whose last layer
            gives probabilities or logits. Layers that augment do nothing at inference.
        normalization: what a foreign network expects of pixels, see `normalization.parse`.
            Networks that scale inside take "raw". "auto" takes the one with the highest top-1 on
            training images, as the bench does, and "raw" where the classes are not CIFAR-10's.
        labels: the names of its classes. By default CIFAR-10's where the network is edgecifar's
            or does clearly better than chance on CIFAR-10's training images, else none.
        resize: how images become smaller for a network that takes less than 32 px, of
            `runtimes.preparation.RESIZES`.
        check_normalization: whether a given normalization that gives a very low accuracy is
            compared with the others.

    Raises:
        UserError: the file is not a Keras model, not an image classifier, or holds what only
            code from outside Keras can run; or an option does not suit it.
    """
    model = open_model(path)
    check_is_classifier(path, model)
    _compute_in_float32(model)
    classes = model.outputs[0].shape[-1]
    if _is_own(model):
        if normalization != AUTO:
            raise UserError(
                f"{path} is a checkpoint of edgecifar and scales its pixels inside: leave "
                f"`normalization={normalization}` out"
            )
        known: tuple[str, ...] | None = CLASSES
        used, trial, doubt = None, None, None
    else:
        wanted = wanted_normalization(path, model, normalization)
        trial, doubt = None, None
        has_cifar10 = classes == len(CLASSES) and tuple(labels or CLASSES) == CLASSES
        try:
            if wanted is None and has_cifar10:
                found = try_normalizations(model, resize)
                trial, doubt = (found if found.knows_cifar10 else None), found.doubt
            used = wanted or (normalizations.named(trial.chosen) if trial else RAW)
            ready, knows_cifar10 = deployable(path, model, used, resize)
            is_given = normalization != AUTO and check_normalization
            if is_given and has_cifar10 and not knows_cifar10:
                found = try_normalizations(model, resize, used.name)
                if found.knows_cifar10:
                    knows_cifar10, doubt = True, found.objection_to(used.name)
            model = ready
        except UserError:
            raise
        except Exception as error:  # layers raise whatever they do of another batch or dtype
            raise UserError(f"{path} cannot be exported: {first_line(error)}") from error
        known = CLASSES if trial or knows_cifar10 else None
    if labels is not None:
        known = tuple(labels)
        if len(known) != classes:
            raise UserError(f"{len(known)} labels for the {classes} classes of {path}")
    sha256 = files.sha256(path / kinds.SAVED_MODEL_FILE if path.is_dir() else path)
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
        doubt,
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
