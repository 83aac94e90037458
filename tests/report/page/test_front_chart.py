"""The chart of accuracy and latency: nothing covers a name, and the front is that of the points."""

import itertools
import random

import pytest

pytest.importorskip("matplotlib")

from edgecifar.report.page.front_chart import (
    NAME_MARGIN_PIXELS,
    Point,
    draw,
    pareto_front,
    text_box,
)

RUNTIMES = ("litert", "onnxruntime")


def crowd(seed: int, models: int = 18) -> list[Point]:
    """Models as a zoo has them, each with four files."""
    rng = random.Random(seed)
    found = []
    for number in range(models):
        p50_ms, top1 = rng.uniform(0.2, 4), rng.uniform(0.78, 0.975)
        for precision, runtime in itertools.product(("int8", "float32"), RUNTIMES):
            time = p50_ms * rng.uniform(0.6, 1.1)
            name = f"a-network-{number}"
            found.append(Point(name, precision, runtime, time, top1 + rng.uniform(0, 1e-3)))
    return found


def point(name: str, p50_ms: float, top1: float) -> Point:
    return Point(name, "int8", "litert", p50_ms, top1)


def test_a_point_on_the_front_has_no_other_that_is_as_fast_and_more_accurate():
    best = [point("tiny", 0.2, 0.80), point("small", 0.5, 0.91), point("large", 2.0, 0.96)]
    beaten = [
        point("as fast", 0.5, 0.90),
        point("as accurate", 0.6, 0.91),
        point("slow", 1.9, 0.85),
        point("slowest", 3.0, 0.95),
    ]
    assert pareto_front([*beaten, *reversed(best)]) == best
    assert pareto_front([]) == []


@pytest.mark.parametrize("shown", [crowd(0), crowd(1), crowd(2)], ids=["0", "1", "2"])
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
    figure = draw(crowd(1, models=3), {"litert": "LiteRT"})
    axes = figure.axes[0]
    assert "ms" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "float32, LiteRT",
        "int8, LiteRT",
        "float32, onnxruntime",
        "int8, onnxruntime",
        "Pareto front",
    ]


def test_a_model_without_errors_and_one_of_unknown_precision_are_drawn():
    figure = draw([Point("a", "int8", "litert", 1.0, 1.0), Point("b", None, "litert", 2.0, 0.5)])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "int8, litert",
        "litert",
        "Pareto front",
    ]


def test_there_are_more_runtimes_than_shapes():
    figure = draw([Point("a", "int8", f"runtime {i}", 1.0 + i, 0.5) for i in range(20)])
    assert len(figure.legends[0].get_texts()) == 21
