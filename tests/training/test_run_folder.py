import pytest

from edgecifar.training.recipe_book import RECIPES
from edgecifar.training.run_folder import Epoch


@pytest.mark.parametrize("name", RECIPES)
def test_the_line_of_each_epoch_of_a_recipe_fits_80_columns(name):
    recipe = RECIPES[name]
    last = sum(stage.epochs for stage in recipe.stages)
    for stage in recipe.stages:
        for rate, seconds in ((114.0, 414.0), (1_138.0, 42.0), (47_844.0, 1.0)):
            size = stage.size or recipe.size
            figures = (last, stage.name, size, 1e-3, 2.3026, 2.0, 0.95, rate, seconds)
            assert len(str(Epoch(*figures))) <= 80
            with_setup = str(Epoch(*figures, setup_s=seconds))
            assert max(map(len, with_setup.splitlines())) <= 80
