"""The loop's turns as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.loop_findings import DISENGAGEMENTS, ERRORS, counted, last_turn
from bench.loop_records import LoopStudy, Way
from contracts.samples import Float64s
from models.evaluation.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI, _WIDE_IN, _HIGH_IN = 110, 11.0, 3.8
_PANELS = (
    (ERRORS, "critical errors on the target", 25), (DISENGAGEMENTS, "disengagements", 20),
)  # fmt: skip
_KEPT_PERCENT = 98


def draw_loop(path: Path, study: LoopStudy) -> None:
    """Errors and disengagements of before = 100 % over the turns, and what is kept of the old: a
    thin line a seed, a thick one the mean, chance beside it.

    Raises `ModuleNotFoundError` without matplotlib.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(_WIDE_IN, _HIGH_IN), dpi=_DPI, layout="constrained")
    panels = drawn.subplots(1, len(_PANELS) + 1)
    for axes, (what, title, goal) in zip(panels, _PANELS, strict=False):
        _lines(axes, _left(study, "selector", what), "selector", COLOURS[0])
        _lines(axes, _left(study, "random", what), "random", COLOURS[1])
        axes.axhline(100 - goal, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
        axes.set(title=title, ylabel="% of before", ylim=(0, None))
    kept = {
        turn: 100 * np.array(list(study.kept("selector", turn).values()))
        for turn in range(1, 1 + last_turn(study))
    }
    _lines(panels[-1], kept, "selector", COLOURS[0])
    chance = study.kept("random", 1)
    _lines(panels[-1], {1: 100 * np.array(list(chance.values()))} if chance else {}, "random",
           COLOURS[1])  # fmt: skip
    panels[-1].axhline(_KEPT_PERCENT, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    panels[-1].set(title="AP on clear days", ylabel="% of the best ever")
    for axes in panels:
        axes.set(xlabel="turn", xticks=range(1 + last_turn(study)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    panels[0].legend(frameon=False, fontsize=8)
    drawn.savefig(path, metadata={"Software": None})


def _left(study: LoopStudy, way: Way, what: str) -> dict[int, Float64s]:
    """Per cent of before that is left, by turn and seed."""
    found = {0: np.full(1, 100.0)}
    for turn in range(1, 1 + last_turn(study)):
        pair = counted(study, way, turn, what)
        if pair is not None:
            found[turn] = 100 * pair[1].sum(axis=1) / pair[0].sum(axis=1)
    return found


def _lines(axes: Axes, by_turn: dict[int, Float64s], label: str, colour: str) -> None:
    for turn, values in by_turn.items():
        axes.scatter(np.full(values.size, turn), values, s=14, color=colour, alpha=0.4,
                     linewidths=0)  # fmt: skip
    means = [float(values.mean()) for values in by_turn.values()]
    axes.plot(list(by_turn), means, color=colour, linewidth=2, marker="o", label=label)
