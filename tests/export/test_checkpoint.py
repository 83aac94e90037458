"""Which checkpoint is meant, and what is said of one that is none."""

import json
import os
import shutil
import zipfile

import foreign_models
import h5py
import keras
import numpy as np
import pytest

from edgecifar.errors import UserError
from edgecifar.export import checkpoint
from edgecifar.export.compact_copy import half_precision, write_compact

layers = keras.layers


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model_file(small_run, tmp_path):
    """A copy of a checkpoint, with nothing beside it."""
    folder = tmp_path / "alone"
    folder.mkdir()
    return shutil.copy(small_run.checkpoint, folder / "model.keras")


def make(path, age_s=0):
    path.parent.mkdir(parents=True)
    path.write_text("any")
    os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return path


def test_the_newest_run_is_the_default(here):
    make(here / "exported" / "model.keras")
    make(here / "runs" / "z-old" / "model.keras", age_s=100)
    make(here / "runs" / "a-new" / "model.keras", age_s=10)
    (here / "runs" / "stopped-before-any-epoch").mkdir()
    assert str(checkpoint.find(None)) == "runs/a-new/model.keras"


def test_without_a_run_the_shipped_one_is_the_default(here):
    make(here / "exported" / "model.keras")
    assert str(checkpoint.find(None)) == "exported/model.keras"


def test_with_neither_the_message_says_how_to_make_one(here):
    with pytest.raises(UserError, match=r"none in runs/ .* `edgecifar train`"):
        checkpoint.find(None)


def test_a_run_folder_means_its_checkpoint(here):
    path = make(here / "run" / "model.keras")
    assert checkpoint.find(path.parent) == checkpoint.find(path) == path


def test_a_saved_model_folder_is_a_checkpoint_itself(here):
    (here / "saved").mkdir()
    (here / "saved" / "saved_model.pb").write_bytes(b"\x08\x01")
    assert checkpoint.find(here / "saved") == here / "saved"


@pytest.mark.parametrize("name", ["missing.keras", "empty"])
def test_what_is_not_there_is_one_line(here, name):
    (here / "empty").mkdir()
    with pytest.raises(UserError, match=f"no checkpoint .*{name}"):
        checkpoint.find(here / name)


def test_a_run_tells_how_it_was_trained(small_run):
    opened = checkpoint.open_checkpoint(small_run.checkpoint)
    assert opened.training["provenance"]["recipe"]["name"] == "convolution"
    assert opened.training["metrics"] == small_run.metrics
    assert opened.model.output_shape == (None, 10)


def test_a_checkpoint_on_its_own_opens_and_nothing_is_known(model_file):
    assert checkpoint.open_checkpoint(model_file).training is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"checkpoint_sha256": "0", "training": 1}'])
def test_a_card_of_something_else_is_not_believed(model_file, text):
    model_file.with_name("card.json").write_text(text)
    assert checkpoint.open_checkpoint(model_file).training is None


def test_the_card_of_this_very_checkpoint_is_believed(model_file):
    sha256 = checkpoint.open_checkpoint(model_file).sha256
    training = {"provenance": {"recipe": {"name": "x"}}, "metrics": {"best_epoch": {"epoch": 1}}}
    card = {"checkpoint_sha256": sha256, "training": training}
    model_file.with_name("card.json").write_text(json.dumps(card))
    assert checkpoint.open_checkpoint(model_file).training == training


@pytest.mark.parametrize("part", ["recipe.json", "metrics.json"])
def test_a_run_folder_without_what_a_card_needs_tells_nothing(small_run, tmp_path, part):
    folder = shutil.copytree(small_run.path, tmp_path / "run")
    (folder / part).write_text("{}")
    assert checkpoint.open_checkpoint(folder / "model.keras").training is None


@pytest.mark.parametrize("name", ["recipe.json", "metrics.json", "card.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[" * 100_000, b'{"\\ud800": 1}'])
def test_a_damaged_file_beside_it_is_ignored_and_named(small_run, tmp_path, name, content):
    folder = shutil.copytree(small_run.path, tmp_path / "run")
    (folder / name).write_bytes(content)
    opened = checkpoint.open_checkpoint(folder / "model.keras")
    assert (opened.training is None) == (name != "card.json")
    assert [line.partition(": ")[0] for line in opened.ignored] == [str(folder / name)]


def test_a_run_tells_nothing_of_another_file_in_its_folder(small_run, tmp_path):
    folder = shutil.copytree(small_run.path, tmp_path / "run")
    (folder / "model.keras").rename(folder / "other.keras")
    opened = checkpoint.open_checkpoint(folder / "other.keras")
    assert (opened.training, opened.ignored) == (None, ())


def _text(path):
    path.write_text("a model, they said")


def _truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def _empty(path):
    path.write_bytes(b"")


def _another_archive(path):
    shutil.make_archive(path.with_suffix(""), "zip", path.parent)
    path.with_suffix(".zip").rename(path)


def _flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_text, _truncated, _empty, _another_archive, _flipped])
def test_a_damaged_file_is_one_line_that_names_it(model_file, damage):
    damage(model_file)
    with pytest.raises(
        UserError, match=f"{model_file} cannot be opened as a Keras checkpoint: "
    ) as error:
        checkpoint.open_checkpoint(model_file)
    assert "\n" not in str(error.value)


def _refused(model, tmp_path, reason, **options):
    """Save a model and see that opening it says why not, in one line that names the file."""
    path = tmp_path / "refused.keras"
    model.save(path)
    with pytest.raises(UserError, match=reason) as error:
        checkpoint.open_checkpoint(path, **options)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def _classifier(image, x=None, units=10, **options):
    x = layers.Flatten(name="flatten")(image if x is None else x)
    return keras.Model(image, layers.Dense(units, name="end", **options)(x))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((16,), r"it takes inputs of shape \(None, 16\), and an image classifier takes"),
        ((3, 32, 32), r"it takes inputs of shape \(None, 3, 32, 32\)"),
        ((28, 28, 1), r"it takes inputs of shape \(None, 28, 28, 1\)"),
        ((32, 48, 3), r"images of shape \(None, 32, 48, 3\); build it for squares of one size"),
    ],
)
def test_what_takes_no_square_color_image_is_told_so(tmp_path, shape, reason):
    _refused(_classifier(keras.Input(shape)), tmp_path, reason)


def test_images_of_any_size_are_refused(tmp_path):
    image = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(image)
    reason = r"images of shape \(None, None, None, 3\); build it for squares of one size"
    _refused(_classifier(image, pooled), tmp_path, reason)


def test_what_takes_no_numbers_is_refused(tmp_path):
    image = keras.Input((32, 32, 3), dtype="bool")
    _refused(_classifier(image, keras.ops.cast(image, "float32")), tmp_path, "takes bool inputs")


def test_several_inputs_or_outputs_are_refused(tmp_path):
    one, other = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    two_inputs = keras.Model([one, other], layers.Flatten()(one + other))
    _refused(two_inputs, tmp_path, r"it has 2 input\(s\) and 1 output\(s\)")
    x = layers.Flatten()(one)
    two_outputs = keras.Model(one, {"a": layers.Dense(10)(x), "b": layers.Dense(2)(x)})
    _refused(two_outputs, tmp_path, r"it has 1 input\(s\) and 2 output\(s\)")


def test_what_gives_no_value_for_each_of_two_classes_is_refused(tmp_path):
    image = keras.Input((32, 32, 3))
    maps = keras.Model(image, layers.Conv2D(10, 3)(image))
    _refused(maps, tmp_path, r"it gives outputs of shape \(None, 30, 30, 10\)")
    _refused(_classifier(image, units=1), tmp_path, r"it gives outputs of shape \(None, 1\)")


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_network_that_was_never_built_is_refused(tmp_path):
    unbuilt = keras.Sequential([layers.Flatten(), layers.Dense(10)])
    _refused(unbuilt, tmp_path, "it has no fixed input; build it with a keras.Input")


def test_neither_probabilities_nor_logits_is_refused_by_layer(tmp_path):
    image = keras.Input((32, 32, 3))
    reason = r"its last layer 'end' \(Dense\) ends in sigmoid, which gives neither"
    _refused(_classifier(image, activation="sigmoid"), tmp_path, reason)
    inner = _classifier(keras.Input((32, 32, 3)), activation="sigmoid")
    nested = keras.Sequential([keras.Input((32, 32, 3)), inner])
    _refused(nested, tmp_path, reason)


@keras.saving.register_keras_serializable("elsewhere")
class Doubled(layers.Layer):
    """Somebody's own layer."""

    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable("elsewhere")
def doubled(x):
    """Somebody's own activation."""
    return 2 * x


def test_a_custom_layer_is_refused_by_name_even_inside_another_model(tmp_path):
    inner = keras.Sequential([keras.Input((32, 32, 3)), Doubled(name="twice")])
    image = keras.Input((32, 32, 3))
    reason = r"layer 'twice' \(Doubled\) needs Doubled, code from outside Keras"
    _refused(_classifier(image, inner(image)), tmp_path, reason)


def test_a_custom_function_is_refused_by_its_layer(tmp_path):
    model = _classifier(keras.Input((32, 32, 3)), activation=doubled)
    _refused(model, tmp_path, r"layer 'end' \(Dense\) needs elsewhere>doubled, code from outside")


def test_a_custom_loss_does_no_harm(tmp_path):
    model = _classifier(keras.Input((32, 32, 3)))
    model.compile(loss=doubled, metrics=[doubled])
    model.save(tmp_path / "compiled.keras")
    assert checkpoint.open_checkpoint(tmp_path / "compiled.keras").classes == 10


def test_code_inside_a_checkpoint_does_not_run(tmp_path):
    image = keras.Input((32, 32, 3), dtype="uint8")
    twice = layers.Lambda(lambda x: x, output_shape=(32, 32, 3), name="code")(image)
    reason = r"layer 'code' \(Lambda\) holds Python code, which never runs from a checkpoint"
    _refused(_classifier(image, twice), tmp_path, reason)


def test_a_layer_that_stays_in_training_is_refused_by_name(tmp_path):
    image = keras.Input((32, 32, 3))
    left_to_chance = layers.Dropout(0.5, name="always")(image, training=True)
    reason = r"layer 'always' \(Dropout\) is called with training=True"
    _refused(_classifier(image, left_to_chance), tmp_path, reason)


def test_what_scales_inside_is_told_to_leave_the_option_out(small_run):
    with pytest.raises(UserError, match="leave `normalization=unit` out"):
        checkpoint.open_checkpoint(small_run.checkpoint, "unit")


def test_an_unknown_normalization_is_one_line(tmp_path):
    reason = "`normalization=z-score`: expected auto, raw, unit, symmetric, centered, imagenet"
    path = tmp_path / "sequential.keras"
    foreign_models.sequential().save(path)
    with pytest.raises(UserError, match=reason):
        checkpoint.open_checkpoint(path, "z-score")


def test_own_checkpoints_open_as_they_are(small_run):
    opened = checkpoint.open_checkpoint(small_run.checkpoint)
    assert opened.model.get_layer("scale").output.shape == (None, 32, 32, 3)
    assert (opened.classes, opened.normalization) == (10, None)
    assert opened.labels[3] == "cat"
    assert opened.knows_cifar10


@pytest.mark.parametrize("content", ["[]", "{", '{"class_name": "Functional"}'])
def test_an_archive_with_another_config_is_one_line(tmp_path, content):
    path = tmp_path / "other.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", content)
    with pytest.raises(UserError, match=f"{path}.* ") as error:
        checkpoint.open_checkpoint(path)
    assert "\n" not in str(error.value)


def test_half_precision_keeps_11_bits_and_the_range_of_float32():
    values = np.array([0, 1, -1.5, 1 + 2**-11, 1 + 3 * 2**-11, 1e-30, -3e38], np.float32)
    rounded = half_precision(values)
    assert rounded.dtype == np.float32
    assert rounded[:5].tolist() == [0, 1, -1.5, 1, 1 + 2**-9]  # ties go to even
    np.testing.assert_allclose(rounded, values, rtol=2**-11)
    small = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(half_precision(small), small.astype(np.float16))


def test_a_resizing_that_keras_calls_in_training_is_no_matter_of_chance(tmp_path):
    image = keras.Input((32, 32, 3))
    x = keras.layers.Resizing(48, 48)(image, training=True)
    x = keras.layers.GlobalAveragePooling2D()(x)
    path = tmp_path / "resizing.keras"
    keras.Model(image, keras.layers.Dense(10, "softmax")(x)).save(path)
    assert checkpoint.open_checkpoint(path).classes == 10


def test_damage_that_keras_does_not_read_is_one_line_of_the_compact_copy(tmp_path, model_file):
    with zipfile.ZipFile(model_file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = bytearray(members["model.weights.h5"])
    # Where the B-tree of a group says that it has this many entries.
    at = weights.index(b"TREE") + 6
    weights[at : at + 2] = b"\xff\xff"
    members["model.weights.h5"] = bytes(weights)
    with zipfile.ZipFile(tmp_path / "damaged.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=r"damaged\.keras: model\.weights\.h5 in it is damaged: "):
        write_compact(tmp_path / "damaged.keras", tmp_path / "compact.keras")


def test_damaged_weights_are_one_line_of_the_compact_copy(tmp_path):
    whole, damaged = tmp_path / "whole.h5", tmp_path / "damaged.keras"
    with h5py.File(whole, "w") as file:
        file["weights"] = np.zeros(1000, np.float32)
        values = file["weights"].id.get_offset()
    content = whole.read_bytes()
    for broken in (b"no HDF5", content[: values + 100], b"\0" * 400 + content[400:]):
        with zipfile.ZipFile(damaged, "w") as archive:
            archive.writestr("model.weights.h5", broken)
        with pytest.raises(
            UserError, match=r"damaged\.keras: model\.weights\.h5 in it is damaged"
        ) as error:
            write_compact(damaged, tmp_path / "copy.keras")
        assert "\n" not in str(error.value)
