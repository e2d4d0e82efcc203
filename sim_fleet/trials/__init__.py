"""Closed-loop trials: how a planner drives by what a model sees, drive by drive.

`run_trials` drives a recipe; `compared` tells what two models change of it.
"""

from sim_fleet.trials.compare import TrialsComparison, compared
from sim_fleet.trials.recipe import RECIPES, TrialsSpec, read_trials
from sim_fleet.trials.report import DriveCounts, DriveTrial, TrialsReport
from sim_fleet.trials.run import run_trials

__all__ = [
    "RECIPES", "DriveCounts", "DriveTrial", "TrialsComparison", "TrialsReport", "TrialsSpec",
    "compared", "read_trials", "run_trials",
]  # fmt: skip
