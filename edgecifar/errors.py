"""The two ways a command may fail on purpose; anything else is a bug.

A message names an argument in backticks: `batch`, or `batch=0` with its value. So a Python program
reads the names that it uses, and the command line can turn them into its flags (`cli/flags.py`).
"""


class UserError(Exception):
    """Something the user can mend: one line saying what, where and what to do. Exit code 2."""

    exit_code = 2


class CheckFailed(Exception):
    """The command ran, and what it checked did not hold. One line, exit code 1."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """The first line of the message of another library's exception; its type if it is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def plain(text: str) -> str:
    """Replace control characters by spaces: the text may quote a file that is not trusted."""
    return "".join(c if c.isprintable() else " " for c in text)
