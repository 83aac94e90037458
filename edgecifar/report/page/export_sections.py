"""The sections on an export: what each file keeps of its checkpoint, class by class."""

from collections.abc import Iterator

from edgecifar.report.cells import count, percent, points, short
from edgecifar.report.page import charts
from edgecifar.report.page.parts import (
    DataTable,
    Part,
    Pictures,
    Section,
    Text,
    Tile,
    facts_table,
)
from edgecifar.report.page.pictures import tile_of_test_image
from edgecifar.report.page.run_sections import test_sections
from edgecifar.report.page.sources import Export

FLOAT = "float32"


def export_sections(export: Export) -> Iterator[Section]:
    """The sections, in their order."""
    card = export.card
    yield Section("Files", list(_files(card)))
    quantized = {row["file"]: row for row in card["files"] if row["precision"] != FLOAT}
    if changes := list(_class_changes(quantized)):
        yield Section("Classes before and after quantization", changes)
    if flips := list(_flips(card, quantized)):
        yield Section("Pictures whose class changed", flips)
    training = card.get("training") or {}
    test = (training.get("metrics") or {}).get("test")
    if test:
        yield from test_sections(test)
    made_with = {name: card.get(name) for name in ("tools", "calibration", "input", "output")}
    made_with["calibration"] = {
        name: value
        for name, value in (card.get("calibration") or {}).items()
        if not isinstance(value, list)
    }
    yield Section("How it was made", [facts_table(made_with, "Tools, calibration, contract")])


def _files(card: dict) -> Iterator[Part]:
    cells = [
        (
            row["file"],
            row["precision"],
            "-" if row["top1"] is None else percent(row["top1"]),
            "-" if row["top1"] is None else points(row["top1"] - card["checkpoint_top1"]),
            percent(row["agreement"]),
            short(row["kl_divergence"]),
            f"{row['size_bytes'] / 1e6:.2f}",
        )
        for row in card["files"]
    ]
    headings = (
        "file",
        "precision",
        "top-1 %",
        "points from the checkpoint",
        "agreement %",
        "KL divergence",
        "size MB",
    )
    yield DataTable("What each file keeps", headings, cells, (True, True, *[False] * 5))
    top1 = card["checkpoint_top1"]
    right = "" if top1 is None else f" The checkpoint is right on {percent(top1)} %."
    yield Text(
        [
            f"Compared with the checkpoint on {count(card['test_images'])} test images.{right} "
            "Agreement is the share on which both choose the same class; KL divergence, in nats, "
            "says how far the probabilities are apart."
        ]
    )


def _class_changes(quantized: dict[str, dict]) -> Iterator[Part]:
    rows = {name: row["per_class"] for name, row in quantized.items() if row["per_class"]}
    if not rows:
        return
    changes = {
        name: [(one["label"], one["checkpoint_top1"], one["top1"]) for one in of_file]
        for name, of_file in rows.items()
    }
    first = next(iter(changes.values()))
    most = max(
        (abs(after - before), name, label, after - before)
        for name, of_file in changes.items()
        for label, before, after in of_file
    )
    yield charts.chart(
        charts.class_changes(changes),
        f"Top-1 of each class in the checkpoint and in {', '.join(changes)}. The largest change: "
        f"{most[2]} in {most[1]}, {points(most[3])} points.",
        "The tick is the checkpoint, the mark is the file.",
    )
    cells = [
        (label, percent(before), *(_after(of_file[i]) for of_file in changes.values()))
        for i, (label, before, _) in enumerate(first)
    ]
    headings = ("class", "checkpoint %", *(f"{name} %" for name in changes))
    left = (True, *[False] * (1 + len(changes)))
    yield DataTable("Top-1 of each class", headings, cells, left)


def _after(change: tuple[str, float, float]) -> str:
    _, before, after = change
    return f"{percent(after)} ({points(after - before)})"


def _flips(card: dict, quantized: dict[str, dict]) -> Iterator[Part]:
    """The pictures of each file; files that changed the same ones share them."""
    shared: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for file, row in quantized.items():
        flips = tuple((image["image"], image["chosen"]) for image in _changed(row))
        shared.setdefault(flips, []).append(file)
    for files in shared.values():
        row = quantized[files[0]]
        if not (shown := _changed(row)):
            continue
        changed, images = round((1 - row["agreement"]) * card["test_images"]), card["test_images"]
        which = "all of them" if len(shown) >= changed else f"{len(shown)} of them, the worst first"
        yield Pictures(
            f"{', '.join(files)}: {count(changed)} of {count(images)} images changed their class; "
            f"here are {which}. Class in the checkpoint → class in the file.",
            [_flipped_tile(image, card["labels"]) for image in shown],
        )


def _changed(row: dict) -> list[dict]:
    """The images whose class a file changed; an older card has only the most divergent of all."""
    images = row.get("changed") or row["worst"]
    return [image for image in images if image["chosen"] != image["checkpoint_chosen"]]


def _flipped_tile(image: dict, names: list[str]) -> Tile:
    change = f"{names[image['checkpoint_chosen']]} → {names[image['chosen']]}"
    truth = [] if image["label"] is None else [f"it is {names[image['label']]}"]
    return tile_of_test_image(image["image"], ", ".join([change, *truth]), [change, *truth])
