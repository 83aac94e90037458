"""`edgecifar serve`."""

import importlib.util
from typing import Annotated

import typer

from edgecifar.cli.options import (
    DEFAULT_MODEL,
    LabelsOption,
    ModelOption,
    NormalizationOption,
    RuntimeOption,
    ThreadsOption,
    open_classifier,
)
from edgecifar.cli.output import note
from edgecifar.errors import UserError
from edgecifar.serve.limits import Limits

NETWORK, LIMITS = "Network", "Limits"
# The modules of the extra.
NEEDED = ("prometheus_client", "python_multipart", "starlette", "uvicorn")


def serve(
    model: ModelOption = DEFAULT_MODEL,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = 1,
    normalization: NormalizationOption = "auto",
    labels: LabelsOption = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="NAME|ADDRESS",
            help="Where to listen: this machine only, unless you name another address of it; "
            "0.0.0.0 is all of them.",
            rich_help_panel=NETWORK,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="N", help="0 is any free port.", rich_help_panel=NETWORK
        ),
    ] = 8000,
    max_mb: Annotated[
        float,
        typer.Option(metavar="MB", help="Largest upload.", rich_help_panel=LIMITS),
    ] = Limits.max_mb,
    max_megapixels: Annotated[
        float,
        typer.Option(
            metavar="N", help="Largest picture, in millions of pixels.", rich_help_panel=LIMITS
        ),
    ] = Limits.max_megapixels,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How long an upload may take, and how long its answer may take then.",
            rich_help_panel=LIMITS,
        ),
    ] = Limits.timeout_s,
    max_requests: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Pictures that are received or classified at the same time.",
            rich_help_panel=LIMITS,
        ),
    ] = Limits.max_requests,
    max_per_client: Annotated[
        int,
        typer.Option(
            metavar="N", help="The same for one client's address.", rich_help_panel=LIMITS
        ),
    ] = Limits.max_per_client,
) -> None:
    """Classify pictures for browsers, phones and other programs.

    Serves a page on which you drop a picture or take one with a phone, and an API: POST /predict
    takes an image file and answers in JSON, /openapi.json describes it, /healthz is for a monitor
    and /metrics for Prometheus.

    The server has no passwords and no encryption. Without --host, only programs of this machine
    can use it.

    Ctrl-C or SIGTERM ends it: running requests are finished, and the exit code is 0.

    Examples:

        edgecifar serve

        edgecifar serve --model mine.onnx --port 8080

        edgecifar serve --host 0.0.0.0

        curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/predict
    """
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        raise UserError(
            "serving needs packages that are not installed: in edgecifar's clone, "
            "pip install -e '.[serve]'"
        )
    from edgecifar.serve.app import make_app
    from edgecifar.serve.engine import Engine
    from edgecifar.serve.server import address_of, is_local, listen, run_until_stopped

    limits = Limits(max_mb, max_megapixels, timeout, max_requests, max_per_client)
    with (
        listen(host, port) as listening,
        open_classifier(model, runtime, threads, normalization, labels) as classifier,
        Engine(classifier, limits.max_pixels) as engine,
    ):
        app = make_app(engine, limits, note)
        if not is_local(listening):
            note(
                "anyone on the network who reaches this machine can use the server: it has no "
                "passwords and no encryption"
            )
        note(f"serving {model} on {address_of(listening)}; Ctrl-C ends this")
        run_until_stopped(app, listening)
