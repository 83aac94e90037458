"""What a file says of itself, and what a user says of it."""

from pathlib import Path

import foreign_files
import numpy as np
import pytest
import tiny_models

from edgecifar import runtimes
from edgecifar.data.cifar10 import CLASSES
from edgecifar.graphs import METADATA
from edgecifar.graphs.tflite import Graph

OTHER_ORDER = CLASSES[::-1]


def as_own(path: Path) -> Path:
    """Let a TFLite file say that it is of this project."""
    graph = Graph(path.read_bytes())
    graph.set_metadata(METADATA, b'{"input": {"values": "raw RGB pixels, 0 to 255"}}')
    path.write_bytes(graph.to_bytes())
    return path


@pytest.fixture(params=["UINT8", "FLOAT32"])
def own(request, tmp_path) -> Path:
    path = tmp_path / "own.tflite"
    return as_own(tiny_models.write_tflite(path, input_dtype=request.param))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"normalization": "unit"}, "`normalization=unit`"),
        ({"normalization": "0.4,0.3"}, "`normalization=0.4,0.3`"),
        ({"labels": OTHER_ORDER}, "`labels`"),
        (
            {"normalization": "imagenet", "labels": OTHER_ORDER},
            "`normalization=imagenet`, `labels`",
        ),
    ],
)
def test_what_an_own_file_says_of_itself_stands(own, images, arguments, named):
    found = runtimes.open_classifier(own, **arguments)
    np.testing.assert_allclose(found.classify(images), tiny_models.probabilities(images), atol=1e-4)
    assert (found.normalization, found.labels) == ("raw", None)
    assert found.warning.endswith(f": {named} is not used")


@pytest.mark.parametrize("normalization", ["auto", "raw"])
def test_an_own_file_has_no_warning_where_nothing_else_was_said(own, normalization):
    assert runtimes.open_classifier(own, normalization=normalization).warning is None


def test_of_a_foreign_file_the_user_knows_best(tmp_path, images):
    values = images / 255
    network = foreign_files.untrained(values)
    path = foreign_files.write_tflite(tmp_path / "foreign.tflite", network)
    found = runtimes.open_classifier(path, normalization="unit", labels=OTHER_ORDER)
    expected = network.probabilities(values)[:, ::-1]
    np.testing.assert_allclose(found.classify(images), expected, atol=1e-4)
    assert found.warning is None
