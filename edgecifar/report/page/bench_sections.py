"""The sections on the result of a bench: accuracy, latency, classes, the machine, the method."""

from collections.abc import Iterator

from edgecifar.bench.results.marks import MEANINGS
from edgecifar.bench.results.names import host_name, machine_text, model_names, row_names
from edgecifar.errors import escaped
from edgecifar.report.bench_table import ALL_IMAGES, bench_caption, first_pairs, rows_table
from edgecifar.report.cells import interval, percent
from edgecifar.report.page import charts, front_chart
from edgecifar.report.page.parts import (
    DataTable,
    Matrix,
    Part,
    Section,
    Text,
    data_table,
    facts_table,
)
from edgecifar.report.page.sources import Bench
from edgecifar.report.pairs_table import CAPTION, COLUMNS
from edgecifar.report.tables import Table

FRONT_INCHES = (4.6, 4.0)


def bench_sections(bench: Bench) -> Iterator[Section]:
    """The sections, in their order."""
    result = bench.result
    yield Section("Accuracy and latency", list(_overview(result)))
    if spread := list(_latencies(result)):
        yield Section("Latency in detail", spread)
    if classes := list(_classes(result)):
        yield Section("Classes", classes)
    yield Section("Machine and method", list(_method(result)))


def _overview(result: dict) -> Iterator[Part]:
    rows = result["rows"]
    points = [
        front_chart.Point(
            escaped(name), None, escaped(row["runtime"]), row["latency_ms"]["p50"], row["top1"]
        )
        for name, row in zip(model_names(rows), rows, strict=True)
        if row["latency_ms"]["p50"] and row["top1"] is not None
    ]
    if len(points) > 1:
        best = [f"{point.name} in {point.runtime}" for point in front_chart.pareto_front(points)]
        with charts.any_letters():
            figure = front_chart.draw(points, size=FRONT_INCHES)
        figure.axes[0].set_xlabel("p50 latency of a call, ms (logarithmic)")
        yield charts.chart(
            figure,
            f"Top-1 against the median latency of {len(points)} rows. On the Pareto front, from "
            f"the fastest on: {', '.join(best)}.",
            "No other row is as fast and more accurate than one on the front. The table has the "
            "same figures.",
        )
    yield data_table(rows_table(result), "What was measured")
    yield Text(bench_caption(result))
    if pairs := first_pairs(result):
        yield data_table(Table(COLUMNS, pairs), "Rows compared in pairs")
        yield Text([CAPTION + "."])


def _latencies(result: dict) -> Iterator[Part]:
    named = [(name, row) for name, row in _named(result) if row["latency_ms"]["p50"] is not None]
    if not named:
        return
    names = [name for name, _ in named]
    yield charts.chart(
        charts.latency_quantiles(names, [row["latency_ms"] for _, row in named]),
        "The spread of the latencies of each row; the table below has the figures.",
        "The line goes from the fastest call to the slowest in a thousand. The dot is p50, the "
        "thick part ends at p90, and the ticks are p99 and p99.9.",
    )
    headings = ("row", "fastest ms", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "calls")
    cells = [
        (
            name,
            *(_milliseconds(row["latency_ms"].get(key)) for key in charts.QUANTILES),
            f"{row['timed_inferences']:,}" if row["timed_inferences"] is not None else "-",
        )
        for name, row in named
    ]
    yield DataTable("Latencies of a call", headings, cells, (True, *[False] * 6))
    blocks = [row["block_p50_ms"] for _, row in named]
    if any(len(of_row) > 1 for of_row in blocks):
        left_out = len(names) - charts.MOST_LINES
        drifts = [_drift_text(*one) for one in zip(names, blocks, strict=True)]
        more = f" The first {charts.MOST_LINES} rows are drawn." if left_out > 0 else ""
        yield charts.chart(
            charts.latency_drift(names, blocks),
            f"The median latency of each row over the rounds of the bench: {'; '.join(drifts)}.",
            "A level line is a machine that stayed the same. A line that rises is one that became "
            f"hot or busy.{more}",
        )


def _drift_text(name: str, blocks: list[float | None]) -> str:
    known = [value for value in blocks if value is not None]
    if not known:
        return f"{name} took part in no round"
    return f"{name} from {min(known):.3g} to {max(known):.3g} ms"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _classes(result: dict) -> Iterator[Part]:
    measured = [(name, row) for name, row in _named(result) if row["per_class"]]
    if not measured:
        return
    labels = [one["label"] for one in measured[0][1]["per_class"]]
    same = [(name, row) for name, row in measured if _labels(row) == labels]
    cells = [
        (label, *(percent(row["per_class"][i]["top1"]) for _, row in same))
        for i, label in enumerate(labels)
    ]
    headings = ("class", *(f"{name} %" for name, _ in same))
    yield DataTable("Top-1 of each class", headings, cells, (True, *[False] * len(same)))
    images = measured[0][1]["images"]
    if images is not None and images < ALL_IMAGES:
        first = measured[0][1]["per_class"][0]
        yield Text(
            [
                f"Of each class there are {first['images']:,} images or about as many, so that a "
                f"class has a wide 95 % interval: {labels[0]} {interval(first['top1_interval'])} %."
            ]
        )
    for number, (name, row) in enumerate(measured):
        if row["confusion"]:
            yield Matrix(f"Confusion of {name}", _labels(row), row["confusion"], folded=number > 0)


def _named(result: dict) -> list[tuple[str, dict]]:
    """The rows, each with its short and unique name."""
    return list(zip(row_names(result["rows"]), result["rows"], strict=True))


def _labels(row: dict) -> list[str]:
    return [one["label"] for one in row["per_class"]]


def _method(result: dict) -> Iterator[Part]:
    machines, named = result["machines"] or {"": result["machine"]}, _named(result)
    for host, machine in machines.items():
        yield Text([f"{host}: {machine_text(machine)}" if host else machine_text(machine)])
    marks = {mark for row in result["rows"] for mark in row["marks"]}
    if marks:
        rows = [
            (
                mark,
                meaning,
                remedy,
                ", ".join(name for name, row in named if mark in row["marks"]),
            )
            for mark, (meaning, remedy) in MEANINGS.items()
            if mark in marks
        ]
        headings = ("mark", "meaning", "what to do", "rows")
        yield DataTable("Marks: why figures may be wrong", headings, rows, (True,) * 4)
    else:
        yield Text(["No row has a mark, so nothing was seen that disturbed the measurement."])
    yield Text(_method_text(result))
    if result["settings"]:
        yield facts_table(result["settings"], "All settings")
    for host, machine in machines.items():
        known = {name: value for name, value in machine.items() if name != "conditions"}
        yield facts_table(known, f"The machine {host}".strip())
    if errors := {name: row["error"] for name, row in named if row["error"]}:
        yield facts_table(errors, "What could not be measured")


def _method_text(result: dict) -> list[str]:
    settings, timing = result["settings"], result["settings"].get("timing") or {}
    hosts = {host_name(row) for row in result["rows"]}
    where = "on its machine" if len(hosts) > 1 else "on this machine"
    said = [
        f"Each file ran in a process of its own {where}, one call after the other; a call goes "
        "from raw pixels to probabilities."
    ]
    if "block_s" in timing and "seed" in settings:
        said.append(
            f"The rows took turns in blocks of {timing['block_s']:g} s or more, in an order that "
            f"was shuffled with the seed {settings['seed']}, so that what slowed the machine "
            "slowed all of them."
        )
    if result["started"]:
        said.append(f"Measured at {result['started']} with edgecifar {result['edgecifar']}.")
    return [" ".join(said)]
