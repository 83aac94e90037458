"""`edgecifar info`."""

import json

import pytest
from bad_files import BAD_FILES


@pytest.mark.parametrize("make", BAD_FILES)
def test_info_of_a_bad_file_is_one_line_that_names_it(refused, tmp_path, make):
    path = make(tmp_path)
    assert str(path) in refused("info", path)


def test_info_is_a_text_or_json(edgecifar, tiny_tflite):
    code, out, _ = edgecifar("info", tiny_tflite)
    assert code == 0
    assert "uint8 (1, 32, 32, 3)" in out
    code, out, _ = edgecifar("info", tiny_tflite, "--json")
    assert code == 0
    assert json.loads(out)["operators"]["FULLY_CONNECTED"] == 1
