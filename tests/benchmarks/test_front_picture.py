"""The picture of the front: nothing covers a name, and the file says what it was drawn from."""

import dataclasses
import itertools
import json
import random

import pytest
from front import RECORD, RUNTIMES, Point, points

pytest.importorskip("matplotlib")

from front_picture import NAME_MARGIN_PIXELS, digest, draw, drawn_from, main, save, text_box


def crowd(seed: int, models: int = 18) -> list[Point]:
    """Models as a zoo has them, each with four files."""
    rng = random.Random(seed)
    found = []
    for number in range(models):
        p50_ms, top1 = rng.uniform(0.2, 4), rng.uniform(0.78, 0.975)
        for precision, runtime in itertools.product(("int8", "float32"), RUNTIMES):
            time = p50_ms * rng.uniform(0.6, 1.1)
            name = f"a-network-{number}"
            found.append(Point(name, precision, runtime, time, top1 + rng.uniform(0, 1e-3), False))
    return found


def recorded() -> list[Point]:
    return points(json.loads(RECORD.read_text("utf-8")))


@pytest.mark.parametrize("shown", [recorded(), crowd(1), crowd(2)], ids=["record", "1", "2"])
def test_names_cover_no_name_and_stay_in_the_picture(shown):
    figure = draw(shown)
    axes = figure.axes[0]
    boxes = {label.get_text(): text_box(label) for label in axes.texts}
    assert sorted(boxes) == sorted({point.name for point in shown})
    for (name, box), (other, its_box) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(its_box), (name, other)
    frame = axes.get_window_extent().padded(NAME_MARGIN_PIXELS)
    for name, box in boxes.items():
        assert frame.containsx(box.x0), name
        assert frame.containsx(box.x1), name
        assert frame.containsy(box.y0), name
        assert frame.containsy(box.y1), name


def test_the_axes_say_what_they_show_and_the_legend_explains_every_kind():
    figure = draw(crowd(1, models=3))
    axes = figure.axes[0]
    assert "ms" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "float32, LiteRT",
        "int8, LiteRT",
        "float32, ONNX Runtime",
        "int8, ONNX Runtime",
        "Pareto front",
    ]


def test_the_same_points_give_the_same_file(tmp_path):
    for name in ("one.svg", "other.svg"):
        save(crowd(1, models=3), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_a_picture_says_which_points_it_shows(tmp_path):
    shown = crowd(1, models=2)
    save(shown, tmp_path / "front.svg")
    found = drawn_from((tmp_path / "front.svg").read_text("utf-8"))
    assert found == digest(shown)
    for change in ({"p50_ms": 1.0}, {"top1": 0.5}, {"runtime": "onnxruntime"}, {"name": "b"}):
        other = [dataclasses.replace(shown[0], **change), *shown[1:]]
        assert digest(other) != found
    assert drawn_from("<svg></svg>") is None


def test_a_model_without_errors_is_drawn(tmp_path):
    shown = [Point("a", "int8", "litert", 1.0, 1.0, False)]
    save(shown, tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_any_record_is_drawn(tmp_path):
    main(str(RECORD), str(tmp_path / "front.svg"))
    assert drawn_from((tmp_path / "front.svg").read_text("utf-8")) == digest(recorded())
