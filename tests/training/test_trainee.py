"""What `fit` trains: the loss worked out by hand, draws that can be repeated, images as bytes."""

import dataclasses

import keras
import numpy as np
import pytest

from edgecifar.models import contract
from edgecifar.training.batches import one_hot
from edgecifar.training.devices import dtype_policy
from edgecifar.training.recipes import Augmentation
from edgecifar.training.trainee import image_trainee, restart_randomness, training_network

OFF = Augmentation(crop_padding=0, flip=False)
COUNT = 40


def build(dropout=0.0):
    """One convolution with batch norm at 32 px, and the head that the contract names."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    image, pixels = contract.image_input(32)
    x = layers.Conv2D(8, 5, strides=4, use_bias=False, name="convolution")(pixels)
    x = layers.BatchNormalization(momentum=0.8, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    network = keras.Model(image, contract.classifier_head(x, dropout))
    last = network.get_layer(contract.OUTPUT)
    last.kernel.assign(10 * last.kernel)  # so that the loss tells images apart
    return network


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def labels():
    return (np.arange(COUNT) * 7 % 10).astype(np.uint8)


def trainee_of(images, labels, fields=OFF, dropout=0.0, label_smoothing=0.1, rate=0.0, seed=1):
    network = training_network(build(dropout))
    trainee = image_trainee(network, images, labels, fields, label_smoothing, seed)
    # At a learning rate of zero, the loss of an epoch says what was drawn in it.
    trainee.compile(keras.optimizers.SGD(rate))
    return trainee


def fit(trainee, rows, batch=20, epochs=1):
    rows = np.asarray(rows, np.int32)
    history = trainee.fit(rows, batch_size=batch, shuffle=False, epochs=epochs, verbose=0)
    return history.history["loss"]


def cross_entropy(logits, targets):
    """Of float arrays (n, 10), by its definition, in float64."""
    logits = np.asarray(logits, np.float64)
    surprise = np.log(np.exp(logits).sum(axis=1, keepdims=True)) - logits
    return (targets * surprise).sum(axis=1).mean()


def test_a_training_network_gives_the_logits_of_the_same_probabilities(images):
    network = build()
    expected = network.predict(images, verbose=0)
    before = network.get_weights()
    trained = training_network(network)
    logits = trained.predict(images, verbose=0)
    assert not np.allclose(logits.sum(axis=1), 1, atol=0.1)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax, expected, atol=1e-6)
    for one, other in zip(trained.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_is_the_smoothed_cross_entropy(images, labels, label_smoothing):
    trainee = trainee_of(images, labels, label_smoothing=label_smoothing)
    rows = np.array([3, 1, 39, 8, 3])
    logits = trainee.network(images[rows], training=True)
    targets = one_hot(labels[rows]) * (1 - label_smoothing) + label_smoothing / 10
    expected = cross_entropy(logits, targets)
    assert fit(trainee, rows, batch=5) == [pytest.approx(expected, rel=1e-5)]


def test_the_loss_of_mixed_images_is_that_of_their_mixed_targets(images, labels):
    trainee = trainee_of(images, labels, Augmentation(crop_padding=0, flip=False, mixup=1.0))
    rows = np.arange(20, dtype=np.int32)
    restart_randomness(trainee, 1, 1)
    logits, targets = (np.asarray(part) for part in trainee(rows, training=True))
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert targets.max() < 0.9  # less than the 0.91 of a smoothed target alone
    restart_randomness(trainee, 1, 1)
    assert fit(trainee, rows) == [pytest.approx(cross_entropy(logits, targets), rel=1e-5)]


def test_training_reduces_the_loss_and_changes_every_trained_weight(images, labels):
    trainee = trainee_of(images, labels, label_smoothing=0.0, rate=1.0)
    before = [np.asarray(variable) for variable in trainee.trainable_variables]
    losses = fit(trainee, range(COUNT), epochs=30)
    assert losses[-1] < 0.7 * losses[0]
    for old, variable in zip(before, trainee.trainable_variables, strict=True):
        assert not np.array_equal(old, variable)


@pytest.mark.parametrize(
    ("fields", "dropout"),
    [
        (OFF, 0.5),
        (Augmentation(), 0.0),
        (Augmentation(crop_padding=0, flip=False, rotation=20, shift=0.2, cutout=16), 0.0),
        (Augmentation(crop_padding=0, flip=False, mixup=1.0), 0.0),
    ],
    ids=["dropout", "crop and flip", "rotation, shift and cutout", "mixup"],
)
def test_an_epoch_draws_what_its_seed_and_number_say(images, labels, fields, dropout):
    trainee = trainee_of(images, labels, fields, dropout)

    def loss(seed, epoch):
        restart_randomness(trainee, seed, epoch)
        return fit(trainee, range(COUNT))

    (first,), (next_epoch,), (other_run,), (again,) = (
        loss(seed, epoch) for seed, epoch in ((1, 1), (1, 2), (2, 1), (1, 1))
    )
    (drawn_on,) = fit(trainee, range(COUNT))
    assert again == pytest.approx(first, rel=1e-6)
    for other in (next_epoch, other_run, drawn_on):
        assert other != pytest.approx(first, rel=1e-4)
    assert next_epoch != pytest.approx(other_run, rel=1e-4)


def test_a_new_trainee_draws_the_same_as_one_that_has_trained(images, labels):
    """Resumed in another process, an epoch is the same."""
    losses = []
    for epochs in ([1, 2, 3], [3]):
        trainee = trainee_of(images, labels, Augmentation(), dropout=0.5)
        for epoch in epochs:
            restart_randomness(trainee, 1, epoch)
            found = fit(trainee, range(COUNT))
        losses += found
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_two_random_states_of_a_model_differ(images, labels):
    trainee = trainee_of(images, labels, Augmentation(), dropout=0.5)
    restart_randomness(trainee, 1, 1)
    dropout = trainee.network.get_layer("dropout")
    states = [np.asarray(part.state) for part in (trainee.random, dropout.seed_generator)]
    assert not np.array_equal(*states)


def test_the_images_stay_bytes_and_are_not_trained(images, labels):
    trainee = trainee_of(images, labels)
    assert trainee.pixels.dtype == "uint8"
    assert np.asarray(trainee.pixels).tobytes() == images.tobytes()
    large = [v for v in trainee.variables if np.asarray(v).nbytes >= images.nbytes]
    assert [v.name for v in large] == ["pixels"]
    trained = trainee.network.trainable_variables
    assert [id(v) for v in trainee.trainable_variables] == [id(v) for v in trained]


def test_in_bfloat16_layers_compute_so_and_weights_and_loss_are_float32(images, labels):
    with dtype_policy("mixed_bfloat16"):
        network = training_network(build())
    assert {layer.dtype for layer in network.layers if layer.weights} == {"float32"}
    assert network.get_layer("convolution").compute_dtype == "bfloat16"
    assert network.get_layer("norm").compute_dtype == "bfloat16"
    trainee = image_trainee(network, images, labels, OFF, 0.1, 1)
    trainee.compile(keras.optimizers.SGD(0.0))
    logits, _ = trainee(np.arange(2))
    assert logits.dtype == "float32"
    in_float32 = fit(trainee_of(images, labels), range(COUNT))
    assert fit(trainee, range(COUNT)) == pytest.approx(in_float32, rel=0.02)


def test_what_a_trainee_learns_is_in_the_weights_of_the_kept_network(images, labels):
    trainee = trainee_of(images, labels, rate=0.1)
    fit(trainee, range(COUNT), epochs=2)
    kept = build()
    kept.set_weights(trainee.network.get_weights())
    logits = trainee.network.predict(images, verbose=0)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(kept.predict(images, verbose=0), softmax, atol=1e-6)


def test_every_field_of_an_augmentation_reaches_the_images(images, labels):
    on = {"crop_padding": 4, "flip": True, "rotation": 20.0, "shift": 0.2, "cutout": 16}
    on["mixup"] = 1.0
    assert set(on) == {field.name for field in dataclasses.fields(Augmentation)}
    rows = np.arange(COUNT)
    plain, _ = trainee_of(images, labels)(rows)
    for field, value in on.items():
        fields = dataclasses.replace(OFF, **{field: value})
        logits, _ = trainee_of(images, labels, fields)(rows)
        assert not np.allclose(logits, plain, atol=1e-4), field
