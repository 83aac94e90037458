"""One stage of a recipe, as the epoch loop trains it."""

from typing import TYPE_CHECKING

import numpy as np

from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras
from edgecifar.progress import ShowProgress
from edgecifar.training.batches import Split, feature_batches, in_epoch_order, own_part
from edgecifar.training.devices import dtype_policy, jit_compile, own_place, shared
from edgecifar.training.distillation import lesson
from edgecifar.training.fast_layers import with_fast_layers
from edgecifar.training.features import cached_features
from edgecifar.training.learner import OnStep
from edgecifar.training.optimizers import averaged_weights, optimizer
from edgecifar.training.recipes import Recipe, Stage
from edgecifar.training.stage_network import build
from edgecifar.training.trainee import image_trainee, restart_randomness, training_network

if TYPE_CHECKING:
    import keras


class StageTraining:
    """A `Learner`: the head on features that the frozen backbone computes once, or all layers."""

    def __init__(
        self,
        network: "keras.Model",
        stage: Stage,
        recipe: Recipe,
        split: Split,
        teachers: list["keras.Model"],
        precision: str,
        progress: ShowProgress,
        optimizer_state: list[np.ndarray] | None,
    ) -> None:
        """Prepare a stage: its trainee, its optimizer, its features.

        Args:
            network: float32, gives probabilities: the one that is judged and kept. It has the
                weights to start from, and gets those of each epoch.
            stage: the stage.
            recipe: the recipe that it is a part of.
            split: the images.
            teachers: see `distillation.open_teachers`.
            precision: of the computation, see `devices.dtype_policy`.
            progress: shows a bar while features or the teachers' answers are computed.
            optimizer_state: the optimizer's variables, in a stage that is resumed.
        """
        self.name, self.batch, self.size = stage.name, stage.batch, recipe.stage_size(stage)
        self.highest_learning_rate = stage.learning_rate
        self.steps = len(split.training) // stage.batch
        self._network, self._recipe, self._split = network, recipe, split
        with shared(), dtype_policy(precision):
            self._trained = training_network(build(recipe, stage, "none"))
        self._trained.set_weights(network.get_weights())
        self._features = None
        if stage.trains == "head":
            extractor = contract.feature_extractor(network)
            label = f"{stage.name}: features"
            self._features = cached_features(extractor, split.images, label, progress)
            self._trainee = contract.head(self._trained)
            self.judge = contract.head(network)
            self.held_out = self._features[split.validation]
        else:
            learned = lesson(recipe, teachers, split.images, progress)
            with shared():
                self._trainee = image_trainee(
                    self._trained,
                    split.images,
                    split.labels,
                    recipe.augmentation,
                    recipe.label_smoothing,
                    recipe.seed,
                    learned,
                )
            self.judge = with_fast_layers(network)
            self.held_out = split.images[split.validation]
        self.held_out_labels = split.labels[split.validation]
        with shared():
            self._compile(stage, optimizer_state)

    def _compile(self, stage: Stage, optimizer_state: list[np.ndarray] | None) -> None:
        recipe = self._recipe
        self._optimizer = optimizer(stage, self.steps, recipe.weight_decay)
        # Of logits. The trainee of all layers has its own loss.
        loss = load_keras().losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        )
        self._trainee.compile(optimizer=self._optimizer, loss=loss, jit_compile=jit_compile())
        # Else the first step makes the optimizer's variables, and TensorFlow traces it once more.
        self._optimizer.build(self._trainee.trainable_variables)
        if optimizer_state is not None:
            for variable, value in zip(self._optimizer.variables, optimizer_state, strict=True):
                variable.assign(value)

    @property
    def learning_rate(self) -> float:
        return float(self._optimizer.learning_rate)

    def fit(self, epoch: int, on_step: OnStep) -> float:
        recipe, split = self._recipe, self._split
        whole = in_epoch_order(split.training, self.batch, (recipe.seed, epoch))
        index, count = own_place()
        order, batch = own_part(whole, self.batch, index, count), self.batch // count
        callback = load_keras().callbacks.LambdaCallback(
            # In a callback: before, `fit` may trace the model, and that draws as well.
            on_epoch_begin=lambda *_: restart_randomness(self._trainee, recipe.seed, epoch),
            on_train_batch_end=on_step,
        )
        if self._features is None:
            given = {"x": order, "batch_size": batch}
        else:
            given = {"x": feature_batches(self._features, split.labels, order, batch)}
        with shared():
            history = self._trainee.fit(**given, shuffle=False, verbose=0, callbacks=[callback])
        return history.history["loss"][-1]

    def collect(self) -> "keras.Model":
        network = self._network
        network.set_weights(averaged_weights(self._trained, self._trainee, self._optimizer))
        if self._features is None:  # else `judge` shares its weights with the network
            self.judge.set_weights(network.get_weights())
        return network

    def state(self) -> dict[str, list]:
        return {
            "trained": self._trained.get_weights(),
            "kept": self._network.get_weights(),
            "optimizer": [np.asarray(variable) for variable in self._optimizer.variables],
        }

    def advice(self, field: str, value: float) -> str:
        return f"`{self.name}.{field}={value:.3g}`"
