"""What an export is asked for: every wrong value is named, and every file has its own name."""

import pytest

from edgecifar.errors import UserError
from edgecifar.export.settings import ALL_NAMES, INT8, PRECISIONS, ExportSettings, file_name


def test_the_short_form_makes_four_files():
    names = [file_name(precision, form) for precision, form in INT8.files()]
    assert names == ["model.float.tflite", "model.float.onnx", "model.tflite", "model.onnx"]


def test_every_file_has_a_name_of_its_own():
    every = ExportSettings(precisions=tuple(PRECISIONS))
    names = [file_name(precision, form) for precision, form in every.files()]
    assert sorted(names) == sorted(ALL_NAMES)
    assert len(set(names)) == len(names) == 11


def test_what_onnx_does_not_know_is_made_in_tflite_alone():
    settings = ExportSettings(precisions=("int16x8", "int16x8"))
    assert list(settings.files()) == [("int16x8", "tflite")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"precisions": ()}, "`precisions`: expected one of"),
        ({"precisions": ("int4",)}, "`precisions=int4`"),
        ({"formats": ("pt",)}, "`formats=pt`"),
        ({"precisions": ("int16x8",), "formats": ("onnx",)}, "none in ONNX"),
        ({"calibration": "guess"}, "`calibration=guess`"),
        ({"calibration_images": 901}, "`calibration_images=901`"),
        ({"batch": "all"}, "`batch=all`"),
        ({"batch": 0}, "`batch=0`"),
        ({"c_array": True}, "`c_array` goes with"),
        ({"c_array": True, "precisions": ("int8",), "formats": ("onnx",)}, "in TFLite"),
        (
            {"precisions": ("int8", "int16x8"), "formats": ("onnx",)},
            "`precisions=int16x8`: there is none",
        ),
        ({"keep_float": ("conv",), "precisions": ("dynamic",)}, "`keep_float` goes with"),
        ({"keep_float": ("auto:2", "conv"), "precisions": ("int8",)}, "alone"),
        ({"keep_float": ("auto:x",), "precisions": ("int8",)}, "auto:N"),
        ({"keep_float": ("auto:0",), "precisions": ("int8",)}, "auto:N"),
        ({"license": "mine:\n- all"}, "`license=mine"),
        ({"license": ""}, "`license=`"),
        ({"normalization": "z-score"}, "`normalization=z-score`: expected auto, raw, unit"),
    ],
)
def test_a_wrong_setting_is_named(given, words):
    with pytest.raises(UserError, match=words):
        ExportSettings(**given)


@pytest.mark.parametrize(("keep", "count"), [((), 0), (("conv",), 0), (("auto:7",), 7)])
def test_layers_may_be_left_to_choose(keep, count):
    settings = ExportSettings(precisions=("int8",), keep_float=keep)
    assert settings.kept_automatically == count
