"""The noise of each tensor, and the operators that are worth keeping float."""

import numpy as np
import pytest

from edgecifar.export.quantization import observing, sensitivity
from edgecifar.export.quantization.quantizer import quantize
from edgecifar.graphs.tflite import Graph


@pytest.fixture(scope="module")
def layers(corrected, parts, ranges, images):
    int8_file = quantize(corrected, parts[1], "int8", ranges)
    return int8_file, sensitivity.noise(corrected, int8_file, parts[1](images), images)


def test_every_operator_has_its_noise_and_the_worst_comes_first(layers, parts):
    _, rows = layers
    assert {row.output for row in rows} == {o.outputs[0].name for o in Graph(parts[0]).operators}
    assert [row.sqnr_db for row in rows] == sorted(row.sqnr_db for row in rows)
    assert {row.operator for row in rows} >= {"CONV_2D", "DEPTHWISE_CONV_2D", "MEAN"}


def test_the_ratio_is_that_of_the_dequantized_tensor(layers, corrected, parts, images):
    int8_file, rows = layers
    scale, zero_point = next(
        tensor.quantization for tensor in Graph(int8_file).tensors if tensor.name == "second"
    )
    exact = np.array([a["second"] for a in observing.tensors(corrected, parts[1](images))])
    steps = np.array([a["second"] for a in observing.tensors(int8_file, images)])
    error = exact - (steps - zero_point.astype(np.float64)) * scale
    expected = 10 * np.log10(np.mean(exact**2) / np.mean(error**2))
    (row,) = (row for row in rows if row.output == "second")
    assert row.sqnr_db == pytest.approx(expected, abs=0.01)
    assert 15 < row.sqnr_db < 60


def test_a_tensor_of_few_steps_is_the_worst(corrected, parts, ranges, images):
    wide = {**ranges, "second": (-300.0, 300.0)}
    int8_file = quantize(corrected, parts[1], "int8", wide)
    rows = sensitivity.noise(corrected, int8_file, parts[1](images), images)
    assert rows[0].output in ("second", "mean", "logits")
    assert max(rows, key=lambda row: row.added_db).output == "second"


def test_the_operators_kept_float_are_those_whose_tensor_has_too_few_steps(
    corrected, parts, ranges, images
):
    wide = {**ranges, "first": (0.0, 3000.0)}
    kept = sensitivity.most_sensitive(corrected, parts[1], wide, images[:20], 2)
    assert kept == ["first", "depthwise"]
    everything = [operator.outputs[0].name for operator in Graph(corrected).operators]
    assert sensitivity.most_sensitive(corrected, parts[1], wide, images[:2], 99) == everything
