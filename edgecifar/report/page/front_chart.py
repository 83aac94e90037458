"""Draws the accuracy and the latency of models that took turns in one bench, and their front.

The chart can be read without colors: a runtime is a shape, a precision is filled or not, and names
stand beside the points.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

# Of the first runtime, the second and so on; of two runtimes that are as far apart in the list as
# it is long, the shapes are the same.
MARKERS = "osD^vP"
INT8 = "int8"
SIZE_INCHES, DPI = (8.0, 5.4), 110
LEGEND_INCHES = 1.5  # the width of an entry
MARKER_POINTS, FONT_POINTS = 6.5, 9
INK, GRAY, FRONT = "black", "0.55", "0.25"
TOP1_TICKS = (50, 60, 70, 75, 80, 85, 88, 90, 92, 93, 94, 95, 96, 97, 98, 99, 99.5, 99.9)
P50_TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
LEAST_ERRORS = 0.01
NAME_MARGIN_PIXELS = 1.5
# Distances of a name from its point, in typographic points. A line leads to the distant ones.
NEAR, DISTANT = (7, 10), (18, 28, 40, 56)


@dataclass(frozen=True)
class Point:
    """A model in a runtime, as it was measured.

    Attributes:
        name: of the model.
        precision: of `export.settings.PRECISIONS`; None where it is not known.
        runtime: its name.
        p50_ms: median latency of one image, milliseconds.
        top1: share of the test images that are classified correctly, 0 to 1.
    """

    name: str
    precision: str | None
    runtime: str
    p50_ms: float
    top1: float


AnyPoint = TypeVar("AnyPoint", bound=Point)


def pareto_front(points: Iterable[AnyPoint]) -> list[AnyPoint]:
    """The points that no other point beats: none is as fast and more accurate, or the reverse.

    Returns:
        The points in the order of their latencies, which is that of their accuracies too.
    """
    front: list[AnyPoint] = []
    for point in sorted(points, key=lambda point: (point.p50_ms, -point.top1)):
        if not front or point.top1 > front[-1].top1:
            front.append(point)
    return front


def draw(
    points: Sequence[Point],
    runtime_names: Mapping[str, str] | None = None,
    size: tuple[float, float] = SIZE_INCHES,
) -> "Figure":
    """Draw the points of one or several models.

    The latency is on a logarithmic axis. So is the share of errors, from bottom to top: equal
    distances are equal factors, and the best models do not lie on top of each other.

    Args:
        points: of one bench, one or more.
        runtime_names: what the legend calls each runtime; None takes their names as they are.
        size: width and height, inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="white")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("p50 latency of one image on one thread, ms (logarithmic)")
    axes.set_ylabel("top-1 on the test images, % (errors logarithmic)")
    _limit(axes, points)
    front = pareto_front(points)
    axes.step(
        [point.p50_ms for point in front],
        [_errors(point) for point in front],
        where="post",
        color=FRONT,
        linewidth=1.6,
        zorder=2,
    )
    for _, of_model in _models(points):
        axes.plot(
            [point.p50_ms for point in of_model],
            [_errors(point) for point in of_model],
            color=GRAY,
            linewidth=0.8,
            linestyle=":",
            zorder=1,
        )
    markers = _markers(points)
    for point in points:
        axes.plot(
            point.p50_ms,
            _errors(point),
            marker=markers[point.runtime],
            markersize=MARKER_POINTS,
            markeredgecolor=INK,
            markerfacecolor=_inside(point.precision),
            linestyle="",
            zorder=3,
        )
    _explain(figure, points, runtime_names or {})
    figure.draw_without_rendering()  # the layout is known from here on
    figure.set_layout_engine("none")
    _write_names(axes, points, front)
    return figure


def _errors(point: Point) -> float:
    """The share of the images that are not classified correctly, in percent.

    A logarithmic axis has no 0, so a model without errors is drawn as if it had few.
    """
    return max(100 * (1 - point.top1), LEAST_ERRORS)


def _models(points: Sequence[Point]) -> Iterator[tuple[str, list[Point]]]:
    """The points of each model, from the fastest on."""
    by_name = sorted(points, key=lambda point: (point.name, point.p50_ms))
    for name, some in itertools.groupby(by_name, key=lambda point: point.name):
        yield name, list(some)


def _limit(axes: "Axes", points: Sequence[Point]) -> None:
    """Leave room around the points for their names, and name round values on both axes."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    latencies = [point.p50_ms for point in points]
    errors = [_errors(point) for point in points]
    axes.set_xlim(min(latencies) / 1.35, max(latencies) * 1.45)
    axes.set_ylim(max(errors) * 1.15, min(errors) / 1.15)
    axes.xaxis.set_major_locator(FixedLocator(P50_TICKS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(FixedLocator([100 - tick for tick in TOP1_TICKS]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 - value:g}"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())


def _markers(points: Sequence[Point]) -> dict[str, str]:
    """The shape of each runtime."""
    runtimes = sorted({point.runtime for point in points})
    return dict(zip(runtimes, itertools.cycle(MARKERS), strict=False))


def _inside(precision: str | None) -> str:
    """The color of a marker: filled for int8, and where the precision is not known."""
    return INK if precision in (INT8, None) else "white"


def _explain(figure: "Figure", points: Sequence[Point], runtime_names: Mapping[str, str]) -> None:
    """The legend: of every kind of point that there is, and of the front."""
    from matplotlib.lines import Line2D

    markers = _markers(points)
    kinds = dict.fromkeys((point.runtime, point.precision) for point in points)
    handles = [
        Line2D(
            [],
            [],
            marker=markers[runtime],
            markersize=MARKER_POINTS,
            markeredgecolor=INK,
            markerfacecolor=_inside(precision),
            linestyle="",
            label=", ".join(filter(None, (precision, runtime_names.get(runtime, runtime)))),
        )
        for runtime, precision in sorted(kinds, key=str)
    ]
    handles.append(Line2D([], [], color=FRONT, linewidth=1.6, label="Pareto front"))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=max(1, int(figure.get_figwidth() / LEGEND_INCHES)),
        fontsize=FONT_POINTS,
        frameon=False,
    )


def _write_names(axes: "Axes", points: Sequence[Point], front: Sequence[Point]) -> None:
    """Write the name of each model where it covers no point, no line and no other name."""
    taken = [_around(axes, point) for point in points]
    lines = [*_segments(axes, front)]
    for name, of_model in _models(points):
        best = None
        for point, distance, (right, up) in _places(of_model):
            label = axes.annotate(
                name,
                (point.p50_ms, _errors(point)),
                xytext=(right * distance, up * distance),
                textcoords="offset points",
                ha={-1: "right", 0: "center", 1: "left"}[right],
                va={-1: "top", 0: "center", 1: "bottom"}[up],
                fontsize=FONT_POINTS,
                parse_math=False,
                arrowprops={"arrowstyle": "-", "color": GRAY, "linewidth": 0.6, "shrinkB": 4}
                if distance in DISTANT
                else None,
                zorder=4,
            )
            box = text_box(label).padded(NAME_MARGIN_PIXELS)
            covered = _covered(box, taken) + _covered(box, lines) + _outside(axes, box)
            if best is None or covered < best[0]:
                if best:
                    best[1].remove()
                best = (covered, label, box)
            else:
                label.remove()
            if not covered:
                break
        assert best  # there are places around any point
        taken.append(best[2])


def _places(of_model: Sequence[Point]) -> Iterator[tuple[Point, float, tuple[int, int]]]:
    """Where the name of a model may be, the best place first: point, distance, direction."""
    beside = [(of_model[-1], (1, 0)), (of_model[0], (-1, 0))]
    around = [
        (point, direction)
        for point in of_model
        for direction in ((0, 1), (0, -1), (-1, 1), (1, -1), (1, 1), (-1, -1))
    ]
    for distance in (*NEAR, *DISTANT):
        for point, direction in (*beside, *around):
            yield point, distance, direction


def _around(axes: "Axes", point: Point) -> "Bbox":
    """The box of a marker, in pixels."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform((point.p50_ms, _errors(point)))
    half = MARKER_POINTS / 2 * DPI / 72 + 1
    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _segments(axes: "Axes", front: Sequence[Point]) -> Iterator["Bbox"]:
    """The boxes of the steps of the front, in pixels."""
    from matplotlib.transforms import Bbox

    corners = axes.transData.transform([(point.p50_ms, _errors(point)) for point in front])
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):
        yield Bbox.from_extents(x, y - 1, next_x, y + 1)
        yield Bbox.from_extents(next_x - 1, min(y, next_y), next_x + 1, max(y, next_y))


def text_box(label: "Annotation") -> "Bbox":
    """The box of the text alone, in pixels; that of the whole annotation has its line in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = label.figure.canvas if label.figure else None
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    label.update_positions(renderer)
    return Text.get_window_extent(label, renderer)


def _covered(box: "Bbox", others: Sequence["Bbox"]) -> float:
    """How much of other boxes a box covers, in square pixels."""
    return math.fsum(_common(box, other) for other in others)


def _common(box: "Bbox", other: "Bbox") -> float:
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return max(width, 0) * max(height, 0)


def _outside(axes: "Axes", box: "Bbox") -> float:
    """How much of a box is outside the axes, in square pixels."""
    return box.width * box.height - _common(box, axes.get_window_extent())
