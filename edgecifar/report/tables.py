"""Tables: columns of typed values, written for a terminal, as plain text, Markdown or CSV.

A terminal shows the columns that fit its width; what is left out is said below. Plain text has one
line a row, every column, two or more spaces between columns, no colour and nothing cut off, so that
grep, awk and a log file can have it. Every writer shows control characters escaped.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, TypeVar

from rich.cells import cell_len
from rich.console import Console

from edgecifar.errors import escaped

ABSENT = "-"
GAP = "  "
# From this width on, a terminal shows every column if it can.
WIDE = 140
MARKDOWN_SIGNS = re.compile(r"([\\`*_<>\[\]|])")

Entry = TypeVar("Entry")


def always(texts: Sequence[str]) -> bool:
    """Show the column in every table."""
    return True


def where_present(texts: Sequence[str]) -> bool:
    """Show the column where a row has a value."""
    return any(texts)


def where_different(texts: Sequence[str]) -> bool:
    """Show the column where it distinguishes rows."""
    return len(set(texts)) > 1


@dataclass(frozen=True)
class Column(Generic[Entry]):
    """One column: where its values come from, and how they are shown.

    Attributes:
        title: the heading, without the unit.
        value: the typed value of a row; None is shown as a dash.
        text: formats a value that is not None.
        unit: stands after the title.
        left: whether the text aligns left; numbers align right. The first column aligns left.
        priority: 0 is always shown; of the others, the smallest number stays the longest when a
            terminal is narrow.
        shown: whether the column is in a table at all, by its texts.
        fold: the least width to which the text may be folded at its spaces; None keeps it whole.
        below: heading of the column below whose text this one goes when a terminal is too narrow
            for the columns of priority 0.
        aside: on a terminal the text goes below the table, after the row's name, where there is
            more room.
    """

    title: str
    value: Callable[[Entry], Any]
    text: Callable[[Any], str] = str
    unit: str = ""
    left: bool = False
    priority: int = 0
    shown: Callable[[Sequence[str]], bool] = always
    fold: int | None = None
    below: str = ""
    aside: bool = False

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} {self.unit}".rstrip()

    def cell(self, entry: Entry) -> str:
        """The text for one row, with control characters escaped; empty for no value."""
        value = self.value(entry)
        return "" if value is None else escaped(self.text(value))


@dataclass(frozen=True)
class Table(Generic[Entry]):
    """Columns, and what the rows take their values from.

    Attributes:
        columns: in their order.
        entries: one for each row.
        name: a short name of a row, for what is said about it below the table.
    """

    columns: Sequence[Column[Entry]]
    entries: Sequence[Entry]
    name: Callable[[Entry], str] = str

    def drawn(self) -> "list[_Drawn]":
        """The columns that the table has, with their texts."""
        found = [
            _Drawn(column, [column.cell(entry) for entry in self.entries], i == 0 or column.left)
            for i, column in enumerate(self.columns)
        ]
        return [one for one in found if one.column.shown(one.cells)]


def print_table(console: Console, table: Table, wide: bool | None = None) -> None:
    """Print a table: for a terminal the columns that fit, else every column as plain text.

    Args:
        console: where to print.
        table: what.
        wide: show every column on a terminal too, however narrow; None where the command has no
            option for it.
    """
    if not console.is_terminal:
        for line in _plain_lines(table.drawn()):
            print_line(console, line)
        return
    drawn = table.drawn()
    columns = [one for one in drawn if not one.column.aside]
    width = max(_natural(_blocks(columns)), console.width) if wide else console.width
    chosen = _chosen(columns, width)
    if chosen is None:
        for line in _plain_lines(columns):
            _print_whole(console, line)
    else:
        heading, lines = _screen_lines(chosen, width)
        for line in heading:
            _print_whole(console, line, "bold")
        for line in lines:
            _print_whole(console, line)
        there = [one for block in chosen for one in block]
        if left_out := [one.column.heading for one in columns if one not in there]:
            more = "" if wide is None else " (--wide shows them)"
            print_line(console, f"left out for width: {', '.join(left_out)}{more}")
    for one in drawn:
        if one.column.aside:
            for entry, text in zip(table.entries, one.cells, strict=True):
                if text:
                    print_line(console, f"{table.name(entry)}: {text}")


def markdown_lines(table: Table) -> list[str]:
    """The lines of a table as GitHub Markdown, with every column."""
    drawn = table.drawn()
    rules = ["---" if one.left else "---:" for one in drawn]
    rows = [[MARKDOWN_SIGNS.sub(r"\\\1", cell or ABSENT) for cell in row] for row in _rows(drawn)]
    return [f"| {' | '.join(line)} |" for line in ([one.heading for one in drawn], rules, *rows)]


def csv_text(table: Table, with_headings: bool = True) -> str:
    """A table as CSV (RFC 4180): the headings, then the values, not formatted; None is empty."""
    text = io.StringIO()
    writer = csv.writer(text)
    if with_headings:
        writer.writerow([column.heading for column in table.columns])
    for entry in table.entries:
        values = [column.value(entry) for column in table.columns]
        writer.writerow([escaped(value) if isinstance(value, str) else value for value in values])
    return text.getvalue()


def csv_of_records(rows: Sequence[dict]) -> str:
    """Rows with the same fields as CSV: a column for each field."""
    names = list(rows[0]) if rows else []
    return csv_text(Table([Column(name, itemgetter(name)) for name in names], rows))


def print_line(console: Console, line: str, indent: int = 0) -> None:
    """Print a line as it is: no markup, no colour, nothing cut, control characters escaped.

    Args:
        console: where to; a terminal gets it folded at spaces to its width.
        line: what.
        indent: of the lines that follow the first when it is folded.
    """
    line = escaped(line)
    if not console.is_terminal:
        _print_whole(console, line)
        return
    first, *rest = _folded(line, console.width, indent)
    for one in (first, *(" " * indent + text for text in rest)):
        _print_whole(console, one)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A column with the texts of its rows."""

    column: Column
    cells: list[str]
    left: bool

    @property
    def heading(self) -> str:
        return self.column.heading

    @property
    def natural(self) -> int:
        """The width at which no text is folded; a heading may have one word on each line."""
        return max(map(cell_len, (*self.cells, *self.heading.split(), ABSENT)))

    @property
    def least(self) -> int:
        """The least width, at which no word is broken."""
        if self.column.fold is None:
            return self.natural
        words = [word for text in (*self.cells, self.heading) for word in text.split()]
        return max(min(self.natural, self.column.fold), *map(cell_len, words), 1)


# Columns whose texts stand below one another; most are alone.
_Block = list[_Drawn]


def _chosen(columns: list[_Drawn], width: int) -> list[_Block] | None:
    """The columns that fit the width; None where not even those of priority 0 do."""
    if width >= WIDE and _least(_blocks(columns)) > width >= _least(_blocks(columns, True)):
        return _blocks(columns, stacked=True)
    for stacked in (False, True):
        chosen = [one for one in columns if one.column.priority == 0]
        if _least(_blocks(chosen, stacked)) > width:
            continue
        others = [one for one in columns if one.column.priority]
        for candidate in sorted(others, key=lambda one: one.column.priority):
            more = [one for one in columns if one in chosen or one is candidate]
            if _least(_blocks(more, stacked)) <= width:
                chosen = more
        return _blocks(chosen, stacked)
    return None


def _blocks(columns: list[_Drawn], stacked: bool = False) -> list[_Block]:
    blocks: dict[str, _Block] = {}
    for one in columns:
        place = one.column.below if stacked and one.column.below in blocks else one.heading
        blocks.setdefault(place, []).append(one)
    return list(blocks.values())


def _least(blocks: list[_Block]) -> int:
    return _total([max(one.least for one in block) for block in blocks])


def _natural(blocks: list[_Block]) -> int:
    return _total([max(one.natural for one in block) for block in blocks])


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _screen_lines(blocks: list[_Block], width: int) -> tuple[list[str], list[str]]:
    """The lines of the heading, and those below it; the columns fit the width."""
    widths = [max(one.least for one in block) for block in blocks]
    spare = width - _total(widths)
    for i, block in enumerate(blocks):
        taken = min(max(one.natural for one in block) - widths[i], spare)
        widths[i] += taken
        spare -= taken
    left = [block[0].left for block in blocks]

    def line_up(texts: list[list[str]], at_bottom: bool = False) -> list[str]:
        folded = [
            [line for text in cell for line in _folded(text, width)]
            for cell, width in zip(texts, widths, strict=True)
        ]
        height = max(map(len, folded))
        for lines in folded:
            gap = [""] * (height - len(lines))
            lines[:] = gap + lines if at_bottom else lines + gap
        return [_aligned(line, widths, left) for line in zip(*folded, strict=True)]

    heading = line_up([[one.heading for one in block] for block in blocks], at_bottom=True)
    lines = ["─" * _total(widths)]
    for row in range(len(blocks[0][0].cells)):
        lines += line_up([[one.cells[row] or ABSENT for one in block] for block in blocks])
    return heading, lines


def _plain_lines(columns: list[_Drawn]) -> list[str]:
    """A line for the heading and one for each row."""
    rows = [[one.heading for one in columns], *_rows(columns)]
    widths = [max(map(cell_len, (one.heading, ABSENT, *one.cells))) for one in columns]
    left = [one.left for one in columns]
    return [_aligned([cell or ABSENT for cell in row], widths, left) for row in rows]


def _aligned(cells: Sequence[str], widths: Sequence[int], left: Sequence[bool]) -> str:
    padded = []
    for cell, width, is_left in zip(cells, widths, left, strict=True):
        padding = " " * (width - cell_len(cell))
        padded.append(cell + padding if is_left else padding + cell)
    return GAP.join(padded).rstrip()


def _rows(columns: list[_Drawn]) -> list[tuple[str, ...]]:
    return list(zip(*(one.cells for one in columns), strict=True))


def _folded(text: str, width: int, indent: int = 0) -> list[str]:
    """The text in lines of at most this width, folded at spaces; a longer word stays whole."""
    lines: list[str] = []
    for word in text.split(" "):
        room = width - (indent if len(lines) > 1 else 0)
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= room:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def _print_whole(console: Console, line: str, style: str = "") -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
