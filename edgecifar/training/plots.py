"""The pictures of a run, which can be read in black and white too."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
GRID = 6
# Characters of a title in an inch of the picture's width.
TITLE_DENSITY = 10
# The same of the small text above the losses.
LOSSES_DENSITY = 13
# Two colours that differ as grays too.
DARK, LIGHT = "tab:blue", "tab:orange"
LOSSES = (
    "training: mean during the epoch, with augmentation, dropout and label smoothing\n"
    "validation: after the epoch, without them, so it is often the lower of the two"
)


def training_curves(rows: list[dict], title: str, size: tuple[float, float] = (8, 9)) -> "Figure":
    """Draw validation top-1, the losses and the learning rate over the epochs of a run.

    Args:
        rows: one an epoch, with the columns of a run's `history.csv`.
        title: names the recipe and the run; may be empty.
        size: width and height, inches.
    """
    epochs = [row["epoch"] for row in rows]
    figure = _figure(*size, title)
    accuracy, loss, rate = figure.subplots(3, 1, sharex=True)

    top1 = [100 * row["validation_top1"] for row in rows]
    accuracy.plot(epochs, top1, "o-", color=DARK, markersize=4)
    best = max(range(len(rows)), key=top1.__getitem__)
    ring = {"markersize": 12, "markerfacecolor": "none", "color": "black"}
    label = f"best: {top1[best]:.2f} %, epoch {epochs[best]}"
    accuracy.plot(epochs[best], top1[best], "o", label=label, **ring)
    accuracy.legend()
    accuracy.set_ylabel("validation top-1, %")
    loss.plot(epochs, [row["loss"] for row in rows], "o-", color=DARK, label="training")
    validation = [row["validation_loss"] for row in rows]
    loss.plot(epochs, validation, "s--", color=LIGHT, label="validation")
    loss.set_ylabel("loss")
    notes = [textwrap.fill(line, int(LOSSES_DENSITY * size[0])) for line in LOSSES.splitlines()]
    loss.set_title("\n".join(notes), fontsize=8, loc="left")
    loss.legend()
    rate.plot(epochs, [row["learning_rate"] for row in rows], "o-", color=DARK, markersize=4)
    rate.set_ylabel("learning rate at the epoch's end")
    rate.set_xlabel("epoch")
    rate.xaxis.get_major_locator().set_params(integer=True)

    starts = [i for i, row in enumerate(rows) if i == 0 or row["stage"] != rows[i - 1]["stage"]]
    for i in starts:
        above = accuracy.get_xaxis_transform()
        accuracy.text(epochs[i], 1.02, rows[i]["stage"], transform=above, parse_math=False)
    for axes in (accuracy, loss, rate):
        axes.grid(alpha=0.3)
        for i in starts[1:]:
            axes.axvline(epochs[i] - 0.5, color="black", linewidth=0.5)
    return figure


def confusion_heat_map(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str
) -> "Figure":
    """Draw which class was predicted for which, and how often.

    Colours are shares of the true class, on a square-root scale that keeps a few percent visible
    beside the diagonal; the numbers are images.

    Args:
        confusion: images, a row for each true class, a column for each predicted one.
        classes: their names.
        title: names the recipe and the run.
    """
    from matplotlib.colors import PowerNorm

    counts = np.asarray(confusion)
    percent = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = _figure(8.9, 7.5, title)
    axes = figure.subplots()
    shown = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    for (row, column), count in np.ndenumerate(counts):
        colour = _readable_on(shown.to_rgba(percent[row, column])) if count else "darkgray"
        axes.text(column, row, f"{count:,}", color=colour, ha="center", va="center", fontsize=9)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("share of the true class, %")
    bar.outline.set_visible(False)
    return figure


def mistakes_grid(images: np.ndarray, mistakes: Sequence[dict], title: str) -> "Figure":
    """Draw the mistakes with the highest confidence, 36 at most.

    Args:
        images: all that were classified, uint8, shape (n, 32, 32, 3), RGB.
        mistakes: for each its `index` among the images, the names of the `true` and the
            `predicted` class, and the `confidence` of the latter, 0 to 1.
        title: names the recipe and the run.
    """
    figure = _figure(9, 10, title, "true class → predicted class, confidence in the prediction")
    grid = figure.subplots(GRID, GRID)
    for axes in grid.flat:
        axes.axis("off")
    for axes, mistake in zip(grid.flat, mistakes, strict=False):
        axes.imshow(images[mistake["index"]], interpolation="nearest")
        names = f"{mistake['true']} → {mistake['predicted']}"
        axes.set_title(f"{names}\n{100 * mistake['confidence']:.0f} %", fontsize=8)
    if not mistakes:
        figure.text(0.5, 0.5, "no mistakes", ha="center", va="center")
    return figure


def reliability_diagram(
    bins: Sequence[dict], ece: float, title: str, size: tuple[float, float] = (6, 7)
) -> "Figure":
    """Draw accuracy against confidence, and below it the number of answers.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017,
    https://arxiv.org/abs/1706.04599, figure 1.

    Args:
        bins: of equal width from 0 to 1: mean `confidence` and `accuracy` of the answers in each,
            None where there are none, and their `count`.
        ece: the expected calibration error, 0 to 1.
        title: names the recipe and the run; may be empty.
        size: width and height, inches.
    """
    width = 1 / len(bins)
    filled = [(width * (i + 0.5), row) for i, row in enumerate(bins) if row["count"]]
    centres = [centre for centre, _ in filled]
    accuracies = np.array([row["accuracy"] for _, row in filled])
    gaps = np.array([row["confidence"] for _, row in filled]) - accuracies
    edges = {"edgecolor": "white", "linewidth": 0.8}

    figure = _figure(*size, title)
    accuracy, count = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    accuracy.bar(centres, accuracies, width, color="tab:blue", label="accuracy", **edges)
    gap = {"facecolor": (1, 1, 1, 0.6), "edgecolor": "tab:red", "hatch": "////"}
    accuracy.bar(centres, gaps, width, accuracies, label="gap to mean confidence", **gap)
    accuracy.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="calibrated")
    accuracy.set_ylim(0, 1)
    accuracy.set_ylabel("accuracy")
    accuracy.legend(loc="upper left", title=f"ECE {100 * ece:.2f} %", alignment="left")
    count.bar(centres, [row["count"] for _, row in filled], width, color="tab:gray", **edges)
    count.set_yscale("log")
    count.set_ylim(bottom=0.7)
    count.set_ylabel("images")
    count.set_xlabel("confidence")
    count.set_xlim(0, 1)
    for axes in (accuracy, count):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    return figure


def _figure(width: float, height: float, title: str, below: str = "") -> "Figure":
    """A figure of its own, in inches: pyplot would keep it, and may look for a screen.

    Its title is broken into lines that fit; the line `below` is a part of it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    lines = [*textwrap.wrap(title, int(TITLE_DENSITY * width)), below]
    # A run may be named with dollar signs, which would start a formula.
    figure.suptitle("\n".join(lines).strip(), fontsize=11, parse_math=False)
    return figure


def _readable_on(background: Iterable[float]) -> str:
    """The text colour for a background of red, green, blue and alpha, 0 to 1."""
    red, green, blue, _ = background
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else "white"
