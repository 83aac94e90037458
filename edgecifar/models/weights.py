"""The weights that a pretrained network starts from: what every such network shares."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import UserError, first_line
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras

LoadWeights = Callable[["keras.Model", Path], None]


class WeightsUnavailable(UserError):
    """The ImageNet weights are not on this machine and could not be downloaded."""


def check_width(alpha: float, widths: tuple[float, ...]) -> None:
    """Refuse a width for which a network has no ImageNet weights.

    Args:
        alpha: width multiplier.
        widths: those with ImageNet weights.

    Raises:
        UserError: `alpha` is none of `widths`.
    """
    if alpha not in widths:
        listed = ", ".join(f"{width:g}" for width in widths)
        raise UserError(
            f"`alpha={alpha:g}`: there are no ImageNet weights of this width: take one of "
            f"{listed}, or train from scratch with `weights=none`"
        )


def load_backbone(backbone: "keras.Model", path: Path, load: LoadWeights) -> None:
    """Load the weights of a backbone from a file.

    Args:
        backbone: gets the weights.
        path: a .keras checkpoint of this project, or a file in the network's own format.
        load: loads a file in the network's own format; an exception of any kind says that it is
            damaged or does not fit.

    Raises:
        UserError: the file is missing, is damaged, or does not fit.
    """
    if not path.is_file():
        raise UserError(f"no weight file {path}")
    try:
        if path.suffix == ".keras":
            source = load_keras().saving.load_model(path, compile=False)
            for layer in (la for la in backbone.layers if la.weights):  # not the resizing
                layer.set_weights(source.get_layer(layer.name).get_weights())
        else:
            load(backbone, path)
    except UserError:
        raise
    except Exception as error:  # a damaged file fails wherever its damage lies
        reason = first_line(error)
        raise UserError(f"{path} does not fit this network: {reason}") from error
