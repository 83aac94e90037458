"""What a user says of a file, and the file does not do, is in its row."""

import foreign_files
import pytest

from edgecifar.bench.runner import bench
from edgecifar.bench.settings import OFFLINE, BenchSettings
from edgecifar.data import shipped
from edgecifar.data.cifar10 import CLASSES
from edgecifar.graphs import METADATA
from edgecifar.graphs.tflite import Graph
from edgecifar.runtimes import Options


def row_of(path, **changes) -> dict:
    settings = BenchSettings(**{"samples": 200, "max_seconds": 0.1, **changes})
    (row,) = bench([path], ["litert"], settings)["rows"]
    assert row["error"] is None
    return row


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"normalization": "unit"}, "`normalization=unit`"), ({"labels": CLASSES[::-1]}, "`labels`")],
)
def test_an_own_file_is_as_right_as_without_and_the_row_says_why(tmp_path, changes, named):
    training = shipped.calibration_set()
    network = foreign_files.fitted(training.images(), training.labels)
    path = foreign_files.write_tflite(tmp_path / "own.tflite", network)
    graph = Graph(path.read_bytes())
    graph.set_metadata(METADATA, b'{"input": {"values": "raw RGB pixels, 0 to 255"}}')
    path.write_bytes(graph.to_bytes())

    plain, told = row_of(path), row_of(path, **changes)
    assert plain["warning"] is None
    assert plain["top1"] > 0.18  # by guessing 0.1
    assert told["top1"] == plain["top1"]
    assert told["confusion"] == plain["confusion"]
    assert told["normalization"] == "raw"
    assert told["labels"] is None
    assert f"{named} is not used" in told["warning"]


def test_a_file_of_one_image_a_call_does_not_take_a_batch_and_the_row_says_so(tiny_tflite):
    row = row_of(tiny_tflite, scenario=OFFLINE, options=Options(batch=8))
    assert row["batch"] == 1
    assert "1 images a call, whatever `batch=8` says" in row["warning"]
    unasked = row_of(tiny_tflite, scenario=OFFLINE, normalization="raw")
    assert (unasked["batch"], unasked["warning"]) == (1, None)
