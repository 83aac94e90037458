"""The sections on a run: how it learned, what it gets wrong, how sure it is."""

from collections.abc import Iterator, Sequence

from edgecifar.report.cells import count, interval, percent
from edgecifar.report.page import charts
from edgecifar.report.page.parts import (
    DataTable,
    Matrix,
    Part,
    Pictures,
    Section,
    Text,
    facts_table,
)
from edgecifar.report.page.pictures import tile_of_test_image
from edgecifar.report.page.sources import Run
from edgecifar.training import plots

CURVES_INCHES = (4.6, 6.2)
RELIABILITY_INCHES = (4.6, 5.2)


def run_sections(run: Run) -> Iterator[Section]:
    """The sections, in their order."""
    parts: list[Part] = [Text(_what_it_is(run.recipe, run.metrics))]
    if run.history:
        best = max(run.history, key=lambda row: row["validation_top1"] or 0)
        parts.append(
            charts.chart(
                plots.training_curves(list(run.history), "", CURVES_INCHES),
                f"Validation top-1, losses and learning rate over {len(run.history)} epochs; the "
                f"best is epoch {best['epoch']} with {percent(best['validation_top1'])} %.",
                "Above: accuracy on the images that were kept for validation; the ring is the "
                "epoch whose weights were kept.",
            )
        )
        parts.append(_history_table(run.history))
    yield Section("Training", parts)
    if run.metrics and run.metrics.get("test"):
        yield from test_sections(run.metrics["test"])
    yield Section("Recipe", [facts_table(run.recipe, "All that decided the run")])


def test_sections(test: dict) -> Iterator[Section]:
    """What is known of a checkpoint on the test images, see `metrics.classification.assess`."""
    names = [row["class"] for row in test["per_class"]]
    cells = [
        (
            row["class"],
            percent(row["precision"]),
            percent(row["recall"]),
            percent(row["f1"]),
            count(row["images"]),
        )
        for row in test["per_class"]
    ]
    headings = ("class", "precision %", "recall %", "F1 %", "images")
    yield Section(
        "Test images",
        [
            Text(
                [
                    f"Top-1 {percent(test['top1'])} % (95 % interval "
                    f"{interval(test['top1_interval'])} %), top-5 {percent(test['top5'])} %, on "
                    f"{count(test['images'])} images, before it was quantized."
                ]
            ),
            DataTable("Classes of the checkpoint", headings, cells, (True, *[False] * 4)),
            Matrix("Confusion of the checkpoint", names, test["confusion"]),
        ],
    )
    ece = test["expected_calibration_error"]
    filled = [row for row in test["reliability"] if row["count"]]
    bins = [
        (percent(row["confidence"]), percent(row["accuracy"]), count(row["count"]))
        for row in filled
    ]
    yield Section(
        "Calibration",
        [
            charts.chart(
                plots.reliability_diagram(test["reliability"], ece, "", RELIABILITY_INCHES),
                f"Accuracy against confidence; the expected calibration error is {percent(ece)} %.",
                "In a calibrated model, 80 % of the answers with a confidence of 80 % are right. "
                "Bars below the dashed line are overconfident, bars above it underconfident.",
            ),
            DataTable(
                "Confidence and accuracy",
                ("mean confidence %", "accuracy %", "images"),
                bins,
                (False,) * 3,
                folded=True,
            ),
        ],
    )
    tiles = [
        tile_of_test_image(
            mistake["index"],
            f"{mistake['true']} taken for {mistake['predicted']}",
            [f"{mistake['true']} → {mistake['predicted']}", f"{100 * mistake['confidence']:.0f} %"],
        )
        for mistake in test["confident_mistakes"]
    ]
    if tiles:
        caption = "True class → predicted class, and the confidence in the prediction."
        yield Section("Most confident mistakes", [Pictures(caption, tiles)])


def _what_it_is(recipe: dict, metrics: dict | None) -> list[str]:
    said = [f"Recipe {recipe['recipe']['name']}"]
    if metrics is None:
        return [f"{said[0]}. The run has not ended."]
    if metrics.get("parameters"):
        said.append(f"{count(metrics['parameters'])} parameters")
    if metrics.get("multiply_accumulates"):
        said.append(f"{metrics['multiply_accumulates'] / 1e6:.1f} M multiply-accumulates")
    if metrics.get("seconds"):
        said.append(f"trained in {metrics['seconds'] / 3600:.2f} h")
    if metrics.get("machine"):
        said.append(f"on {metrics['machine']}")
    stopped = " It was stopped early." if metrics.get("interrupted") else ""
    return [", ".join(said) + "." + stopped]


def _history_table(rows: Sequence[dict]) -> DataTable:
    cells = [
        (
            str(row["epoch"]),
            row["stage"],
            _number(row["loss"]),
            _number(row["validation_loss"]),
            percent(row["validation_top1"]),
            f"{row['learning_rate']:.2g}",
        )
        for row in rows
    ]
    headings = ("epoch", "stage", "loss", "validation loss", "validation top-1 %", "learning rate")
    left = (True, True, False, False, False, False)
    return DataTable("Epochs", headings, cells, left, folded=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
