"""`edgecifar recipes`."""

import json
from typing import Annotated

import typer

from edgecifar.cli.options import WideOption, recipe_names


def show_recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Print this recipe with all its fields, as JSON.", autocompletion=recipe_names
        ),
    ] = None,
    wide: WideOption = False,
) -> None:
    """List the recipes: the cost, the target accuracy and the measured accuracy of each.

    Examples:

        edgecifar recipes

        edgecifar recipes resnet
    """
    from edgecifar.report.progress import stdout_console
    from edgecifar.report.recipe_table import RecipeRow, recipe_table
    from edgecifar.training import recipe_book, recipe_results, recipes

    if name:
        results = {"measured": recipe_results.results().get(name)}
        facts = recipes.as_dict(recipe_book.find(name)) | results
        print(json.dumps(facts, indent=2))
        return
    measured = recipe_results.results()
    rows = [RecipeRow(recipe, measured.get(recipe.name)) for recipe in recipe_book.RECIPES.values()]
    recipe_table(rows, stdout_console(), wide)
