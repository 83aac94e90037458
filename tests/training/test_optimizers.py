"""The learning rate over a stage, what weight decay spares, and the average of the weights."""

import keras
import numpy as np
import pytest

from edgecifar.training.optimizers import averaged_weights, optimizer
from edgecifar.training.recipes import Stage

STEPS = 10  # of an epoch


def stage(**fields):
    return Stage(**{"name": "all", "trains": "all", "epochs": 4, "batch": 4} | fields)


def rates(made, steps):
    """The learning rate that each of the steps is made with."""
    found = []
    for step in range(steps):
        made.iterations.assign(step)
        found.append(float(made.learning_rate))
    return found


@pytest.fixture
def network():
    """A dense layer with batch norm: kernel, bias, gamma, beta; none of them zero."""
    network = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(2, name="dense"),
            keras.layers.BatchNormalization(name="norm"),
        ]
    )
    network.set_weights([np.full(weight.shape, 0.5) for weight in network.get_weights()])
    return network


@pytest.fixture
def learner():
    """One weight, whose gradient at each step is minus the target."""

    class Learner(keras.Model):
        def __init__(self):
            super().__init__()
            self.weight = self.add_weight(shape=(1,), initializer="ones", name="kernel")
            self.passive = self.add_weight(shape=(2,), initializer="ones", trainable=False)

        def call(self, x):
            return x * self.weight

    model = Learner()
    model.build((None, 1))
    return model


def minus_product(target, product):
    return -target * product


def test_the_rate_rises_in_the_warm_up_and_falls_by_a_cosine_to_its_end():
    fields = {"learning_rate": 0.4, "final_learning_rate": 0.1, "warmup_epochs": 0.5}
    made = optimizer(stage(**fields), STEPS, 0.0)
    found = rates(made, 41)
    np.testing.assert_allclose(found[:6], 0.4 * np.arange(6) / 5, atol=1e-7)
    after = np.arange(36) / 35
    np.testing.assert_allclose(found[5:], 0.1 + 0.3 * (1 + np.cos(np.pi * after)) / 2, rtol=1e-5)
    assert found[40] == pytest.approx(0.1)


def test_without_a_warm_up_the_first_step_has_the_whole_rate_and_the_end_is_zero():
    found = rates(optimizer(stage(learning_rate=0.4), STEPS, 0.0), 41)
    assert found[0] == pytest.approx(0.4)
    assert found == sorted(found, reverse=True)
    assert found[20] == pytest.approx(0.2)
    assert found[40] == pytest.approx(0, abs=1e-9)


def test_a_final_rate_that_is_the_same_is_no_decay():
    fields = {"learning_rate": 0.3, "final_learning_rate": 0.3, "warmup_epochs": 1}
    found = rates(optimizer(stage(**fields), STEPS, 0.0), 41)
    np.testing.assert_allclose(found[10:], 0.3, rtol=1e-6)
    assert found[5] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw", keras.optimizers.AdamW),
        ("adam", keras.optimizers.Adam),
        ("sgd", keras.optimizers.SGD),
    ],
)
def test_each_optimizer_is_of_its_kind_and_averages_only_when_asked(name, kind):
    made = optimizer(stage(learning_rate=0.1, optimizer=name), STEPS, 0.01)
    assert type(made) is kind
    assert not made.use_ema
    averaging = optimizer(stage(learning_rate=0.1, optimizer=name, average=0.9), STEPS, 0.01)
    assert averaging.use_ema
    assert averaging.ema_momentum == 0.9


def test_sgd_has_nesterov_momentum(learner):
    made = optimizer(stage(learning_rate=0.1, final_learning_rate=0.1, optimizer="sgd"), STEPS, 0)
    value, velocity = 1.0, 0.0
    for gradient in (1.0, 2.0, -1.0):
        made.apply([np.float32([gradient])], [learner.weight])
        velocity = 0.9 * velocity - 0.1 * gradient
        value += 0.9 * velocity - 0.1 * gradient
        assert float(learner.weight[0]) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_shrinks_kernels_and_nothing_else(network, name):
    made = optimizer(stage(learning_rate=0.1, optimizer=name), STEPS, 0.2)
    without_gradient = [np.zeros(v.shape, np.float32) for v in network.trainable_variables]
    made.apply(without_gradient, network.trainable_variables)
    found = {variable.name: np.asarray(variable) for variable in network.trainable_variables}
    assert set(found) == {"kernel", "bias", "gamma", "beta"}
    for name, value in found.items():
        expected = 0.5 * (1 - 0.1 * 0.2) if name == "kernel" else 0.5
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_adam_has_no_weight_decay(network):
    made = optimizer(stage(learning_rate=0.1, optimizer="adam"), STEPS, 0.2)
    without_gradient = [np.zeros(v.shape, np.float32) for v in network.trainable_variables]
    made.apply(without_gradient, network.trainable_variables)
    for variable in network.trainable_variables:
        np.testing.assert_array_equal(variable, np.full(variable.shape, 0.5))


def test_the_average_is_of_the_weights_after_each_step_and_outlives_a_fit(learner):
    """Keras starts the average at the weights after the first step."""
    constant = {"learning_rate": 0.1, "final_learning_rate": 0.1, "optimizer": "sgd"}
    made = optimizer(stage(**constant, average=0.8), STEPS, 0.0)
    learner.compile(made, minus_product)
    value, velocity, average = 1.0, 0.0, None
    for targets in ([1.0, 2.0, -4.0], [3.0, 0.5]):  # two epochs, a call of fit each
        x = np.ones((len(targets), 1), np.float32)
        learner.fit(x, np.float32(targets)[:, None], batch_size=1, shuffle=False, verbose=0)
        for target in targets:
            velocity = 0.9 * velocity + 0.1 * target
            value += 0.9 * velocity + 0.1 * target
            average = value if average is None else 0.8 * average + 0.2 * value
        assert learner.get_weights()[0].item() == pytest.approx(value, rel=1e-5)
        kept, passive = averaged_weights(learner, learner, made)
        assert kept.item() == pytest.approx(average, rel=1e-5)
        np.testing.assert_array_equal(passive, [1, 1])
        assert learner.get_weights()[0].item() == pytest.approx(value, rel=1e-5)
    assert abs(average - value) > 0.1


def test_without_an_average_the_weights_themselves_are_given(learner):
    made = optimizer(stage(learning_rate=0.1), STEPS, 0.0)
    learner.compile(made, minus_product)
    learner.fit(np.ones((3, 1)), np.ones((3, 1)), batch_size=1, verbose=0)
    for given, own in zip(
        averaged_weights(learner, learner, made), learner.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(given, own)


def test_the_average_of_a_part_goes_into_the_whole_networks_weights(network):
    """A head is trained alone; what is kept is the network."""
    first = keras.Input((2,))
    head = keras.Model(first, network.get_layer("norm")(first))
    made = optimizer(stage(learning_rate=0.1, average=0.9), STEPS, 0.0)
    head.compile(made, "mse")
    head.fit(np.random.default_rng(0).normal(size=(12, 2)), np.ones((12, 2)), 4, verbose=0)
    before = network.get_weights()
    averaged = averaged_weights(network, head, made)
    names = [weight.name for weight in network.weights]
    changed = [not np.array_equal(a, b) for a, b in zip(averaged, before, strict=True)]
    assert [name for name, new in zip(names, changed, strict=True) if new] == ["gamma", "beta"]
    for weight, old in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_rate_of_a_layer_is_its_share(name):
    """Three layers, a batch norm among them: 0.01, 0.1 and 1 of the rate."""
    layers = [
        keras.layers.Dense(2, name="first"),
        keras.layers.BatchNormalization(name="second"),
        keras.layers.Dense(2, name="third"),
    ]
    network = keras.Sequential([keras.Input((3,)), *layers])
    variables = network.trainable_variables
    changes = []
    for first in (1.0, 0.01):
        before = [np.asarray(variable) for variable in variables]
        fields = {"learning_rate": 0.1, "optimizer": name, "first_layer_rate": first}
        made = optimizer(stage(**fields), STEPS, 0.0)
        made.apply([np.ones(value.shape, np.float32) for value in before], variables)
        changes.append([np.asarray(v) - old for v, old in zip(variables, before, strict=True)])
    shares = [0.01, 0.01, 0.1, 0.1, 1, 1]
    for share, whole, scaled in zip(shares, *changes, strict=True):
        np.testing.assert_allclose(scaled, share * whole, rtol=1e-2)
        assert np.abs(whole).min() > 0.05


def test_a_head_alone_has_the_whole_rate():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    before = network.get_weights()
    made = optimizer(
        stage(learning_rate=0.1, optimizer="sgd", first_layer_rate=0.01), STEPS, weight_decay=0.0
    )
    made.apply([np.ones(value.shape, np.float32) for value in before], network.trainable_variables)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_allclose(old - new, 0.19, rtol=1e-4)  # Nesterov: 1.9 times the gradient
