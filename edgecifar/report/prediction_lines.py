"""Shows predictions: bars on a terminal, one line a picture elsewhere; rows of CSV and JSON."""

import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from edgecifar.errors import escaped
from edgecifar.predict.prediction import Prediction, Tally
from edgecifar.report.cells import count, percent
from edgecifar.report.tables import GAP, Column, Table, print_line
from edgecifar.report.tables import csv_text as table_csv

FULL = "█"
LONGEST_BAR = 40
RIGHT, WRONG = "green", "red"
# The number of frames over which their rate is averaged.
FRAMES = 30


def show_prediction(prediction: Prediction, console: Console) -> None:
    """Print what is in a picture: a heading and bars on a terminal, else one line."""
    if console.is_terminal:
        for line in bar_lines(prediction, console.width):
            console.print(line, soft_wrap=True)
    else:
        print_line(console, plain_line(prediction))
        console.file.flush()


@contextlib.contextmanager
def live_predictions(console: Console) -> Iterator[Callable[[Prediction], None]]:
    """Show the newest prediction of a camera in place, with its rate; elsewhere a line for each.

    Yields:
        What shows a prediction.
    """
    if not console.is_terminal:
        yield lambda prediction: show_prediction(prediction, console)
        return
    times: deque[float] = deque(maxlen=FRAMES)
    with Live(console=console, auto_refresh=False) as live:

        def show(prediction: Prediction) -> None:
            times.append(monotonic())
            passed = times[-1] - times[0]
            rate = f"{(len(times) - 1) / passed:.1f} frames/s · " if passed else ""
            below = Text(f"{GAP}{rate}{prediction.predict_ms:.2f} ms in the model", style="dim")
            live.update(Group(*bar_lines(prediction, console.width), below), refresh=True)

        yield show


def bar_lines(prediction: Prediction, width: int) -> Iterator[Text]:
    """A heading and a bar for each class, for a terminal of that width."""
    heading = Text(escaped(prediction.image), style="bold")
    if verdict := verdict_text(prediction):
        heading.append(GAP)
        heading.append(verdict, style=verdict_color(prediction))
    yield heading
    names = [Text(escaped(label)) for label, _ in prediction.top]
    widest = max((name.cell_len for name in names), default=0)
    longest = min(LONGEST_BAR, width - widest - len(GAP) * 3 - len("100.00 %"))
    for name, (_, share) in zip(names, prediction.top, strict=True):
        name.pad_right(widest - name.cell_len)
        bar = FULL * round(share * longest)
        yield Text.assemble(GAP, name, GAP, f"{percent(share):>6} %", GAP, (bar, "cyan"))


def plain_line(prediction: Prediction) -> str:
    """The picture and its classes in one line, two spaces apart."""
    shares = [f"{label} {percent(share)} %" for label, share in prediction.top]
    verdict = verdict_text(prediction)
    return GAP.join([prediction.image, *shares, *([verdict] if verdict else [])])


def verdict_text(prediction: Prediction) -> str:
    """Whether the most probable class is right; empty where that is not known."""
    if prediction.correct is None:
        return ""
    return "right" if prediction.correct else escaped(f"wrong, true: {prediction.true}")


def verdict_color(prediction: Prediction) -> str:
    """Green for a right prediction and red for a wrong one."""
    return RIGHT if prediction.correct else WRONG


def summary(tally: Tally) -> str:
    """A line on all pictures together."""
    parts = [f"{count(tally.classified)} {'image' if tally.classified == 1 else 'images'}"]
    if tally.unread:
        parts.append(f"{count(tally.unread)} more could not be read")
    if tally.judged:
        share = percent(tally.correct / tally.judged)
        parts.append(f"{count(tally.correct)} of {count(tally.judged)} right ({share} %)")
    if tally.classified:
        read, predict = (ms / tally.classified for ms in (tally.read_ms, tally.predict_ms))
        parts.append(f"on average {predict:.2f} ms in the model and {read:.2f} ms to read")
    return " · ".join(parts)


def csv_text(prediction: Prediction, top: int, with_headings: bool) -> str:
    """A prediction as a line of CSV.

    Args:
        prediction: which.
        top: how many classes there are columns for.
        with_headings: put the line of the headings before it.
    """

    def ranked(rank: int, part: int) -> Column[Prediction]:
        title = ("label", "probability")[part]
        return Column(
            f"{title}_{rank + 1}",
            lambda row: row.top[rank][part] if rank < len(row.top) else None,
        )

    columns = [
        Column("image", lambda row: row.image),
        Column("error", lambda row: row.error),
        Column("true", lambda row: row.true),
        Column("correct", lambda row: row.correct),
        *(ranked(rank, part) for rank in range(top) for part in (0, 1)),
        Column("read_ms", lambda row: row.read_ms),
        Column("predict_ms", lambda row: row.predict_ms),
    ]
    return table_csv(Table(columns, [prediction]), with_headings)


def json_line(prediction: Prediction) -> str:
    """A prediction as a line of JSON."""
    return json.dumps(prediction.as_dict()) + "\n"
