"""Exports beside each other."""

import json
import shutil
import zlib
from pathlib import Path

import pytest

from edgecifar.errors import UserError
from edgecifar.training.compression.comparison import compare

EXPORT = Path(__file__).parents[3] / "exported"


@pytest.mark.skipif(not (EXPORT / "card.json").is_file(), reason="the shipped export is not here")
def test_exports_are_compared_by_their_cards_and_their_files(tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    card = json.loads((EXPORT / "card.json").read_text())
    shutil.copy(EXPORT / "card.json", bare)
    (bare / "model.tflite").write_bytes(bytes(100_000))
    found = compare({"whole": EXPORT, "bare": bare}, tmp_path)
    assert json.loads((tmp_path / "comparison.json").read_text()) == found
    assert [row["name"] for row in found] == ["whole", "bare"]
    whole, empty = found
    content = (EXPORT / "model.tflite").read_bytes()
    assert whole["tflite_bytes"] == len(content)
    deflated = len(zlib.compress(content, 9, wbits=-zlib.MAX_WBITS))
    assert whole["tflite_compressed_bytes"] == pytest.approx(deflated, abs=64)
    assert empty["tflite_compressed_bytes"] < 1_000
    top1 = {row["file"]: row["top1"] for row in card["files"]}
    assert whole["checkpoint_top1"] == card["checkpoint_top1"]
    assert whole["tflite_top1"] == top1["model.tflite"]
    assert whole["onnx_top1"] == top1["model.onnx"]


@pytest.mark.parametrize(
    "card", ["{", "[]", '{"checkpoint_sha256": "0"}', '{"checkpoint_sha256": "0", "files": [1]}']
)
def test_what_is_no_card_of_an_export_is_one_line_that_names_it(tmp_path, card):
    (tmp_path / "card.json").write_text(card)
    with pytest.raises(UserError, match=f"{tmp_path / 'card.json'}: ") as error:
        compare({"odd": tmp_path}, tmp_path)
    assert "\n" not in str(error.value)
