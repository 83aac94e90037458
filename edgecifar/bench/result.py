"""The result of a bench: one JSON schema, written here and read by the reports and the gates.

Version 1:

    {"schema_version": 1, "machine": {...}, "rows": [{"model": path, "runtime": "litert", ...}]}

Field names carry their units. A row that could not be measured has `error` and nulls.
"""

from dataclasses import asdict, dataclass, field

SCHEMA_VERSION = 1
UNMEASURED_LATENCY = dict.fromkeys(("p50", "p90", "p99", "mean", "min"))


@dataclass(frozen=True)
class Row:
    """One model in one runtime.

    Attributes:
        model: the path as the user gave it.
        runtime: its name.
        runtime_version: of the package that was measured.
        threads: how many the runtime was told to use.
        images: how many test images the accuracy is on; None, as the accuracy, of a model whose
            classes are not ten.
        top1: share of them classified right, 0 to 1.
        top1_interval: its 95 % Wilson interval.
        latency_ms: one image at a time, uint8 pixels in to float32 probabilities out, by the
            names of `statistics.latency_summary`.
        timed_inferences: how many latencies that summarizes.
        images_per_s: one image at a time: the inverse of the mean latency.
        import_ms: importing the runtime.
        load_ms: opening the file, with the runtime imported already.
        first_ms: the first inference after that.
        peak_rss_mib: the most resident memory that the worker process had while it loaded and
            classified one image at a time: Python, numpy and the runtime included.
        runtime_rss_mib: what it had with the runtime imported and no file open.
        size_bytes: of the file.
        error: why the rest is None, one line; None when it was measured.
    """

    model: str
    runtime: str
    threads: int
    runtime_version: str | None = None
    images: int | None = None
    top1: float | None = None
    top1_interval: tuple[float, float] | None = None
    latency_ms: dict[str, float | None] = field(default_factory=UNMEASURED_LATENCY.copy)
    timed_inferences: int | None = None
    images_per_s: float | None = None
    import_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_rss_mib: float | None = None
    runtime_rss_mib: float | None = None
    size_bytes: int | None = None
    error: str | None = None


def result(machine: dict, rows: list[Row]) -> dict:
    """The whole result, as JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "machine": machine,
        "rows": [asdict(row) | {"top1_interval": _list(row.top1_interval)} for row in rows],
    }


def unmeasured(result: dict) -> list[tuple[str, list[str]]]:
    """The models that no row measured, each with the errors of its rows."""
    errors: dict[str, list[str]] = {}
    for row in result["rows"]:
        errors.setdefault(row["model"], []).append(row["error"])
    return [(model, found) for model, found in errors.items() if all(found)]


def _list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
