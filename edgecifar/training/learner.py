"""The interface through which the epoch loop trains something."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import keras
    import tf_keras

OnStep = Callable[[int, dict[str, Any]], None]


class Learner(Protocol):
    """Something that is trained for some epochs: a stage of a recipe, or a compression.

    Attributes:
        name: the stage's name in the history.
        size: side in pixels of the square that the backbone sees.
        batch: images a step.
        steps: steps an epoch.
        highest_learning_rate: the optimizer's at the start of the decay.
        judge: the model whose answers to `held_out` decide which epoch is kept.
        held_out: what `judge` takes of the held-out training images, shape (n, ...).
        held_out_labels: their labels, uint8, shape (n,).
    """

    name: str
    size: int
    batch: int
    steps: int
    highest_learning_rate: float
    judge: "keras.Model | tf_keras.Model"
    held_out: np.ndarray
    held_out_labels: np.ndarray

    @property
    def learning_rate(self) -> float:
        """The optimizer's, now."""

    def fit(self, epoch: int, on_step: OnStep) -> float:
        """Train one epoch.

        Args:
            epoch: its number in the run, from 1; with the recipe's seed it decides all draws.
            on_step: called after each step with its number, from 0, and the logs of Keras.

        Returns:
            The mean training loss.
        """

    def collect(self) -> "keras.Model":
        """Give `judge` the weights of the epoch that has ended.

        Returns:
            The network to keep, float32, with these weights.
        """

    def state(self) -> dict[str, list] | None:
        """What the next epoch starts from, see `RunFolder.add`; None when it cannot be resumed."""

    def advice(self, field: str, value: float) -> str:
        """How the user gives a setting another value: `batch` or `learning_rate`."""
