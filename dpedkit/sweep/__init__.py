"""Sweeps: the training of a recipe, with several values of its settings, seeds and folds."""

from dpedkit.sweep.results import SweepSummary
from dpedkit.sweep.running import run_sweep

__all__ = ["SweepSummary", "run_sweep"]
