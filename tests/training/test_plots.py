"""Plots: files that are pictures of the right size, with the figures that were to be drawn."""

import itertools

import numpy as np
import pytest
from PIL import Image

from edgecifar.data import shipped
from edgecifar.data.cifar10 import CLASSES
from edgecifar.training import plots

pytest.importorskip("matplotlib")

RED, BLUE = (255, 0, 0), (0, 0, 255)
TITLE = "recipe cnn, run first"
EMPTY_BIN = {"confidence": None, "accuracy": None, "count": 0}
DPI = plots.DPI


@pytest.fixture(autouse=True)
def full_size(monkeypatch):
    monkeypatch.setattr(plots, "DPI", DPI)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, in order."""
    from matplotlib.figure import Figure

    saved = []
    save = Figure.savefig

    def recorded(figure, *arguments, **options):
        saved.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", recorded)
    return saved


def pixels(path) -> np.ndarray:
    with Image.open(path, formats=["PNG"]) as picture:
        return np.asarray(picture.convert("RGB"))


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def whole(figure) -> bool:
    """Whether nothing that is drawn reaches over the picture's edge."""
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= width and drawn.y1 <= height


def mistake(index: int, confidence: float = 0.987) -> dict:
    return {"index": index, "true": "cat", "predicted": "dog", "confidence": confidence}


def history_row(epoch: int, stage: str) -> dict:
    top1 = 0.5 + epoch / 100
    losses = {"loss": 2 / epoch, "validation_loss": 2.1 / epoch}
    return {
        "epoch": epoch,
        "stage": stage,
        "validation_top1": top1,
        "learning_rate": 0.1 / epoch,
    } | losses


def test_training_curves_are_a_picture(tmp_path, figures):
    rows = [history_row(1, "head"), history_row(2, "head"), history_row(3, "finetune")]
    plots.training_curves(rows, TITLE).savefig(tmp_path / "curves.png")
    picture = pixels(tmp_path / "curves.png")
    assert picture.shape == (9 * plots.DPI, 8 * plots.DPI, 3)
    assert picture.std() > 10
    accuracy, loss, _ = figures[0].axes
    assert texts(accuracy) == ["head", "finetune"]
    assert [text.get_text() for text in accuracy.get_legend().texts] == ["best: 53.00 %, epoch 3"]
    assert loss.get_title(loc="left") == plots.LOSSES
    assert figures[0].get_suptitle() == TITLE
    assert whole(figures[0])


def test_the_two_losses_differ_without_colour(tmp_path, figures):
    plots.training_curves([history_row(1, "all"), history_row(2, "all")], TITLE).savefig(
        tmp_path / "c.png"
    )
    training, validation = figures[0].axes[1].lines
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()


@pytest.mark.parametrize("name", ["$x^$", "a long name " * 20, "x" * 250])
def test_a_title_of_any_kind_is_written_whole(tmp_path, figures, name):
    plots.training_curves([history_row(1, "$all"), history_row(2, "$all")], name).savefig(
        tmp_path / "c.png"
    )
    (figure,) = figures
    assert figure.get_suptitle().replace("\n", "").replace(" ", "") == name.replace(" ", "")
    assert whole(figure)


def test_the_mark_of_the_best_epoch_leaves_the_line_free(tmp_path, figures):
    """Its figure is in the legend, which avoids the line."""
    rows = [history_row(i, "all") for i in range(1, 30)]
    plots.training_curves(rows, TITLE).savefig(tmp_path / "curves.png")
    accuracy = figures[0].axes[0]
    line = accuracy.transData.transform(accuracy.lines[0].get_xydata())
    legend = accuracy.get_legend().get_window_extent()
    assert not any(legend.contains(x, y) for x, y in line)


def test_a_confusion_heat_map_writes_every_count(tmp_path, figures):
    confusion = np.arange(100).reshape(10, 10) * 37
    plots.confusion_heat_map(confusion.tolist(), CLASSES, TITLE).savefig(tmp_path / "confusion.png")
    picture = pixels(tmp_path / "confusion.png")
    assert picture.shape == (7.5 * plots.DPI, round(8.9 * plots.DPI), 3)
    (figure,) = figures
    axes = figure.axes[0]
    assert texts(axes) == [f"{count:,}" for count in confusion.flat]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASSES)
    assert axes.get_ylabel() == "true class"
    assert whole(figure)


def test_a_confusion_heat_map_is_coloured_by_the_share_of_the_true_class(tmp_path, figures):
    confusion = [[8, 2, 0], [800, 200, 0], [0, 0, 0]]
    plots.confusion_heat_map(confusion, ("a", "b", "never"), TITLE).savefig(
        tmp_path / "confusion.png"
    )
    axes = figures[0].axes[0]
    percent = axes.images[0].get_array()
    assert percent.tolist() == [[80, 20, 0], [80, 20, 0], [0, 0, 0]]
    height = len(picture := pixels(tmp_path / "confusion.png"))
    # Beside the number in the middle of the cell.
    spots = axes.transData.transform([(0.4, 0.4), (0.4, 1.4), (1.4, 0.4), (2.4, 2.4)])
    first, second, paler, empty = (picture[height - int(y), int(x)].sum() for x, y in spots)
    assert first == second < paler < empty
    assert [text.get_color() for text in axes.texts[:3]] == ["white", "black", "darkgray"]


def test_a_grid_of_mistakes_says_what_was_taken_for_what(tmp_path, figures):
    images = shipped.test_set().images(np.arange(40))
    plots.mistakes_grid(images, [mistake(39 - i) for i in range(36)], TITLE).savefig(
        tmp_path / "mistakes.png"
    )
    picture = pixels(tmp_path / "mistakes.png")
    assert picture.shape == (10 * plots.DPI, 9 * plots.DPI, 3)
    (figure,) = figures
    assert len(figure.axes) == 36
    for i, axes in enumerate(figure.axes):
        assert axes.get_title() == "cat → dog\n99 %"
        assert np.array_equal(axes.images[0].get_array(), images[39 - i])
    assert whole(figure)


def test_the_longest_names_fit_above_an_image(tmp_path, figures):
    longest = {"index": 0, "true": "automobile", "predicted": "automobile", "confidence": 1.0}
    image = np.zeros((1, 32, 32, 3), np.uint8)
    plots.mistakes_grid(image, [longest] * 36, TITLE).savefig(tmp_path / "mistakes.png")
    boxes = [axes.title.get_window_extent() for axes in figures[0].axes]
    for left, right in itertools.pairwise(boxes[:6]):
        assert left.x1 < right.x0


def test_images_are_enlarged_without_mixing_their_pixels(tmp_path):
    checks = np.indices((32, 32)).sum(axis=0) % 2
    image = np.array([RED, BLUE], np.uint8)[checks][None]
    plots.mistakes_grid(image, [mistake(0)], TITLE).savefig(tmp_path / "mistakes.png")
    picture = pixels(tmp_path / "mistakes.png").reshape(-1, 3)
    coloured = picture[picture.max(axis=1) != picture.min(axis=1)]  # the rest is text on white
    assert {tuple(colour) for colour in np.unique(coloured, axis=0).tolist()} == {RED, BLUE}
    assert len(coloured) > 100 * 32 * 32 / 10


@pytest.mark.parametrize(("count", "notes"), [(0, ["no mistakes"]), (2, [])])
def test_a_grid_takes_few_mistakes_and_none(tmp_path, figures, count, notes):
    images = np.zeros((2, 32, 32, 3), np.uint8)
    plots.mistakes_grid(images, [mistake(i) for i in range(count)], TITLE).savefig(
        tmp_path / "mistakes.png"
    )
    assert pixels(tmp_path / "mistakes.png").min() < 50
    assert sum(bool(axes.images) for axes in figures[0].axes) == count
    assert texts(figures[0])[1:] == notes  # the first is the title


def test_a_reliability_diagram_shows_accuracy_gap_and_count(tmp_path, figures):
    bins = [EMPTY_BIN] * 13 + [
        {"confidence": 0.9, "accuracy": 0.7, "count": 10},
        {"confidence": 0.96, "accuracy": 1.0, "count": 90},
    ]
    plots.reliability_diagram(bins, 0.056, TITLE).savefig(tmp_path / "reliability.png")
    picture = pixels(tmp_path / "reliability.png")
    assert picture.shape == (7 * plots.DPI, 6 * plots.DPI, 3)
    assert picture.std() > 10
    (figure,) = figures
    accuracy, count = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in accuracy.containers]
    assert heights[0] == [0.7, 1.0]
    assert heights[1] == pytest.approx([0.2, -0.04])
    assert [bar.get_height() for bar in count.containers[0]] == [10, 90]
    last = accuracy.containers[0][1]
    assert (last.get_x(), last.get_width()) == pytest.approx((14 / 15, 1 / 15))
    assert accuracy.get_legend().get_title().get_text() == "ECE 5.60 %"
    assert whole(figure)
