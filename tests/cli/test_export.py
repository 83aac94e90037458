"""`edgecifar export`."""

import pytest
from bad_files import directory, empty, missing, text, truncated_keras
from listing import names_in

from edgecifar.data import shipped
from edgecifar.runtimes import normalization as normalizations


@pytest.mark.parametrize("make", [missing, directory, empty, text, truncated_keras])
def test_export_of_a_bad_file_is_one_line_that_names_it(refused, tmp_path, make):
    path = make(tmp_path)
    assert str(path) in refused("export", path, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "int4"], "--precision int4: expected float32, float16"),
        (["--format", "pt"], "--format pt: expected tflite, onnx"),
        (["--precision", "int16x8", "--format", "onnx"], "there is none in ONNX"),
        (["--calibration", "guess"], "--calibration guess: expected auto, minmax"),
        (["--int8", "--calibration-images", "0"], "--calibration-images 0: expected 1 to 900"),
        (["--batch", "many"], "--batch many: expected a number of images or dynamic"),
        (["--batch", "0"], "--batch 0: expected 1 or more"),
        (["--c-array"], "--c-array goes with --int8"),
        (["--int8", "--keep-float", "auto:many"], "expected names, or auto:N alone"),
        (["--int8", "--keep-float", "auto:2,conv"], "expected names, or auto:N alone"),
        (["--normalization", "unit"], "leave --normalization unit out"),
    ],
)
def test_a_wrong_export_option_is_one_line(refused, small_run, tmp_path, options, words):
    assert words in refused("export", small_run.path, "--out", tmp_path / "out", *options)


def test_a_layer_that_is_not_there_is_named_beside_some_that_are(edgecifar, small_run, tmp_path):
    options = ("--out", tmp_path / "out", "--int8", "--keep-float", "seconds")
    code, _, err = edgecifar("export", small_run.path, *options)
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("edgecifar: --keep-float seconds: no such layer; there is second")


def test_an_unwritable_export_folder_is_one_line(refused, small_run, tiny_tflite):
    line = refused("export", small_run.path, "--out", tiny_tflite / "out")
    assert f"cannot write in {tiny_tflite / 'out'}: Not a directory" in line


def test_an_export_that_fails_its_check_ends_with_1_and_writes_nothing(
    edgecifar, small_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("edgecifar.export.verification.FLOAT_MIN_AGREEMENT", 1.01)
    code, out, err = edgecifar("export", small_run.path, "--out", tmp_path / "out")
    assert code == 1
    last = err.splitlines()[-1]
    assert last.startswith(f"edgecifar: nothing was written to {tmp_path / 'out'}: model.float")
    assert "agreement 100.00% is below 101.0%" in last
    assert "model.float.onnx" in out
    assert names_in(tmp_path / "out") == ["export.log"]


@pytest.mark.parametrize(
    ("trained_with", "said", "noted"),
    [
        ("cifar10", "--normalization cifar10 says: it is right on", False),
        # A scale alone does not change its choices: the lowest cross-entropy decides.
        ("unit", "says: it is right on", False),
        (None, "", True),
    ],
)
def test_an_export_says_which_normalization_it_found_out(
    edgecifar, tmp_path, few_test_images, trained_with, said, noted
):
    import keras

    keras.utils.set_random_seed(0)
    train = shipped.calibration_set()
    network = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    if trained_with:
        normalization = normalizations.NAMED[trained_with]
        network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        pixels = (train.images() / 255 - normalization.mean) / normalization.deviation
        network.fit(pixels, train.labels, batch_size=100, epochs=10, verbose=0)
    # Large logits, as raw pixels give, differ by more than a float file may.
    network.set_weights([weight / 100 for weight in network.get_weights()])
    network.save(tmp_path / "theirs.keras")
    options = ("--format", "tflite", "--out", tmp_path / "out")
    code, out, err = edgecifar("export", tmp_path / "theirs.keras", *options)
    assert code == 0, err
    assert said in out
    assert ("its pixels go in as --normalization" in out) != noted
    assert ("the pixels go in as 0 to 255" in err) == noted
    assert ("the checkpoint is right on" in err) == noted


def test_an_export_shows_its_verification_and_where_the_files_are(edgecifar, small_run, tmp_path):
    code, out, _ = edgecifar("export", small_run.path, "--out", tmp_path)
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    for name in ("model.float.tflite", "model.float.onnx"):
        assert rows[name][1] == "float32"
        assert rows[name][-1] == "right"
        assert (tmp_path / name).exists()
    assert f"written to {tmp_path}" in out
