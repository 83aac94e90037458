"""What marks mean, for a row and for a comparison of two rows.

The tables turn that into words (`report.pairs_table`), and the runner into a wider interval
(`metrics.latency.paired_ratio`). The marks themselves are given in `worker.sensors` and in the
runner.
"""

from collections.abc import Sequence

# The mark of answers that another processor may not give; all other marks are of the latencies.
OVERFLOW = "overflow"

# Of each mark what it means and what to do, in the order in which they are explained.
MEANINGS = {
    "throttled": ("the firmware or the kernel slowed the processor", "cool the board"),
    "under-voltage": ("the supply of a Raspberry Pi was too weak", "use a better supply"),
    "hot": ("the processor reached 80 °C", "cool the board"),
    "slower-clock": (
        "the clock fell by more than a tenth during the measurement",
        "cool the board, check the governor",
    ),
    "quota": (
        "a control group's limit stopped the threads",
        "raise the limit of the container",
    ),
    "busy": ("other processes took more than 5 % of the cores' time", "stop them"),
    "stolen": (
        "the hypervisor gave more than 1 % of the time to other machines",
        "use another machine or time",
    ),
    OVERFLOW: (
        "the file's int8 weights overflow on this processor",
        "quantize the file again",
    ),
}


def united(*marks: Sequence[str]) -> list[str]:
    """The marks of several rows, each once."""
    return list(dict.fromkeys(mark for some in marks for mark in some))


def of_latency(marks: Sequence[str]) -> list[str]:
    """Those that make latencies doubtful."""
    return [mark for mark in marks if mark != OVERFLOW]


def of_answers(marks: Sequence[str]) -> list[str]:
    """Those that make the predictions, and so the accuracy, doubtful."""
    return [mark for mark in marks if mark == OVERFLOW]
