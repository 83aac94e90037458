"""Writes and reads the result of a bench, which the reports and the gates use: one JSON schema.

Version 1:

    {"schema_version": 1, "machine": {...}, "rows": [{"model": path, "runtime": "litert", ...}]}

Field names carry their units. A row that could not be measured has `error` and nulls.
`result.schema.json` beside this file is the same as a JSON Schema, for programs in other languages.
Later releases may add fields; existing fields keep their names and meanings.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from edgecifar import __version__
from edgecifar.errors import UserError

SCHEMA_VERSION = 1
LATENCIES = ("p50", "p90", "p99", "p999", "min", "mean", "std")
INTERVALS = ("p50", "p90", "p99", "mean")
PARTS = ("set_input", "invoke", "get_output")
UNMEASURED_LATENCY = dict.fromkeys(LATENCIES)
UNMEASURED_INTERVAL = dict.fromkeys(INTERVALS)
UNMEASURED_PARTS = dict.fromkeys(PARTS)
SHARES = ("top1", "top5", "ece", "agreement", "mcnemar_p")
UNMEASURED_WARM_UP = dict.fromkeys(("inferences", "seconds", "settled"))
Interval = tuple[float, float]

# Limits of what is read. A result of 100 rows and 4,950 pairs has less than 3 MB.
LARGEST_BYTES = 16 * 2**20
MOST = {"rows": 10_000, "pairs": 100_000}
MOST_BLOCKS = 100_000  # nearly three hours of blocks of 0.1 s


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model in one runtime. None or empty: not measured, or the runtime does not report it.

    Attributes:
        model: the path as the user gave it.
        runtime: its name.
        runtime_version: of the package that was measured.
        host: the machine as the user gave it; None is the one that ran the command.
        threads: number of threads that the runtime was set to use.
        options: of the runtime, name to value, as given; others have the runtime's default.
        scenario: "single-stream" (one call after the other) or "offline" (all images available).
        batch: images a call.
        input: what the file takes: `dtype`, `shape` with None where it is free, `layout` "NHWC" or
            "NCHW".
        normalization: name of what was done to the pixels before they went in.
        normalization_tried: where it was found by trial: `normalization` and `top1` (0 to 1, on
            training images) of each that was tried.
        output: what the file gives: "probabilities", "sigmoids" or "logits".
        output_name: of the output that was read, where the file gives several.
        resize: how images became smaller, "squash" or "crop", where the file takes smaller ones.
        labels: its class order, where that is not CIFAR-10's.
        images: number of test images for the accuracy; None, like the accuracy, for a model that
            does not have ten classes.
        top1: share of them classified right, 0 to 1.
        top1_interval: its 95 % Wilson interval.
        top5: share with the right class among the five most probable, 0 to 1.
        top5_interval: its 95 % Wilson interval.
        ece: expected calibration error of the most probable class, 0 to 1.
        per_class: `label`, `images`, `top1`, `top1_interval` of each class, in CIFAR-10's order.
        confusion: images by true class (rows) and predicted class (columns).
        latency_ms: of a call with `batch` images, from uint8 pixels to float32 probabilities, by
            the names of `latency.latency_summary`.
        latency_interval_ms: 95 % bootstrap intervals of some of these.
        parts_ms: median time of each part of a call.
        block_p50_ms: the median latency of each round's block; None if the row took no part in it.
        timed_inferences: how many calls `latency_ms` summarizes.
        timed_s: how long they took together, seconds.
        settled: whether the interval of p50 is as narrow as the settings ask.
        warm_up: `inferences` and `seconds` before timing, and whether the median `settled`.
        images_per_s: in the scenario: single-stream, the inverse of the mean latency.
        import_ms: time to import the runtime.
        load_ms: time to open the file, after the runtime was imported.
        first_ms: time of the first call after that.
        peak_rss_mib: the most resident memory that the worker process had up to the end of that
            call: Python, numpy and the runtime included.
        runtime_rss_mib: its resident memory with the runtime imported and no file open.
        model_rss_mib: the difference, which is what the file takes.
        energy_mj_per_image: millijoules of what `energy_source` covers, the power at rest included;
            counted in blocks that are not timed.
        energy_source: name of the counter or sensor.
        power_w: mean power of the same, watts.
        idle_power_w: mean power of the same before anything was loaded.
        marks: why the figures may be wrong, such as "throttled" or "busy"; with "overflow" the
            answers may differ on another processor.
        warning: what may be wrong with the file or with how it was read, one line.
        overflow: for a file whose int8 weights can overflow on some processors, the runtime's
            answers on this processor compared with those of its exact kernels: `images`, the
            training images that both classified; `agreement`, the share on which both chose the
            same class; and `kl_divergence`, nats. None if they cannot overflow, or nothing was
            compared.
        size_bytes: of the file, with the files beside it that hold weights of it.
        sha256: of its content, hexadecimal; see `graphs.parts.sha256`.
        error: why the rest is None, one line; None when it was measured.
    """

    model: str
    runtime: str
    runtime_version: str | None = None
    host: str | None = None
    threads: int
    options: dict = field(default_factory=dict)
    scenario: str = "single-stream"
    batch: int | None = None
    input: dict | None = None
    normalization: str | None = None
    normalization_tried: list[dict] | None = None
    output: str | None = None
    output_name: str | None = None
    resize: str | None = None
    labels: list[str] | None = None
    images: int | None = None
    top1: float | None = None
    top1_interval: Interval | None = None
    top5: float | None = None
    top5_interval: Interval | None = None
    ece: float | None = None
    per_class: list[dict] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    latency_ms: dict[str, float | None] = field(default_factory=UNMEASURED_LATENCY.copy)
    latency_interval_ms: dict[str, Interval | None] = field(
        default_factory=UNMEASURED_INTERVAL.copy
    )
    parts_ms: dict[str, float | None] = field(default_factory=UNMEASURED_PARTS.copy)
    block_p50_ms: list[float | None] = field(default_factory=list)
    timed_inferences: int | None = None
    timed_s: float | None = None
    settled: bool | None = None
    warm_up: dict = field(default_factory=UNMEASURED_WARM_UP.copy)
    images_per_s: float | None = None
    import_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_rss_mib: float | None = None
    runtime_rss_mib: float | None = None
    model_rss_mib: float | None = None
    energy_mj_per_image: float | None = None
    energy_source: str | None = None
    power_w: float | None = None
    idle_power_w: float | None = None
    marks: list[str] = field(default_factory=list)
    warning: str | None = None
    overflow: dict | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two rows, compared: they were measured in the same rounds, on the same images.

    Attributes:
        a: index of the first row.
        b: index of the second.
        ratio: median time an image of `a` divided by that of `b`, paired by rounds; if a call has
            one image, the ratio of their latencies.
        ratio_interval: its 95 % bootstrap interval.
        agreement: share of the images that both put in the same class, 0 to 1.
        mcnemar_p: p value of McNemar's test that both are right equally often, 0 to 1.
    """

    a: int
    b: int
    ratio: float | None = None
    ratio_interval: Interval | None = None
    agreement: float | None = None
    mcnemar_p: float | None = None


def result(
    machine: dict,
    rows: Sequence[Row],
    *,
    started: str | None = None,
    settings: dict | None = None,
    machines: dict[str, dict] | None = None,
    pairs: Sequence[Pair] = (),
) -> dict:
    """The whole result, as JSON values.

    Args:
        machine: the first host, see `worker.machine`, with its `conditions`, readings of
            `worker.sensors`: one `before` the timing, a list `during` it, one `after` it.
        rows: in the order of the table.
        started: when the bench started, ISO 8601 in UTC.
        settings: how the bench measured; see `settings.BenchSettings.as_json`.
        machines: every host by its name, if there are several.
        pairs: of rows.
    """
    return _lists(
        {
            "schema_version": SCHEMA_VERSION,
            "edgecifar": __version__,
            "started": started,
            "settings": settings or {},
            "machine": machine,
            "machines": machines or {},
            "rows": [asdict(row) for row in rows],
            "pairs": [asdict(pair) for pair in pairs],
        }
    )


def load(path: Path) -> dict:
    """Read a result that this or an earlier release wrote.

    Args:
        path: of the JSON file.

    Returns:
        The result. Fields that the release did not have yet are None or empty.

    Raises:
        UserError: there is no such file, it is not a result, or a later release wrote it.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
        if len(raw) > LARGEST_BYTES:
            limit = f"{LARGEST_BYTES // 2**20} MiB"
            raise UserError(
                f"{path}: has more than {limit}, and a result of `edgecifar bench` has less"
            )
        found = json.loads(raw.decode("utf-8-sig"))  # editors may add a byte order mark
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: is not JSON, so it is not a result of `edgecifar bench`"
        ) from error
    return checked(found, str(path))


def checked(found: Any, name: str) -> dict:
    """Check a result that this or an earlier release made, and complete it.

    Args:
        found: JSON values.
        name: of the result, for messages.

    Returns:
        The result. Fields that the release did not have yet are None or empty.

    Raises:
        UserError: it is not a result, or a later release made it.
    """
    version: Any = found.get("schema_version") if isinstance(found, dict) else None
    known = type(version) is int
    if known and version > SCHEMA_VERSION:
        raise UserError(
            f"{name}: schema_version {version} is of a later edgecifar; this one, {__version__}, "
            f"reads {SCHEMA_VERSION}: update it"
        )
    problem = _problem(found) if known and version == SCHEMA_VERSION else "it has no schema_version"
    if problem:
        raise UserError(f"{name}: is not a result of `edgecifar bench`: {problem}")
    empty = result({}, []) | {"edgecifar": None}
    rows = [_complete(row) for row in found["rows"]]
    pairs = [asdict(Pair(a=0, b=0)) | pair for pair in found.get("pairs", [])]
    return empty | found | {"rows": rows, "pairs": pairs}


def typed(row: dict) -> Row:
    """A row of a loaded result; fields of a later release are left out."""
    return Row(**{one.name: row[one.name] for one in fields(Row)})


def unmeasured(result: dict) -> list[tuple[str, list[str]]]:
    """The models that no row measured, each with the errors of its rows."""
    errors: dict[str, list[str]] = {}
    for row in result["rows"]:
        errors.setdefault(row["model"], []).append(row["error"])
    return [(model, found) for model, found in errors.items() if all(found)]


def _lists(value: Any) -> Any:
    """The same with lists instead of tuples, as JSON has them."""
    if isinstance(value, dict):
        return {name: _lists(held) for name, held in value.items()}
    return [_lists(held) for held in value] if isinstance(value, list | tuple) else value


def _complete(row: dict) -> dict:
    """A row with every field of this release, and the fields it has of a later one."""
    blank = asdict(Row(model="", runtime="", threads=1))
    named = {
        name: blank[name] | row[name]
        for name in ("latency_ms", "latency_interval_ms", "parts_ms", "warm_up")
        if name in row
    }
    return blank | row | named


def _problem(found: dict) -> str | None:
    """What is wrong with a JSON object as a result; None when nothing is."""
    expected: dict[str, Any] = {"machine": dict, "rows": list[dict], "machines": dict[str, dict]}
    expected |= {"settings": dict, "pairs": list[dict], "started": str | None}
    if missing := [name for name in ("machine", "rows") if name not in found]:
        return f"it has no {missing[0]}"
    if problem := _misfit(found, expected):
        return problem
    for kind, name in ((Row, "rows"), (Pair, "pairs")):
        if len(found.get(name, [])) > MOST[name]:
            return f"it has more than {MOST[name]:,} {name}"
        hints = get_type_hints(kind)
        required = ("model", "runtime", "threads") if kind is Row else ("a", "b")
        for index, held in enumerate(found.get(name, [])):
            if missing := [field for field in required if field not in held]:
                return f"{name}[{index}] has no {missing[0]}"
            if problem := _misfit(held, hints):
                return f"{name}[{index}].{problem}"
            if len(held.get("block_p50_ms", [])) > MOST_BLOCKS:
                return f"{name}[{index}].block_p50_ms has more than {MOST_BLOCKS:,} values"
    rows = range(len(found["rows"]))
    if any(pair["a"] not in rows or pair["b"] not in rows for pair in found.get("pairs", [])):
        return "a pair names a row that does not exist"
    return None


def _misfit(found: dict, hints: dict) -> str | None:
    wrong = [name for name, hint in hints.items() if name in found and not _fits(found[name], hint)]
    shares = [name for name in SHARES if name in hints]
    wrong = wrong or [name for name in shares if not 0 <= (found.get(name) or 0) <= 1]
    return f"{wrong[0]} has the wrong type or value" if wrong else None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value has a type; knows only the types that this module's hints use."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return any(_fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(held, inner[0]) for held in value)
    if origin is tuple:
        same_length = isinstance(value, list) and len(value) == len(inner)
        return same_length and all(map(_fits, value, inner))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(held, inner[1]) for held in value.values())
    if (
        hint is float
    ):  # not infinite and not NaN, which Python reads although JSON has no such numbers
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and -sys.float_info.max <= value <= sys.float_info.max
    if hint is int:  # all of them are counts
        return type(value) is int and 0 <= value <= sys.maxsize
    return isinstance(value, hint)
