"""What a fine-tuning leaves behind: a plain checkpoint that keeps what the method gave it."""

import csv
import dataclasses
import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
import small_networks
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tiny_training import ignore, no_progress

from edgecifar import files
from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.export.checkpoint import open_checkpoint
from edgecifar.export.compact_copy import write_compact
from edgecifar.export.conversion import convert
from edgecifar.export.exporter import export
from edgecifar.export.settings import INT8, ExportSettings
from edgecifar.models import int8_steps
from edgecifar.models.networks import multiply_accumulates
from edgecifar.training.batches import hold_out
from edgecifar.training.compression import finetuning
from edgecifar.training.compression.finetuning import finetune
from edgecifar.training.compression.methods import Clustering, Pruning, QuantizationAware
from edgecifar.training.compression.sizes import compressed_size
from edgecifar.training.devices import machine_summary
from edgecifar.training.run_folder import RunFolder
from edgecifar.training.step_watch import Diverged

NAMES = ["quantization-aware", "pruning", "clustering"]
LARGE_KERNELS = ["stem", "project", "probabilities"]
KERNELS = [*LARGE_KERNELS, "depthwise"]
METHOD = QuantizationAware()


def load(run):
    return keras.saving.load_model(run.checkpoint, compile=False)


def kernel(model, name):
    return np.asarray(model.get_layer(name).kernel)


def int8_file(checkpoint, folder):
    """The exporter's int8 TFLite file, without the rest of an export."""
    write_compact(checkpoint, folder / "compact.keras")
    settings = ExportSettings(("int8",), ("tflite",), calibration="minmax", calibration_images=50)
    (made,) = convert(open_checkpoint(folder / "compact.keras"), settings).files
    path = folder / "model.tflite"
    path.write_bytes(made.with_metadata("{}"))
    return path


def int8_kernels(path):
    """The int8 weights of each layer that has a kernel, in order, output channels first."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    found = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weights = interpreter.get_tensor(operator["inputs"][1])
            depthwise = operator["op_name"] == "DEPTHWISE_CONV_2D"
            found.append(np.moveaxis(weights, -1, 0)[:, 0] if depthwise else weights)
    return dict(zip(["stem", "depthwise", "project", "probabilities"], found, strict=True))


def on_steps(weights):
    """A kernel in steps of its output channels, those first."""
    depthwise = weights.shape[-1] == 1
    if depthwise:
        weights = weights[..., 0]
    taps = np.moveaxis(weights, -1, 0)
    steps = int8_steps.steps(weights.reshape(-1, len(taps)), depthwise)
    return taps / steps.reshape(-1, *[1] * (taps.ndim - 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoint_is_plain_keras_with_other_weights(name, parent, finetuned):
    run = finetuned(name)
    with zipfile.ZipFile(run.checkpoint) as archive:
        config = archive.read("config.json").decode()
    assert not any(word in config for word in ("tf_keras", "tfmot", "uantize", "Prune", "Cluster"))
    before, after = load(parent), load(run)
    assert [layer.get_config() for layer in before.layers] == [
        layer.get_config() for layer in after.layers
    ]
    for layer in KERNELS:
        assert not np.array_equal(kernel(before, layer), kernel(after, layer))


@pytest.mark.parametrize("name", NAMES)
def test_recipe_json_is_the_parents_and_the_method(name, parent, finetuned):
    made = json.loads((finetuned(name).path / "recipe.json").read_text())
    facts = made.pop("compression")
    assert made == json.loads((parent.path / "recipe.json").read_text())
    assert facts["method"] == name
    assert facts["epochs"] == 2
    assert facts["parent_sha256"] == files.sha256(parent.checkpoint)
    assert facts["versions"]["tf-keras"]


@pytest.mark.parametrize("name", NAMES)
def test_the_history_has_a_row_an_epoch_and_the_metrics_their_figures(name, finetuned):
    run = finetuned(name)
    with (run.path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["stage"], row["size"]) for row in rows] == [
        ("1", name, "24"),
        ("2", name, "24"),
    ]
    assert float(rows[0]["learning_rate"]) > float(rows[1]["learning_rate"])
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert metrics["interrupted"] is False
    assert metrics["test_images"] == 10_000
    assert metrics["test_top1"] > 0.12
    assert metrics["parent_validation_top1"] > 0.12
    assert metrics["parameters"] == load(run).count_params()
    assert metrics["multiply_accumulates"] == multiply_accumulates(load(run))
    assert metrics["machine"] == machine_summary()


@pytest.mark.parametrize("name", ["pruning", "clustering"])
def test_the_kept_epoch_is_the_best_by_the_checkpoint_itself(name, finetuned):
    run, recipe = finetuned(name), small_networks.RECIPE
    split = hold_out(shipped.calibration_set(), recipe["validation_images"], recipe["seed"])
    held = split.validation
    predicted = load(run).predict(split.images[held], verbose=0).argmax(axis=1)
    top1 = np.mean(predicted == split.labels[held])
    assert top1 == pytest.approx(max(epoch.validation_top1 for epoch in run.epochs))


def test_weights_trained_quantization_aware_are_on_int8_steps(parent, finetuned):
    before, after = load(parent), load(finetuned("quantization-aware"))
    for layer in KERNELS:
        steps = on_steps(kernel(after, layer))
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
        others = on_steps(kernel(before, layer))
        assert np.abs(others - np.round(others)).max() > 0.3


def test_they_are_the_int8_values_of_the_exported_file(finetuned, tmp_path):
    run = finetuned("quantization-aware")
    model = load(run)
    in_file = int8_kernels(int8_file(run.checkpoint, tmp_path))
    for layer in KERNELS:
        expected = np.round(on_steps(kernel(model, layer)))
        found = in_file[layer].astype(int)
        # A negative gain of the batch norm turns the signs of a whole channel.
        flat = np.sign((found * expected).reshape(len(found), -1).sum(axis=1))
        signs = flat.reshape(-1, *[1] * (found.ndim - 1))
        np.testing.assert_array_equal(found, (expected * signs).reshape(found.shape))


def test_pruned_weights_are_zeros_up_to_the_exported_file(parent, finetuned, tmp_path):
    run = finetuned("pruning")
    model = load(run)
    for layer in LARGE_KERNELS:
        assert np.mean(kernel(model, layer) == 0) == pytest.approx(0.6, abs=0.01)
    assert np.mean(kernel(model, "depthwise") == 0) < 0.1
    assert not np.any(kernel(load(parent), "project") == 0)
    exported = export(run.checkpoint, tmp_path / "exported", INT8)
    assert exported.published, [row.failure for row in exported.verifications]
    in_file = int8_kernels(tmp_path / "exported" / "model.tflite")
    for layer in LARGE_KERNELS:
        zeros = np.moveaxis(kernel(model, layer), -1, 0) == 0
        assert not in_file[layer][zeros.reshape(in_file[layer].shape)].any()
    card = json.loads((tmp_path / "exported" / "card.json").read_text())
    assert card["training"]["provenance"]["compression"]["sparsity"] == 0.6


def test_clustered_kernels_have_few_values(parent, finetuned, tmp_path):
    run = finetuned("clustering")
    model = load(run)
    for layer in LARGE_KERNELS:
        assert 2 < len(np.unique(kernel(model, layer))) <= 8
    assert len(np.unique(kernel(model, "depthwise"))) > 8
    in_file = int8_kernels(int8_file(run.checkpoint, tmp_path))
    for channel in in_file["project"]:  # batch norm's gain is another for each
        assert len(np.unique(channel)) <= 8


@pytest.mark.parametrize("name", ["pruning", "clustering"])
def test_the_checkpoint_costs_less_compressed(name, parent, finetuned):
    assert compressed_size(finetuned(name).checkpoint) < compressed_size(parent.checkpoint)


def test_ctrl_c_keeps_the_best_epoch(parent, tmp_path):
    def stop(epoch):
        raise KeyboardInterrupt

    method = Pruning(sparsity=0.5, epochs=2, batch=100)
    run = finetune(
        parent.path, method, shipped.calibration_set(), tmp_path / "run", no_progress, stop
    )
    assert run.metrics["interrupted"] is True
    assert run.metrics["epochs"] == 1
    assert "test_top1" not in run.metrics
    assert np.mean(kernel(load(run), "project") == 0) == pytest.approx(0.5, abs=0.01)
    with pytest.raises(UserError, match="a compression or an average keeps no state"):
        RunFolder.reopen(run.path)


def test_a_loss_that_diverges_names_the_setting_of_the_method(parent, tmp_path):
    method = Pruning(sparsity=0.5, epochs=2, batch=100, learning_rate=1e30)
    with pytest.raises(Diverged, match=r"try Pruning\(learning_rate=1e\+29\); no epoch is kept"):
        finetune(
            parent.path, method, shipped.calibration_set(), tmp_path / "run", no_progress, ignore
        )


@pytest.fixture
def refused(parent, tmp_path):
    """The one line by which a fine-tuning is refused; nothing is left where it would be."""

    def refused(checkpoint=parent.path, method=METHOD, data=None):
        data = data or shipped.calibration_set()
        with pytest.raises(UserError) as caught:
            finetune(checkpoint, method, data, tmp_path / "new", no_progress, ignore)
        assert not (tmp_path / "new").exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refused


def test_no_such_run(refused, tmp_path):
    assert "no run" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "there is no checkpoint" in refused(tmp_path / "empty")


def test_a_run_that_was_killed(refused, parent, tmp_path):
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("model.keras", "recipe.json"):
        (killed / name).write_bytes((parent.path / name).read_bytes())
    assert "has not ended" in refused(killed)


@pytest.mark.parametrize("recipe", [None, "{", "[]", '{"recipe": {"name": "x"}}'])
def test_a_checkpoint_of_unknown_making(recipe, refused, parent, tmp_path):
    folder = tmp_path / "unknown"
    folder.mkdir()
    (folder / "model.keras").write_bytes(parent.checkpoint.read_bytes())
    if recipe is not None:
        (folder / "recipe.json").write_text(recipe)
        (folder / "metrics.json").write_text("{}")
    assert "how it was trained" in refused(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", "one"),
        ("seed", -1),
        ("validation_images", None),
        ("validation_images", 0),
        ("label_smoothing", [0.1]),
        ("training_images", "900"),
    ],
)
def test_a_recipe_of_wrong_types(field, value, refused, parent, tmp_path):
    folder = shutil.copytree(parent.path, tmp_path / "odd")
    known = json.loads((folder / "recipe.json").read_text())
    (known if field in known else known["recipe"])[field] = value
    (folder / "recipe.json").write_text(json.dumps(known))
    assert f"{folder / 'recipe.json'} does not say how it was trained" in refused(folder)


@pytest.mark.parametrize("metrics", ["{", "[]", '{"accuracy": 0.9}'])
def test_metrics_that_do_not_say_that_the_run_has_ended(metrics, refused, parent, tmp_path):
    folder = shutil.copytree(parent.path, tmp_path / "odd")
    (folder / "metrics.json").write_text(metrics)
    said = refused(folder)
    assert f"nothing says whether the run {folder} has ended" in said
    assert str(folder / "metrics.json") in said


def test_a_damaged_recipe_is_named(refused, parent, tmp_path):
    folder = shutil.copytree(parent.path, tmp_path / "odd")
    (folder / "recipe.json").write_bytes(b"\xff{}")
    said = refused(folder)
    assert "says how it was trained" in said
    assert f"{folder / 'recipe.json'}: it is not JSON in UTF-8" in said


def test_a_damaged_checkpoint(refused, parent, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name in ("recipe.json", "metrics.json"):
        (folder / name).write_bytes((parent.path / name).read_bytes())
    (folder / "model.keras").write_bytes(parent.checkpoint.read_bytes()[:1000])
    assert "cannot be opened" in refused(folder)


def test_the_card_of_an_export_says_how_its_checkpoint_was_trained(parent, tmp_path):
    checkpoint = tmp_path / "model.keras"
    checkpoint.write_bytes(parent.checkpoint.read_bytes())
    provenance = json.loads((parent.path / "recipe.json").read_text())
    card = {"checkpoint_sha256": files.sha256(checkpoint), "training": {"provenance": provenance}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert finetuning.find_parent(tmp_path) == (checkpoint, provenance)
    (tmp_path / "card.json").write_text(json.dumps(card | {"checkpoint_sha256": "another's"}))
    with pytest.raises(UserError, match="how it was trained"):
        finetuning.find_parent(checkpoint)


def test_other_images_than_the_parents(refused):
    assert "10000" in refused(data=shipped.test_set())


@pytest.mark.parametrize(
    "method",
    [
        Pruning(sparsity=1.0),
        Pruning(sparsity=0.0),
        Clustering(clusters=1),
        dataclasses.replace(METHOD, epochs=0),
        dataclasses.replace(METHOD, learning_rate=float("nan")),
        dataclasses.replace(METHOD, batch=901),
    ],
    ids=str,
)
def test_settings_out_of_range(method, refused):
    assert refused(method=method).startswith(f"{method.name}: ")


def test_a_folder_with_something_in_it(parent):
    with pytest.raises(UserError, match="not empty"):
        finetune(parent.path, METHOD, shipped.calibration_set(), parent.path, no_progress, ignore)
