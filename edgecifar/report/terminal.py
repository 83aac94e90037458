"""Output that reaches every terminal, whatever its encoding.

Python raises an error for a character that the encoding of stdout lacks, and minutes of work would
be lost to a "±". So these characters are written as others that every encoding has.
"""

import codecs
import sys

READABLY = "edgecifar.readably"
IN_ASCII = {"±": "+-", "·": "-", "─": "-", "…": "...", "█": "#"}


def write_readably() -> None:
    """From now on, write what the encodings of stdout and stderr lack in other characters."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):  # a StringIO has none
            reconfigure(errors=READABLY)


def _readably(error: UnicodeError) -> tuple[str, int]:
    """The ASCII for the characters that could not be encoded, and the place to continue."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(c, c.encode("unicode_escape").decode()) for c in lacking), error.end


codecs.register_error(READABLY, _readably)
