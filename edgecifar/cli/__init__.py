"""The command line: app and options, and one file a command. It parses, calls and prints."""

from edgecifar.cli.app import main

__all__ = ["main"]
