"""The optimizer of a stage, its learning-rate schedule, and the average of the weights."""

from typing import TYPE_CHECKING

from edgecifar.models.keras_loader import load_keras
from edgecifar.training.recipes import Stage

if TYPE_CHECKING:
    import keras


def optimizer(stage: Stage, steps: int, weight_decay: float) -> "keras.optimizers.Optimizer":
    """Make a stage's optimizer: linear warm-up and cosine decay (Loshchilov and Hutter 2017, 2019).

    Args:
        stage: the stage that it is for.
        steps: of one epoch.
        weight_decay: on kernels only, decoupled from the gradient; Adam has none.
    """
    keras = load_keras()
    warmup = round(stage.warmup_epochs * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else stage.learning_rate,
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
        decay_steps=steps * stage.epochs - warmup,
        alpha=stage.final_learning_rate / stage.learning_rate,
    )
    average = {"use_ema": True, "ema_momentum": stage.average} if stage.average else {}
    if stage.optimizer == "adam":
        made = keras.optimizers.Adam(schedule, **average)
    elif stage.optimizer == "sgd":
        made = keras.optimizers.SGD(
            schedule, momentum=0.9, nesterov=True, weight_decay=weight_decay, **average
        )
    else:
        made = keras.optimizers.AdamW(schedule, weight_decay=weight_decay, **average)
    if stage.optimizer != "adam":
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if stage.first_layer_rate != 1:
        _scale_rates(made, stage.first_layer_rate)
    # `fit` ends by writing the average over the weights, and the next epoch would continue from it.
    made.finalize_variable_values = lambda variables: None
    return made


def _scale_rates(made: "keras.optimizers.Optimizer", first: float) -> None:
    """Give each layer its own share of the learning rate, see `Stage.first_layer_rate`."""
    shares: list[float] = []
    build, update_step = made.build, made.update_step

    def build_with_shares(variables: list) -> None:
        layers = [variable.path.rpartition("/")[0] for variable in variables]
        places = {layer: place for place, layer in enumerate(dict.fromkeys(layers))}
        last = len(places) - 1
        shares[:] = [first ** ((last - places[layer]) / max(1, last)) for layer in layers]
        build(variables)

    def scaled_step(gradient: object, variable: object, learning_rate: object) -> None:
        share = shares[made._get_variable_index(variable)]
        update_step(gradient, variable, learning_rate * share)

    made.build, made.update_step = build_with_shares, scaled_step


def averaged_weights(
    network: "keras.Model", trained: "keras.Model", made: "keras.optimizers.Optimizer"
) -> list:
    """A network's weights, with the optimizer's moving average in place of what it trains.

    Args:
        network: left as it is.
        trained: the network, or a part of it that shares its weights.
        made: by `optimizer`, and what trained it.

    Returns:
        Arrays in the order of `network.get_weights()`; the weights themselves where there is no
        average.
    """
    weights = network.get_weights()
    if not made.use_ema:
        return weights
    type(made).finalize_variable_values(made, trained.trainable_variables)
    averaged = network.get_weights()
    network.set_weights(weights)
    return averaged
