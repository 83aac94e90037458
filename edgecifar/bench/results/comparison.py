"""Compares the results of several benches: which rows are the same, and what has changed.

The rows of one result were measured in the same rounds, so their ratios are paired; they are in
its `pairs`. Two results were measured at different times: their ratios are of independent samples,
and have the wider intervals of `latency.unpaired_ratio`.
"""

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgecifar.bench.results.marks import united
from edgecifar.bench.results.names import machine_of, named_pairs, options_text, row_names
from edgecifar.bench.results.result import Row, typed
from edgecifar.errors import UserError
from edgecifar.metrics.latency import unpaired_ratio
from edgecifar.metrics.share_intervals import difference_interval

SEED = 0
MACHINE_FIELDS = ("board", "cpu", "architecture", "cores", "cpu_quota_cores", "governor")
ROW_FIELDS = ("runtime_version", "batch", "normalization", "images")
# The fields of a row that the JSON and the CSV of a comparison have.
FIGURES = (
    "images_per_s", "images", "top1", "size_bytes", "peak_rss_mib", "model_rss_mib", "marks",
    "error",
)  # fmt: skip
DIFFERENCES = ("ratio", "ratio_interval", "top1_difference", "top1_difference_interval")


@dataclass(frozen=True)
class Measured:
    """The figures of a row in one result, compared with those in the first result.

    Attributes:
        result: name of the result.
        row: as it was measured.
        ratio: median time an image, divided by that of the first result.
        ratio_interval: its 95 % interval; None where a result has no rounds.
        top1_difference: top-1 minus that of the first result, -1 to 1.
        top1_difference_interval: its 95 % interval, for independent samples.
        both_marks: of the row and of that in the first result.
    """

    result: str
    row: Row
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    top1_difference: float | None = None
    top1_difference_interval: tuple[float, float] | None = None
    both_marks: list[str] = field(default_factory=list)

    @property
    def p50_ms(self) -> float | None:
        """Median latency."""
        return self.row.latency_ms["p50"]

    @property
    def p90_ms(self) -> float | None:
        """90th percentile of the latency."""
        return self.row.latency_ms["p90"]

    def as_dict(self) -> dict:
        """JSON values: the figures of the row that a comparison shows, and the differences."""
        figures = {name: getattr(self.row, name) for name in FIGURES}
        differences = {name: getattr(self, name) for name in DIFFERENCES}
        latencies = {"p50_ms": self.p50_ms, "p90_ms": self.p90_ms}
        return {"result": self.result} | latencies | figures | differences


@dataclass(frozen=True)
class ComparedRow:
    """One model in one runtime, in every result that has it.

    Attributes:
        name: short and unique.
        model: path in the first result that has the row.
        runtime: its name.
        threads: of the runtime.
        scenario: "single-stream" or "offline".
        options: of the runtime, in one text.
        host: where it ran, if a result has several hosts; else None.
        measured: one for each result; None where it does not have the row.
    """

    name: str
    model: str
    runtime: str
    threads: int
    scenario: str
    options: str
    host: str | None
    measured: list[Measured | None]


@dataclass(frozen=True)
class Comparison:
    """Several results, compared with the first of them.

    Attributes:
        results: `name`, `started`, `edgecifar` and `machine` of each.
        warnings: see `doubts`.
        rows: in the order of the first result, then those that only other results have.
        pairs: the paired ratios of a single result, see `names.named_pairs`; else empty.
    """

    results: list[dict]
    warnings: list[str]
    rows: list[ComparedRow]
    pairs: list[dict] = field(default_factory=list)

    def as_dict(self) -> dict:
        """JSON values."""
        rows = [
            vars(row) | {"measured": [one and one.as_dict() for one in row.measured]}
            for row in self.rows
        ]
        return vars(self) | {"rows": rows}


def compare(results: Sequence[tuple[str, dict]]) -> Comparison:
    """Compare results with the first of them.

    Rows are the same when model, runtime, threads, scenario and options are the same, and the hosts
    too if a result has several. A model is the same when its file has the same content, else when
    it has the same path: so a model that was made again is compared with the one before. Two files
    of one name with other contents at other paths are two models. Where a result of an earlier
    release has no hash of a file, its name and size stand for the content. If a result has the same
    row several times, they are matched in order.

    Args:
        results: name and content of each, see `result.load`; at least one.

    Raises:
        UserError: there are several results, and no row is in two of them.
    """
    names, contents = [name for name, _ in results], [content for _, content in results]
    matched = match(contents)
    if len(results) > 1 and not any(len(_there(rows)) > 1 for rows in matched):
        raise UserError(
            f"{', '.join(names)}: no row of one result is in another: rows match when the model's "
            "file or its path, the runtime, the threads, the scenario and the options are the same"
        )
    shown = [_there(rows)[0][1] for rows in matched]
    several_hosts = _several_hosts(contents)
    compared = [
        ComparedRow(
            name=name,
            model=row["model"],
            runtime=row["runtime"],
            threads=row["threads"],
            scenario=row["scenario"],
            options=options_text(row),
            host=row["host"] if several_hosts else None,
            measured=[
                None if row is None else beside(row, rows[0] if index else None, names[index])
                for index, row in enumerate(rows)
            ],
        )
        for name, row, rows in zip(row_names(shown), shown, matched, strict=True)
    ]
    return Comparison(
        results=[
            {"name": name} | {key: content[key] for key in ("started", "edgecifar", "machine")}
            for name, content in results
        ],
        warnings=doubts(results),
        rows=compared,
        pairs=named_pairs(contents[0], contents[0]["pairs"]) if len(results) == 1 else [],
    )


def match(results: Sequence[dict]) -> list[list[dict | None]]:
    """Group the rows of results that are the same by the rule of `compare`.

    Returns:
        For each row a list with that row of each result, None where the result does not have it.
    """
    several_hosts = _several_hosts(results)

    def conditions(row: dict) -> tuple:
        host = row["host"] if several_hosts else None
        return row["runtime"], row["threads"], row["scenario"], options_text(row), host

    groups: list[list[dict | None]] = []
    for index, result in enumerate(results):
        rest: list[dict] = result["rows"]
        for identity_of_earlier, identity_of_row in SAME_FILE:
            free: dict[tuple, deque[list[dict | None]]] = defaultdict(deque)
            for group in groups:
                for _, earlier in _there(group) if group[index] is None else ():
                    free[conditions(earlier), identity_of_earlier(earlier)].append(group)
            unmatched = []
            for row in rest:
                same = (
                    free[conditions(row), identity] if (identity := identity_of_row(row)) else None
                )
                while same and same[0][index] is not None:
                    same.popleft()
                if same:
                    same.popleft()[index] = row
                else:
                    unmatched.append(row)
            rest = unmatched
        groups += [[row if i == index else None for i in range(len(results))] for row in rest]
    return groups


def _content(row: dict) -> str | None:
    return row["sha256"]


def _content_and_path(row: dict) -> tuple | None:
    return (row["sha256"], row["model"]) if row["sha256"] else None


def _path(row: dict) -> str:
    return row["model"]


def _name_and_size(row: dict) -> tuple | None:
    return (Path(row["model"]).name, row["size_bytes"]) if row["size_bytes"] else None


def _name_and_size_of_unhashed(row: dict) -> tuple | None:
    return None if row["sha256"] else _name_and_size(row)


# When two rows are of one file, the surest first: what of the earlier row equals what of the later.
SAME_FILE = (
    (_content_and_path, _content_and_path),
    (_content, _content),
    (_path, _path),
    # Results of earlier releases have no hash.
    (_name_and_size_of_unhashed, _name_and_size),
    (_name_and_size, _name_and_size_of_unhashed),
)


def beside(row: dict, first: dict | None, result: str) -> Measured:
    """The figures of a row, compared with the same row of the first result.

    Args:
        row: of a result.
        first: the same row of the first result; None if there is none, or `row` is that row.
        result: the name of the row's result.
    """
    now = typed(row)
    if first is None:
        return Measured(result, now)
    then = typed(first)
    both_marks = united(then.marks, now.marks)
    return Measured(result, now, *_ratio(now, then), *_top1_difference(now, then), both_marks)


def _ratio(row: Row, first: Row) -> tuple[float | None, tuple[float, float] | None]:
    """The ratio of the median times an image, because calls may have several images.

    None when the ratio is too large for a float: an edited file may hold a time of 1e308.
    """
    ours, theirs = _block_medians(row), _block_medians(first)
    try:
        if ours and theirs:
            ratio, interval = unpaired_ratio(ours, theirs, SEED)
        else:
            p50s = [(one.latency_ms["p50"] or 0) / (one.batch or 1) for one in (row, first)]
            ratio, interval = p50s[0] / p50s[1], None
    except (OverflowError, ZeroDivisionError):
        return None, None
    finite = all(map(math.isfinite, (ratio, *(interval or ()))))
    return (ratio, interval) if ratio and finite else (None, None)


def _block_medians(row: Row) -> list[float]:
    """The median time an image of each round that the row took part in."""
    return [p50 / (row.batch or 1) for p50 in row.block_p50_ms if p50 and p50 > 0]


def _top1_difference(row: Row, first: Row) -> tuple[float | None, tuple[float, float] | None]:
    if row.top1 is None or first.top1 is None or not row.images or not first.images:
        return None, None
    right, right_first = round(row.top1 * row.images), round(first.top1 * first.images)
    interval = difference_interval(right, row.images, right_first, first.images)
    return row.top1 - first.top1, interval


def doubts(results: Sequence[tuple[str, dict]]) -> list[str]:
    """What makes a comparison doubtful, one line for each reason, which names all its rows.

    Args:
        results: see `compare`.
    """
    matched = match([content for _, content in results])
    names = row_names([_there(rows)[0][1] for rows in matched])
    found: dict[str, None] = {}
    for rows, name in zip(matched, names, strict=True):
        there = _there(rows)
        machines = [(index, machine_of(results[index][1], row)) for index, row in there]
        for key in MACHINE_FIELDS:
            if values := _differing([(index, held.get(key)) for index, held in machines]):
                found[f"machines differ: {key} {_listed(results, values)}"] = None
        for key in ROW_FIELDS:
            if values := _differing([(index, row[key]) for index, row in there]):
                what = there[0][1]["runtime"] if key == "runtime_version" else name
                found[f"{key} of {what} differs: {_listed(results, values)}"] = None
    if values := _differing([(i, result["edgecifar"]) for i, (_, result) in enumerate(results)]):
        found[f"edgecifar differs: {_listed(results, values)}"] = None
    threads = [
        (i, ", ".join(str(n) for n in sorted({row["threads"] for row in result["rows"]})))
        for i, (_, result) in enumerate(results)
    ]
    if values := _differing(threads):
        found[f"threads differ: {_listed(results, values)}: only equal numbers are compared"] = None
    for name, result in results:
        measured = [row for row in result["rows"] if not row["error"]]
        if len(results) > 1 and measured and not any(row["block_p50_ms"] for row in measured):
            found[f"{name} has no figures of its rounds: ratios to it have no interval"] = None
    of_rows: dict[str, list[str]] = {}
    for rows, name in zip(matched, names, strict=True):
        there = _there(rows)
        if len(there) < len(results):
            has = ", ".join(results[index][0] for index, _ in there)
            of_rows.setdefault(f"only in {has}", []).append(name)
        for index, row in there:
            where = results[index][0]
            if row["marks"]:
                marks = ", ".join(row["marks"])
                of_rows.setdefault(f"marked {marks} in {where}", []).append(name)
            if row["settled"] is False:
                less = f"p50 is less precise than the settings ask for in {where}"
                of_rows.setdefault(less, []).append(name)
    found |= {f"{what}: {', '.join(concerned)}": None for what, concerned in of_rows.items()}
    return list(found)


def _differing(values: Sequence[tuple[int, object]]) -> list[tuple[int, object]]:
    """The known values, if they are not all the same; else none."""
    known = [(index, value) for index, value in values if value is not None]
    return known if len({str(value) for _, value in known}) > 1 else []


def _listed(results: Sequence[tuple[str, dict]], values: Sequence[tuple[int, object]]) -> str:
    return ", ".join(f"{value} in {results[index][0]}" for index, value in values)


def _there(rows: Sequence[dict | None]) -> list[tuple[int, dict]]:
    return [(index, row) for index, row in enumerate(rows) if row is not None]


def _several_hosts(results: Sequence[dict]) -> bool:
    return any(len({row["host"] for row in result["rows"]}) > 1 for result in results)
