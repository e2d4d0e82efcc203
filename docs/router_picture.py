"""Draw what the QA router buys: `python docs/router_picture.py OUT.png [KITTI_TRACKING]`.

Left: residual error against labeller-seconds over budgets, beside judging all, drawing all and
judging nothing. Right: the evidence of audits against a labeller that gets worse, run by run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bench.router import (
    Outcome,
    all_judged,
    budgets_of,
    curve,
    drawing,
    nobody,
    peoples_errors,
    synthetic_world,
)
from bench.router_world import PRECISION, World, kitti
from offline.labels.qa.betting import bet, full_purse

INK, MARK, BLUE, GREEN = "#1c2733", "#c0392b", "#2457a6", "#1e8449"
BEFORE, AFTER, RUNS = 400, 400, 25


def draw_curve(axes: Axes, worlds: dict[str, World]) -> None:
    """Cost of 1,000 boxes against residual error."""
    errors = peoples_errors()
    for (name, world), colour in zip(worlds.items(), (BLUE, GREEN), strict=False):
        cost, residual = budgets_of(curve(world, errors))
        axes.plot(cost, residual, marker="o", ms=4, color=colour, label=f"router, {name}")
        for outcome, marker, what in _references(world):
            axes.plot(
                outcome.cost_s, outcome.residual, marker=marker, ms=8, color=colour, mfc="none",
                ls="none", label=f"{what}, {name}",
            )  # fmt: skip
        floor = 100 * world.missed / world.truths
        axes.axhline(floor, color=colour, lw=0.8, ls=":")
        axes.text(-15, floor, f"objects that no auto box tells of, {name}", fontsize=7,
                  va="bottom", color=colour)  # fmt: skip
    axes.set_xscale("symlog", linthresh=100)
    axes.set(xlabel="labeller-seconds for 1,000 boxes", ylabel="residual error, % of true boxes")
    axes.set_xlim(-20, 6e4)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    axes.set_title("what labels cost, and how wrong they stay", fontsize=9)


def draw_evidence(axes: Axes) -> None:
    """The e-values of audits, before and after precision falls from 99 to 93 %."""
    rng = np.random.default_rng(8)
    wrong = np.concatenate(
        [rng.random((RUNS, BEFORE)) < 0.01, rng.random((RUNS, AFTER)) < 0.07], axis=1
    )
    purse, evidence = full_purse((RUNS,)), []
    for column in wrong.T.astype(np.float64):
        purse = bet(purse, column, 1 - PRECISION)
        evidence.append(purse.evidence)
    axes.semilogy(np.stack(evidence), color=INK, lw=0.6, alpha=0.5)
    axes.axhline(20, color=MARK, lw=1)
    axes.text(0, 26, " demoted from evidence 20 on:\n wrongly in 5 % of runs at most, ever",
              fontsize=8, color=MARK)  # fmt: skip
    axes.axvline(BEFORE, color=INK, lw=0.8, ls=":")
    axes.text(BEFORE, 2e-3, " precision falls\n from 99 to 93 %", fontsize=8, color=INK)
    axes.set(xlabel="audited tracks", ylabel="evidence that precision is under 98 %", xmargin=0)
    axes.set_ylim(1e-3, 1e5)
    axes.set_title(f"audits of what was accepted without people, {RUNS} runs", fontsize=9)


def _references(world: World) -> list[tuple[Outcome, str, str]]:
    return [
        (nobody(world), "s", "nobody judges"),
        (all_judged(world), "D", "three judge all"),
        (drawing(world), "^", "one draws all"),
    ]


def main() -> None:
    out = Path(sys.argv[1])
    worlds = {"synthetic": synthetic_world()}
    if len(sys.argv) > 2:
        worlds["KITTI"] = kitti(Path(sys.argv[2]))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    draw_curve(axes[0], worlds)
    draw_evidence(axes[1])
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
