"""The network of each stage of a recipe, and the weights that it begins with."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import UserError
from edgecifar.models import networks
from edgecifar.models.keras_loader import open_model
from edgecifar.progress import ShowProgress
from edgecifar.training.recipes import Recipe, Stage

if TYPE_CHECKING:
    import keras


def build(recipe: Recipe, stage: Stage, weights: str) -> "keras.Model":
    """The recipe's network as a stage sees it, with its backbone from `weights`."""
    return networks.build(
        recipe.network,
        size=recipe.stage_size(stage),
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        hidden=recipe.stage_hidden(stage),
        batch_norm_momentum=recipe.batch_norm_momentum,
        weights=weights,
    )


def starting_network(recipe: Recipe, progress: ShowProgress) -> "keras.Model":
    """The network of the last stage with the weights that the run begins with.

    Raises:
        UserError: the weights cannot be loaded, or are of another network.
    """
    stage = recipe.stages[-1]
    if recipe.weights == "imagenet":
        networks.fetch_imagenet_weights(recipe.network, progress)
    if not recipe.weights.endswith(".keras"):
        return build(recipe, stage, recipe.weights)
    pretrained = recipe.network in networks.PRETRAINED
    start = build(recipe, stage, recipe.weights if pretrained else "none")
    # All of it: its head too, where it is the same.
    if not hand_over(open_model(Path(recipe.weights)), start):
        raise UserError(f"{recipe.weights}: none of its layers fits {recipe.network}")
    return start


def with_weights_that_exist(recipe: Recipe) -> Recipe:
    """The recipe, from scratch where there are no ImageNet weights of its width."""
    has_imagenet_weights = networks.PRETRAINED.get(recipe.network)
    if recipe.weights != "imagenet" or not has_imagenet_weights:
        return recipe
    if has_imagenet_weights(recipe.alpha):
        return recipe
    return dataclasses.replace(recipe, weights="none")


def hand_over(source: "keras.Model", target: "keras.Model") -> int:
    """Copy the weights of each layer that two networks share: the same name and shapes.

    Returns:
        The number of layers copied.
    """
    copied = 0
    theirs = {layer.name: layer.get_weights() for layer in source.layers}
    for layer in target.layers:
        weights = theirs.get(layer.name, [])
        if weights and [w.shape for w in weights] == [w.shape for w in layer.get_weights()]:
            layer.set_weights(weights)
            copied += 1
    return copied
