"""Recipes: a TOML file whose tables are stages, run from raw photos to enhanced ones.

A stage runs when its settings, its input files or its output changed since it last finished, so
that a second run does nothing and a changed setting re-runs its stage and those after it. Earlier
runs are recorded in `recipe-state.json` in the folder that the recipe works in.
"""

from dpedkit.recipe.finding import RecipeList, RecipeText, find_recipe, list_recipes, show_recipe
from dpedkit.recipe.kinds import Step
from dpedkit.recipe.planning import RecipePlan, plan_recipe, settings_in_effect
from dpedkit.recipe.reading import Recipe, read_recipe, read_settings
from dpedkit.recipe.running import RecipeSummary, run_recipe
from dpedkit.recipe.state import STATE_FILE

__all__ = [
    "STATE_FILE",
    "Recipe",
    "RecipeList",
    "RecipePlan",
    "RecipeSummary",
    "RecipeText",
    "Step",
    "find_recipe",
    "list_recipes",
    "plan_recipe",
    "read_recipe",
    "read_settings",
    "run_recipe",
    "settings_in_effect",
    "show_recipe",
]
