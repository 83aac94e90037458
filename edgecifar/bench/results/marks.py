"""What the marks of two rows mean for a comparison of the two.

The tables turn that into words (`report.pairs_table`), and the runner into a wider interval
(`metrics.latency.paired_ratio`).
"""

from collections.abc import Sequence

# The mark of answers that another processor may not give; all other marks are of the latencies.
OVERFLOW = "overflow"


def united(*marks: Sequence[str]) -> list[str]:
    """The marks of several rows, each once."""
    return list(dict.fromkeys(mark for some in marks for mark in some))


def of_latency(marks: Sequence[str]) -> list[str]:
    """Those that make latencies doubtful."""
    return [mark for mark in marks if mark != OVERFLOW]


def of_answers(marks: Sequence[str]) -> list[str]:
    """Those that make the predictions, and so the accuracy, doubtful."""
    return [mark for mark in marks if mark == OVERFLOW]
