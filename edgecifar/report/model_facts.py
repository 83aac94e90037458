"""Shows the facts of a model file on a terminal or as plain text."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from edgecifar.errors import escaped
from edgecifar.report.cells import count
from edgecifar.report.tables import Column, Table, print_line, print_table

if TYPE_CHECKING:
    from edgecifar.graphs.facts import Facts, Port

LONGEST = 200
OPERATORS: tuple[Column[tuple[str, int]], ...] = (
    Column("operator", lambda operator: operator[0]),
    Column("count", lambda operator: operator[1], count),
)


def model_facts(facts: "Facts", path: Path, console: Console) -> None:
    """Print the facts of a model file, one in each line, then a table of its operators.

    Args:
        facts: see `edgecifar.graphs.facts`.
        path: of the file, as the user gave it.
        console: where to print.
    """
    lines = [
        ("file", f"{path}, {facts.size_bytes / 1e6:.2f} MB"),
        ("format", _format(facts)),
        ("producer", facts.producer or "not given"),
        *(("input", _port(port)) for port in facts.inputs),
        *(("output", _port(port)) for port in facts.outputs),
        ("precision", facts.precision or _unknown(facts)),
        ("parameters", f"{facts.parameters:,}"),
        ("multiply-accumulates", _multiply_accumulates(facts)),
        ("tensors", ", ".join(f"{n:,} {dtype}" for dtype, n in facts.dtypes.most_common())),
        *_metadata(facts.metadata),
    ]
    lines = [(escaped(key), text) for key, text in lines]
    width = max(len(key) for key, _ in lines)
    for key, text in lines:
        print_line(console, f"{key.ljust(width)}  {text}", indent=width + 2)
    print_line(console, "")
    print_table(console, Table(OPERATORS, facts.operators.most_common()))


def _format(facts: "Facts") -> str:
    version = facts.version
    if facts.format == "TFLite":
        minimum = version["minimum_runtime"]
        return f"TFLite schema {version['schema']}" + (
            f", runs on TensorFlow Lite {minimum} and later" if minimum else ""
        )
    if facts.format == "Keras":
        return version["kind"].removeprefix("a ").removeprefix("an ")
    others = "".join(f", {domain} {number}" for domain, number in version["domains"].items())
    return f"ONNX opset {version['opset']}, IR version {version['ir']}{others}"


def _port(port: "Port") -> str:
    text = f"{port.name}: {port.dtype} {port.shape_text}"
    if port.scale is None:
        return text
    return f"{text}, scale {port.scale:.6g}, zero point {port.zero_point}"


def _multiply_accumulates(facts: "Facts") -> str:
    if facts.multiply_accumulates is None:
        return _unknown(facts)
    text = f"{facts.multiply_accumulates:,} an inference"
    if facts.integer_share is None:
        return text
    return f"{text}, {100 * facts.integer_share:.4g} % of them on integers"


def _unknown(facts: "Facts") -> str:
    if facts.needs:
        return f"not known without the {facts.needs} package: pip install {facts.needs}"
    return "not known" if facts.format == "Keras" else "not known: a shape is open"


def _metadata(metadata: dict) -> list[tuple[str, str]]:
    """A line for each entry, and for each key of an entry that is a dict, as edgecifar's is."""
    lines = []
    for name, content in metadata.items():
        if isinstance(content, dict):
            lines += [(f"{name}.{key}", _shown(value)) for key, value in content.items()]
        elif isinstance(content, int):
            lines.append((name, f"{content:,} bytes"))
        else:
            lines.append((name, _shown(content)))
    return lines


def _shown(value: object) -> str:
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        text = ", ".join(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    more = len(text) - LONGEST
    return f"{text[:LONGEST]}... and {more:,} characters more" if more > 0 else text
