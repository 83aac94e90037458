"""What the rows of a bench result are called, and where they were measured."""

from collections.abc import Sequence
from pathlib import Path

# The machine that ran the command, in a result of several.
LOCAL = "local"


def row_names(rows: Sequence[dict]) -> list[str]:
    """Short names, each row's its own: the model and as much as it takes to tell them apart."""
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
    """File names where they tell the models apart, else whole paths."""
    paths = {row["model"] for row in rows}
    names = {Path(path).name for path in paths}
    told_apart = len(names) == len(paths)
    return [Path(row["model"]).name if told_apart else row["model"] for row in rows]


def options_text(row: dict) -> str:
    """`graph=all, xnnpack=off`; empty where nothing was asked for."""
    return ", ".join(f"{name}={row['options'][name]}" for name in sorted(row["options"]))


def host_name(row: dict) -> str:
    """By which a result's `machines` know where the row was measured."""
    return row["host"] or LOCAL


def machine_of(result: dict, row: dict) -> dict:
    """The machine that a row was measured on."""
    return result["machines"].get(host_name(row), result["machine"])


def machine_text(machine: dict) -> str:
    """Board, processor and cores, with the governor where the machine tells."""
    names = [machine.get("board"), machine.get("cpu"), machine.get("architecture")]
    parts = [", ".join(str(name) for name in names if name) or "unknown machine"]
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    if machine.get("governor"):
        parts.append(f"governor {machine['governor']}")
    return " · ".join(parts)


def named_pairs(result: dict, pairs: Sequence[dict]) -> list[dict]:
    """Pairs as they stand in a result, with the names of their rows as `a` and `b`.

    Each has `top1_difference` too, a's less b's, 0 to 1; None where one was not measured.
    """
    names = row_names(result["rows"])
    top1 = [row["top1"] for row in result["rows"]]
    return [
        pair
        | {"a": names[pair["a"]], "b": names[pair["b"]]}
        | {"top1_difference": _difference(top1[pair["a"]], top1[pair["b"]])}
        for pair in pairs
    ]


def _threads(row: dict) -> str:
    return f"{row['threads']} thread" + ("" if row["threads"] == 1 else "s")


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
