"""Names for the rows of a bench result, and the machines that they were measured on."""

from collections.abc import Sequence
from pathlib import Path

from edgecifar.bench.results.marks import united

# Name of the machine that ran the command, in a result of several machines.
LOCAL = "local"


def row_names(rows: Sequence[dict]) -> list[str]:
    """A short, unique name for each row: the model, and what distinguishes it from the others."""
    names = model_names(rows)
    for cells in (
        [f" in {row['runtime']}" for row in rows],
        [f", {_threads(row)}" for row in rows],
        [f", {row['scenario']}" for row in rows],
        [f", {text}" if (text := options_text(row)) else "" for row in rows],
        [f" on {host_name(row)}" for row in rows],
    ):
        named = list(zip(names, cells, strict=True))
        said: dict[str, set[str]] = {}
        for name, cell in named:
            said.setdefault(name, set()).add(cell)
        names = [name + cell if len(said[name]) > 1 else name for name, cell in named]
    return [  # the same file may be given twice
        f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def model_names(rows: Sequence[dict]) -> list[str]:
    """File names if each model has a different one, else whole paths."""
    paths = {row["model"] for row in rows}
    names = {Path(path).name for path in paths}
    distinct = len(names) == len(paths)
    return [Path(row["model"]).name if distinct else row["model"] for row in rows]


def options_text(row: dict) -> str:
    """The options of a row, such as `graph=all, xnnpack=off`; empty where none was given."""
    return ", ".join(f"{name}={row['options'][name]}" for name in sorted(row["options"]))


def host_name(row: dict) -> str:
    """The key of the row's machine in the `machines` of a result."""
    return row["host"] or LOCAL


def machine_of(result: dict, row: dict) -> dict:
    """The machine that a row was measured on."""
    return result["machines"].get(host_name(row), result["machine"])


def machine_text(machine: dict) -> str:
    """Board, processor, cores and, where it is known, the governor."""
    names = [machine.get("board"), machine.get("cpu"), machine.get("architecture")]
    parts = [", ".join(str(name) for name in names if name) or "unknown machine"]
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    if machine.get("governor"):
        parts.append(f"governor {machine['governor']}")
    return " · ".join(parts)


def named_pairs(result: dict, pairs: Sequence[dict]) -> list[dict]:
    """Pairs of a result, with the names of their rows as `a` and `b`.

    Each also has `top1_difference`, top-1 of a minus that of b, -1 to 1, None where one of them was
    not measured; and `marks`, those of both rows.
    """
    names = row_names(result["rows"])
    top1 = [row["top1"] for row in result["rows"]]
    marks = [row["marks"] for row in result["rows"]]
    return [
        pair
        | {"a": names[pair["a"]], "b": names[pair["b"]]}
        | {"top1_difference": _difference(top1[pair["a"]], top1[pair["b"]])}
        | {"marks": united(marks[pair["a"]], marks[pair["b"]])}
        for pair in pairs
    ]


def _threads(row: dict) -> str:
    return f"{row['threads']} thread" + ("" if row["threads"] == 1 else "s")


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
