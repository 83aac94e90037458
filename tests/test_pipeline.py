"""Workflows without a terminal; `run` and `compress` to their end are tested as commands."""

import dataclasses

import pytest
import tiny_training
from listing import names_in

from edgecifar import pipeline
from edgecifar.export.exporter import Export
from edgecifar.models import networks
from edgecifar.models.weights import WeightsUnavailable


@pytest.fixture
def events():
    """What the hooks were called with, in order."""
    return []


def hooks(events, stop_after=None):
    """Hooks that keep what they are called with, and press Ctrl-C after an epoch."""

    def on_epoch(epoch):
        events.append(epoch.epoch)
        if epoch.epoch == stop_after:
            raise KeyboardInterrupt

    return pipeline.Hooks(
        on_download=lambda names: events.append(len(names)),
        on_epoch=on_epoch,
        on_run=lambda run: events.append(run.metrics["interrupted"]),
        on_export=lambda exported: events.append(exported),
        note=events.append,
    )


def test_ctrl_c_in_its_training_ends_a_run_before_the_export(
    events, few_test_images, little_archive, small_network, tmp_path
):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(tiny_training.CONVOLUTION, out, hooks(events, stop_after=1))
    assert events == [6, 1, True]
    assert "model.keras" in names_in(out)
    assert not any(name.endswith((".tflite", ".onnx")) for name in names_in(out))


def test_an_interrupted_training_is_resumed_to_its_end(
    events, few_test_images, little_data, small_network, tmp_path
):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        pipeline.train(tiny_training.CONVOLUTION, out, hooks(events, stop_after=2))
    run = pipeline.resume(out, hooks(events))
    assert events == [1, 2, True, 3, 4, False]
    assert run.metrics["epochs"] == 4


def test_without_imagenet_weights_a_run_starts_from_the_fallback(
    events, few_test_images, little_archive, small_run, tmp_path, monkeypatch
):
    def network(weights, **settings):
        if weights == "imagenet":
            raise WeightsUnavailable("no network")
        return tiny_training.convolution_network(weights=weights, **settings)

    monkeypatch.setitem(networks.NETWORKS, "mobilenetv2", network)
    recipe = dataclasses.replace(tiny_training.CONVOLUTION, weights="imagenet")
    with pytest.raises(WeightsUnavailable):
        pipeline.run(recipe, tmp_path / "none")
    fallback = small_run.checkpoint
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(recipe, tmp_path / "run", hooks(events, stop_after=1), fallback)
    note, *rest = events
    assert str(fallback) in note
    assert rest == [1, True]


def test_an_export_that_fails_its_check_ends_a_compression(
    events, few_test_images, little_data, small_run, tmp_path, monkeypatch
):
    from edgecifar.errors import CheckFailed
    from edgecifar.training.compression.methods import Pruning

    monkeypatch.setattr("edgecifar.export.verification.FLOAT_MIN_AGREEMENT", 1.01)
    out = tmp_path / "pruned"
    with pytest.raises(CheckFailed, match=f"nothing was written to {out / 'post-training'}: "):
        pipeline.compress(small_run.path, Pruning(epochs=1), out, hooks(events))
    *trained, exported = events
    assert trained == [1, False]
    assert isinstance(exported, Export)
    assert not exported.published
    assert not (out / "comparison.json").exists()
