"""A `.keras` archive that would fill the memory is refused before anything is allocated."""

import json
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from edgecifar.errors import UserError
from edgecifar.export.checkpoint import open_checkpoint
from edgecifar.graphs import keras_archive
from edgecifar.models.keras_loader import open_model
from edgecifar.runtimes import Options
from edgecifar.runtimes.keras import KerasSession

SHIPPED = Path(__file__).parents[2] / "exported" / "model.keras"


def in_bench(path):
    KerasSession(path, Options())


def layer(kind, inputs, **settings):
    shape = [None, 1, 1, inputs] if kind.startswith("Conv") else [None, inputs]
    return {"class_name": kind, "config": settings, "build_config": {"input_shape": shape}}


def archive(path, layers, weights=b"weights"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", json.dumps({"config": {"layers": layers}}))
        file.writestr("model.weights.h5", weights)
    return path


def inflating(path, size):
    """Write an archive whose config.json is blanks alone, `size` bytes of them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("config.json", "w", force_zip64=True) as config:
            for _ in range(size // 2**20):
                config.write(b" " * 2**20)
        file.writestr("model.weights.h5", b"weights")
    return path


@pytest.mark.parametrize(
    "layers",
    [
        [layer("Dense", 2_000_000, units=2000)],
        [layer("Dense", 4096, units=4096, name=str(i)) for i in range(250)],
        [layer("Conv2D", 4096, filters=4096, kernel_size=[7, 7])],
        [layer("Embedding", 1, input_dim=10**9, output_dim=4)],
    ],
)
def test_a_config_that_asks_for_more_weights_than_there_are_is_refused(tmp_path, layers):
    path = archive(tmp_path / "trap.keras", layers)
    for opens in (open_checkpoint, open_model, in_bench):
        with pytest.raises(UserError, match=r"trap\.keras.* it asks for .* weights and holds "):
            opens(path)


def test_a_config_that_inflates_is_refused_before_it_is_read(tmp_path):
    path = inflating(tmp_path / "bomb.keras", 100 * 2**20)
    for opens in (open_checkpoint, open_model, in_bench):
        tracemalloc.start()
        with pytest.raises(UserError, match=r"its config\.json has more than 32 MiB"):
            opens(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


def test_a_config_that_hides_its_size_is_refused(tmp_path):
    path = inflating(tmp_path / "bomb.keras", 100 * 2**20)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        size = file.getinfo("config.json").file_size
    assert size == 100 * 2**20
    place = content.rindex(size.to_bytes(4, "little"))  # in the archive's directory
    content[place : place + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"its config\.json is larger than it says"):
        keras_archive.read(path)


def test_an_archive_of_too_many_bytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_archive, "LARGEST_BYTES", 2**20)
    path = archive(tmp_path / "large.keras", [], bytes(2**21))
    with pytest.raises(ValueError, match="it inflates to more than"):
        keras_archive.read(path)


def test_real_checkpoints_hold_the_weights_that_they_ask_for():
    config, _ = keras_archive.read(SHIPPED)
    assert 1_000_000 < keras_archive._weights(config) < 2_270_794


@pytest.mark.parametrize(
    "odd", [None, [], {"input_shape": None}, {"input_shape": ["?"]}, {"input_shape": [None]}]
)
def test_a_layer_that_says_nothing_of_its_size_counts_as_none(tmp_path, odd):
    layers = [{"class_name": "Dense", "config": {"units": "many"}, "build_config": odd}]
    keras_archive.read(archive(tmp_path / "odd.keras", layers))
