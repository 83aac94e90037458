"""The picture of the front: the file says what it was drawn from."""

import dataclasses
import json

import pytest
from front import RECORD, Point, points

pytest.importorskip("matplotlib")

from front_picture import digest, drawn_from, main, save

SHOWN = [
    Point("a", "int8", "litert", 0.5, 0.8, False),
    Point("a", "int8", "onnxruntime", 0.4, 0.8, False),
    Point("b", "float32", "litert", 1.5, 0.9, False),
]


def recorded() -> list[Point]:
    return points(json.loads(RECORD.read_text("utf-8")))


def test_the_same_points_give_the_same_file(tmp_path):
    for name in ("one.svg", "other.svg"):
        save(SHOWN, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_a_picture_says_which_points_it_shows(tmp_path):
    save(SHOWN, tmp_path / "front.svg")
    found = drawn_from((tmp_path / "front.svg").read_text("utf-8"))
    assert found == digest(SHOWN)
    for change in ({"p50_ms": 1.0}, {"top1": 0.5}, {"runtime": "openvino"}, {"name": "c"}):
        other = [dataclasses.replace(SHOWN[0], **change), *SHOWN[1:]]
        assert digest(other) != found
    assert drawn_from("<svg></svg>") is None


def test_any_record_is_drawn(tmp_path):
    main(str(RECORD), str(tmp_path / "front.svg"))
    assert drawn_from((tmp_path / "front.svg").read_text("utf-8")) == digest(recorded())
