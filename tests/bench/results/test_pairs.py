"""Rows of one bench beside each other."""

import importlib.util

import pytest
import tiny_models

from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings


@pytest.mark.skipif(
    not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")),
    reason="onnx and onnxruntime are not installed",
)
@pytest.mark.timing
def test_calls_of_several_images_are_compared_by_the_image(tmp_path):
    four = tiny_models.write_onnx(tmp_path / "four.onnx", batch=4)
    one = tiny_models.write_onnx(tmp_path / "one.onnx")
    settings = BenchSettings(samples=100, max_seconds=0.5)
    made = bench([four, one], ["onnxruntime"], settings)
    a, b = made["rows"]
    assert (a["batch"], b["batch"]) == (4, 1)
    (pair,) = made["pairs"]
    by_image = a["latency_ms"]["p50"] / 4 / b["latency_ms"]["p50"]
    assert pair["ratio"] == pytest.approx(by_image, rel=0.5)  # by the call it is 4 times that
    low, high = pair["ratio_interval"]
    assert low <= pair["ratio"] <= high
    assert pair["agreement"] == 1
