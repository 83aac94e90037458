"""`python -m edgecifar` is the `edgecifar` command."""

from edgecifar.cli import main

main()
