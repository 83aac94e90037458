"""Shows the recipes: what each costs, its target accuracy, and the accuracy that it has reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from edgecifar.report.cells import count, number, percent
from edgecifar.report.tables import Column, Table, print_line, print_table

if TYPE_CHECKING:
    from edgecifar.training.recipes import Recipe


@dataclass(frozen=True)
class RecipeRow:
    """A recipe, and what was measured when it was trained.

    Attributes:
        recipe: from the recipe book.
        measured: see `recipe_results.results`; None when it was not trained yet.
    """

    recipe: "Recipe"
    measured: dict | None

    @property
    def verdict(self) -> str | None:
        """Whether the target is reached; None where the recipe has no target."""
        if not self.recipe.target:
            return None
        reached = self.measured and self.measured["test_top1"] >= self.recipe.target
        return "reached" if reached else "not yet"


def _measured(name: str) -> Callable[[RecipeRow], Any]:
    return lambda row: row.measured and row.measured[name]


COLUMNS: tuple[Column[RecipeRow], ...] = (
    Column("recipe", lambda row: row.recipe.name),
    Column("parameters", _measured("parameters"), count, priority=1),
    Column("MMACs", _measured("multiply_accumulates"), number(1, 1e6), priority=2),
    Column("target", lambda row: row.recipe.target or None, percent, "%"),
    Column("float", _measured("test_top1"), percent, "%"),
    Column("int8", _measured("int8_top1"), percent, "%"),
    Column("verdict", lambda row: row.verdict, left=True),
    Column(
        "trained in",
        _measured("training_seconds"),
        lambda seconds: f"{seconds / 60:.0f} min",
        priority=3,
    ),
    Column("on", _measured("machine"), left=True, priority=4),
    Column("what it is", lambda row: row.recipe.summary, left=True, fold=24),
)
CAPTION = "test top-1 of the checkpoint and of its int8 TFLite file"


def recipe_table(rows: Sequence[RecipeRow], console: Console, wide: bool = False) -> None:
    """Print the recipes, a row each.

    Args:
        rows: in their order.
        console: where to print.
        wide: show every column, however narrow the terminal is.
    """
    print_table(console, Table(COLUMNS, rows), wide)
    print_line(console, CAPTION)
