"""Puts sections together as one HTML file that needs nothing beside it.

Jinja escapes every text of a model file, a path or a result: none of them becomes markup. The page
has no script, and its content security policy allows none.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgecifar import __version__
from edgecifar.errors import UserError, escaped
from edgecifar.report.page.parts import SHADES, Section
from edgecifar.report.page.sources import Bench, Export, Run, Source

TEMPLATES = Path(__file__).parent
TEMPLATE, STYLE_SHEET = "page.html.jinja", "page.css"
KINDS = {Run: "run", Export: "export", Bench: "bench"}


@dataclass(frozen=True)
class Chapter:
    """What the page says of one source.

    Attributes:
        name: of the source.
        kind: "run", "export" or "bench".
        anchor: unique in the page.
        sections: at least one.
    """

    name: str
    kind: str
    anchor: str
    sections: Sequence[Section]


def page(sources: Sequence[Source], title: str) -> str:
    """The page on what was read.

    Args:
        sources: at least one.
        title: of the page.

    Returns:
        HTML in UTF-8, complete.

    Raises:
        UserError: a source holds something else than edgecifar writes, or a package is missing.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        importlib.import_module("matplotlib")  # for the charts
    except ImportError as error:
        raise UserError(
            f"a report needs {error.name}, which is not installed: in edgecifar's clone, "
            "pip install -e '.[report]'"
        ) from error
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(TEMPLATE).render(
        title=title,
        chapters=[_chapter(number, source) for number, source in enumerate(sources)],
        style_sheet=(TEMPLATES / STYLE_SHEET).read_text("utf-8"),
        shades=[f"{100 * end:g} %" for end in SHADES],
        version=__version__,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    return text.lstrip()  # the macros leave empty lines


def _printable(value: object) -> object:
    """What is written for a value: texts of files may hold what no page can."""
    from markupsafe import Markup

    return escaped(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _chapter(number: int, source: Source) -> Chapter:
    from edgecifar.report.page.bench_sections import bench_sections
    from edgecifar.report.page.export_sections import export_sections
    from edgecifar.report.page.run_sections import run_sections

    try:
        if isinstance(source, Run):
            sections = list(run_sections(source))
        elif isinstance(source, Export):
            sections = list(export_sections(source))
        else:
            sections = list(bench_sections(source))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # JSON of another program, or damaged: the readers check only what all of them need.
        raise UserError(
            f"{source.name}: it is not as edgecifar writes it ({type(error).__name__}: {error})"
        ) from error
    return Chapter(source.name, KINDS[type(source)], f"part-{number}", sections)
