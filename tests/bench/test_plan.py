"""What a bench says of a file before anything runs."""

import zipfile

import legacy_models
import pytest
import tiny_models

from edgecifar import runtimes
from edgecifar.bench.plan import check_file, plan
from edgecifar.errors import UserError
from edgecifar.runtimes import Options

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", "model.keras"])
def test_a_git_lfs_pointer_is_the_error_of_its_row(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(POINTER)
    check_file(path)
    ((_, _, error),) = plan([path], None, [r.name for r in runtimes.for_file(path)][:1], Options())
    assert error == (
        "is a Git LFS pointer, not the model itself: fetch the model with `git lfs pull` in its "
        "clone"
    )


def test_what_no_runtime_opens_is_named_for_what_it_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with pytest.raises(UserError, match=r"net\.pth: is a PyTorch checkpoint: load it in PyTorch"):
        check_file(tmp_path / "net.pth")
    tiny_models.write_tflite(tmp_path / "net.bin")
    with pytest.raises(UserError, match=r"is a TFLite file: give it a name in \.tflite"):
        check_file(tmp_path / "net.bin")


def test_a_folder_is_a_model_when_it_is_a_saved_model(tmp_path):
    with pytest.raises(UserError, match="is not a file"):
        check_file(tmp_path)
    path = legacy_models.saved(legacy_models.sequential(), tmp_path, "saved_model")
    check_file(path)
    ((_, runtime, error),) = plan([path], None, ["keras", "litert"], Options())
    assert (runtime.name, error) == ("keras", None)


def test_whole_models_of_keras_2_run_in_keras(tmp_path):
    model = legacy_models.sequential()
    images = (legacy_models.answers(model)[0] * 255).astype("uint8")
    expected = model.predict(images / 255, verbose=0)
    for form in ("h5", "keras", "saved_model"):
        path = legacy_models.saved(model, tmp_path, form)
        found = runtimes.open_classifier(path, normalization="unit")
        assert abs(found.classify(images) - expected).max() < 1e-5
