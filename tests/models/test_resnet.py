"""The residual networks have the blocks and the costs of their sources."""

import keras
import numpy as np
import pytest

from edgecifar.errors import UserError
from edgecifar.models.networks import multiply_accumulates
from edgecifar.models.resnet import resnet, resnet8, resnet_wide


@pytest.fixture(scope="module")
def resnet20():
    return resnet(size=32)


@pytest.fixture(scope="module")
def wide():
    return resnet_wide(size=32, hidden=256)


def readers(layer):
    """The layers that take a layer's output."""
    return {node.operation.name for node in layer._outbound_nodes}


def test_resnet_has_twenty_weighted_layers_and_two_projections(resnet20):
    convolutions = [la for la in resnet20.layers if isinstance(la, keras.layers.Conv2D)]
    projections = [la.name for la in convolutions if la.kernel_size == (1, 1)]
    assert projections == ["stage2_block1_skip", "stage3_block1_skip"]
    assert len(convolutions) - len(projections) + 1 == 20  # and the dense layer
    assert sum(isinstance(la, keras.layers.Add) for la in resnet20.layers) == 9
    assert not any(la.use_bias for la in convolutions)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("stem_relu", (None, 32, 32, 16)),
        ("stage1_block3_relu", (None, 32, 32, 16)),
        ("stage2_block1_relu", (None, 16, 16, 32)),
        ("stage3_block3_relu", (None, 8, 8, 64)),
        ("features", (None, 64)),
    ],
)
def test_the_stages_of_resnet_halve_the_sides_and_double_the_channels(resnet20, layer, shape):
    assert resnet20.get_layer(layer).output.shape == shape


def test_a_block_adds_its_input_behind_the_batch_norm(resnet20):
    added = resnet20.get_layer("stage1_block2_sum").input
    assert added[0] is resnet20.get_layer("stage1_block1_relu").output
    assert added[1] is resnet20.get_layer("stage1_block2_conv2_bn").output


def test_resnet_costs_what_the_paper_says(resnet20):
    stem, skips = 27 * 16, (16 * 32, 32 * 64)
    stages = (6 * 9 * 16 * 16, 9 * 16 * 32 + 5 * 9 * 32 * 32, 9 * 32 * 64 + 5 * 9 * 64 * 64)
    norms = 4 * (16 + 6 * 16 + 7 * 32 + 7 * 64)
    parameters = stem + sum(stages) + sum(skips) + norms + 650
    assert resnet20.count_params() == parameters == 274_042
    convolutions = 1024 * (stem + stages[0])
    convolutions += 256 * (stages[1] + skips[0]) + 64 * (stages[2] + skips[1])
    assert multiply_accumulates(resnet20) == convolutions + 640 == 40_813_184


def test_resnet8_costs_what_mlperf_tiny_says():
    """12.5 million multiply-accumulates; 78,666 parameters with the biases before batch norm."""
    model = resnet8(size=32)
    biases_before_batch_norm = 3 * 16 + 2 * 32 + 2 * 64
    assert model.count_params() == 78_666 - biases_before_batch_norm
    assert multiply_accumulates(model) == 12_501_632


def test_resnet8_has_a_block_a_stage_and_skips_without_batch_norm():
    model = resnet8(size=32)
    assert [la.name for la in model.layers if isinstance(la, keras.layers.Add)] == [
        "stage1_sum",
        "stage2_sum",
        "stage3_sum",
    ]
    for stage, sides in ((2, 16), (3, 8)):
        skip = model.get_layer(f"stage{stage}_skip")
        assert (skip.kernel_size, skip.strides, skip.use_bias) == ((1, 1), (2, 2), True)
        assert skip.output.shape == (None, sides, sides, 16 * 2 ** (stage - 1))
        assert readers(skip) == {f"stage{stage}_sum"}
    assert model.get_layer("stage1_sum").input[0] is model.get_layer("stem_relu").output


def test_resnet_wide_costs_what_is_documented(wide):
    channels = (64, 128, 256, 512)
    stem, inputs = 27 * 64, (64, 64, 128, 256)
    blocks = [9 * a * b + 9 * b * b for a, b in zip(inputs, channels, strict=True)]
    skips = [0, *(a * b for a, b in zip(inputs[1:], channels[1:], strict=True))]
    biases = 64 + 2 * sum(channels) + sum(channels[1:])
    norms = 4 * sum(channels)
    dense = 512 * 256 + 256 + 2570
    parameters = stem + sum(blocks) + sum(skips) + biases + norms + dense
    assert wide.count_params() == parameters == 5_032_970
    places = (256, 64, 16, 4)
    convolutions = 1024 * stem + sum(
        count * (block + skip) for count, block, skip in zip(places, blocks, skips, strict=True)
    )
    assert multiply_accumulates(wide) == convolutions + 512 * 256 + 2560 == 64_817_664


def test_in_resnet_wide_the_batch_norm_comes_after_the_sum(wide):
    for block in ("block1", "block2", "block3", "block4"):
        assert readers(wide.get_layer(f"{block}_sum")) == {f"{block}_bn"}
        assert readers(wide.get_layer(f"{block}_bn")) == {f"{block}_relu"}
        assert readers(wide.get_layer(f"{block}_conv2")) == {f"{block}_sum"}
    assert sum(isinstance(la, keras.layers.BatchNormalization) for la in wide.layers) == 4


def test_in_resnet_wide_a_skip_has_a_convolution_only_where_the_channels_change(wide):
    skips = [la for la in wide.layers if la.name.endswith("_skip")]
    assert [la.name for la in skips] == ["block2_skip", "block3_skip", "block4_skip"]
    assert {la.kernel_size for la in skips} == {(1, 1)}
    assert wide.get_layer("block1_sum").input[0] is wide.get_layer("pool1").output


def test_in_resnet_wide_pooling_stands_before_each_block(wide):
    sides = [la.output.shape[1] for la in wide.layers if isinstance(la, keras.layers.MaxPooling2D)]
    assert sides == [16, 8, 4, 2]


@pytest.mark.parametrize("network", [resnet, resnet8, resnet_wide])
def test_every_batch_norm_has_the_momentum(network):
    model = network(size=32, batch_norm_momentum=0.8)
    norms = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == {0.8}


@pytest.mark.parametrize("network", [resnet, resnet8, resnet_wide])
def test_they_have_no_weights_to_start_from(network):
    with pytest.raises(UserError, match=f"`weights=some.h5`: {network.__name__} has no weights"):
        network(size=32, weights="some.h5")


def test_a_blind_block_hands_its_input_on():
    """With the batch norm of its second convolution at zero, only the skip is left."""
    model = resnet(size=32, alpha=0.5)
    model.get_layer("stage1_block1_conv2_bn").gamma.assign(np.zeros(8))
    both = keras.Model(
        model.input,
        [model.get_layer(name).output for name in ("stem_relu", "stage1_block1_relu")],
    )
    before, after = both.predict_on_batch(np.full((1, 32, 32, 3), 200, np.uint8))
    assert before.max() > 0
    np.testing.assert_array_equal(before, after)
