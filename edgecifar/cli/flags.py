"""Turns the arguments that the library's messages name into flags of the command line."""

import re
from typing import Any

from typer.core import TyperGroup

# Arguments whose flag has another name, by command. All others have their own: `keep_float` is
# --keep-float.
RENAMED = {
    "bench": {
        "hosts": "--on",
        "precision": "--ci",
        "runtimes": "--runtime",
        "timeout_s": "--timeout",
    },
    "serve": {"timeout_s": "--timeout"},
    "export": {"precisions": "--precision", "formats": "--format"},
}
ARGUMENT = re.compile(r"`([^`=\s]*)(?:=([^`]*))?`")

_flags: dict[str, str] = {}


class FlagGroup(TyperGroup):
    """A group of commands that keeps the flags of the one that runs, for `in_flags`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command, as any group does."""
        name, command, rest = super().resolve_command(ctx, args)
        _flags.clear()
        # A result may be of another command, as the one that `check` reads is; the flags of the
        # command that runs come last and hold.
        for other, found in [*self.commands.items(), (name or "", command)]:
            _flags.update(_flags_of(other, found))
        return name, command, rest


def in_flags(message: str) -> str:
    """Turn the arguments that a message of the library names into flags.

    Args:
        message: names arguments as `edgecifar.errors` says.

    Returns:
        The message with the flags of the command that runs: "`batch=0`: expected 1 or more"
        becomes "--batch 0: expected 1 or more". A field of a recipe, which has no flag of its own,
        becomes `--set FIELD=VALUE`. Other words in backticks stay as they are.
    """
    return ARGUMENT.sub(_in_flags, message)


def _in_flags(argument: re.Match) -> str:
    name, value = argument.groups()
    if flag := _flags.get(name):
        return flag if value is None else f"{flag} {value}"
    if value is not None and "set" in _flags:
        return f"{_flags['set']} {name}={value}"
    return argument[0]


def _flags_of(name: str, command: Any) -> dict[str, str]:
    """The flag of each argument of a command."""
    flags = [option for parameter in command.params for option in parameter.opts]
    flags = [flag for flag in flags if flag.startswith("--")]
    own = {flag.removeprefix("--").replace("-", "_"): flag for flag in flags}
    return own | RENAMED.get(name, {})
