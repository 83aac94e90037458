"""`edgecifar info`."""

import json

import pytest
from bad_files import BAD_FILES

from edgecifar import files


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


def test_a_card_that_describes_another_file_is_noticed_by_info_and_bench(edgecifar, tiny_tflite):
    card = tiny_tflite.parent / "card.json"
    described = {"file": tiny_tflite.name, "sha256": files.sha256(tiny_tflite)}
    for found in (described, described | {"sha256": "0" * 64}):
        card.write_text(json.dumps({"checkpoint_sha256": "0" * 64, "files": [found]}))
        for command in (("info",), ("bench", "--samples", "10", "--max-seconds", "0.1")):
            code, _, err = edgecifar(*command, tiny_tflite)
            assert code == 0
            noticed = f"{card} describes another {tiny_tflite.name}" in err
            assert noticed == (found is not described)
