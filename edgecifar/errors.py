"""The two ways a command may fail on purpose; anything else is a bug.

A message names an argument in backticks: `batch`, or `batch=0` with its value. So a Python program
reads the names that it uses, and the command line can turn them into its flags (`cli/flags.py`).
"""

import re

# What Keras writes before the reason, after pages on how to write a layer and its config.
BEFORE_THE_REASON = re.compile(
    r"Exception encountered: |Error encountered during deserialization:"
    r"|Exception encountered when calling .*"
)
# What separates the lines and the words of a message that was not made for one line.
LINE_SPACE = "\t\n\v\f\r"
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")


class UserError(Exception):
    """Something the user can put right: one line saying what, where and what to do. Exit code 2."""

    exit_code = 2


class CheckFailed(Exception):
    """The command ran, and a check failed. One line, exit code 1."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """What the message of another library's exception says, in one line; its type if empty."""
    said = BEFORE_THE_REASON.split(TERMINAL_CODES.sub("", str(error)))[-1]
    return (said.strip().splitlines() or [type(error).__name__])[0]


def plain(text: str) -> str:
    """In one line, with control characters escaped: the text may come from any model file."""
    return escaped("".join(" " if c in LINE_SPACE else c for c in text))


def escaped(text: str) -> str:
    """With each character that cannot be seen written as its escape, such as \\x1b or \\n.

    These are control characters, line separators, marks that change the direction of the text,
    surrogates and every space but the usual one.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
