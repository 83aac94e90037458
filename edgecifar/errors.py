"""The two ways a command may fail on purpose; anything else is a bug."""

import re

# What Keras writes in front of the reason, behind pages on how to write a layer and its config.
BEFORE_THE_REASON = re.compile(
    r"Exception encountered: |Error encountered during deserialization:"
    r"|Exception encountered when calling .*"
)
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")


class UserError(Exception):
    """Something the user can mend: one line saying what, where and what to do. Exit code 2."""

    exit_code = 2


class CheckFailed(Exception):
    """The command ran, and what it checked did not hold. One line, exit code 1."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """What an exception of somebody else's says, in one line; its type where it says nothing."""
    said = BEFORE_THE_REASON.split(TERMINAL_CODES.sub("", str(error)))[-1]
    return (said.strip().splitlines() or [type(error).__name__])[0]


def plain(text: str) -> str:
    """In one line, without what would steer a terminal: a model file may be anybody's."""
    return "".join(c if c.isprintable() else " " for c in text)
