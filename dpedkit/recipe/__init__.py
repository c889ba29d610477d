"""Recipes: a TOML file whose tables are stages, run from raw photos to enhanced ones.

A stage runs when its settings, its input files or its output changed since it last finished, so
that a second run does nothing and a changed setting re-runs its stage and those after it. Earlier
runs are recorded in `recipe-state.json` in the folder that the recipe works in.
"""

from dpedkit.recipe.kinds import Step
from dpedkit.recipe.reading import (
    Recipe,
    RecipeList,
    find_recipe,
    list_recipes,
    read_recipe,
    read_settings,
)
from dpedkit.recipe.running import STATE_FILE, RecipeSummary, run_recipe

__all__ = [
    "STATE_FILE",
    "Recipe",
    "RecipeList",
    "RecipeSummary",
    "Step",
    "find_recipe",
    "list_recipes",
    "read_recipe",
    "read_settings",
    "run_recipe",
]
