"""The forgetting table as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.forgetting_arms import JOINT, START, Study, Way
from models.evaluation.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI, _WIDE_IN, _HIGH_IN = 110, 10.0, 4.4
_TITLES: dict[Way, str] = {
    "full": "all weights, one seed", "heads": "class heads alone, five seeds",
}  # fmt: skip
_GOALS = {"kept": 98, "learned": 95}


def draw_forgetting(path: Path, study: Study) -> None:
    """A panel a way of training: old AP kept against new AP learned, a point an arm and seed.

    Raises `ModuleNotFoundError` without matplotlib.
    """
    from matplotlib.figure import Figure

    ways = study.ways()
    drawn = Figure(figsize=(_WIDE_IN, _HIGH_IN), dpi=_DPI, layout="constrained")
    panels = drawn.subplots(1, len(ways), squeeze=False)[0]
    for axes, way in zip(panels, ways, strict=True):
        _panel(axes, study, way)
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    drawn.savefig(path, metadata={"Software": None})


def _panel(axes: Axes, study: Study, way: Way) -> None:
    names = list(dict.fromkeys(each.arm for each in study.told if each.way == way))
    for colour, name in zip(COLOURS, names, strict=False):
        kept, learned = (
            100 * np.array(study.kept(way, name)),
            100 * np.array(study.learned(way, name)),
        )
        axes.scatter(learned, kept, s=14, color=colour, alpha=0.35, linewidths=0)
        marker = {START: "s", JOINT: "*"}.get(name, "o")
        axes.scatter(
            learned.mean(), kept.mean(), s=70, color=colour, label=name, marker=marker,
            edgecolors="white", linewidths=0.6,
        )  # fmt: skip
    axes.axhline(_GOALS["kept"], color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    axes.axvline(_GOALS["learned"], color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    axes.set(
        xlabel="AP on the new, % of joint training", ylabel="AP on the old, % of before",
        title=_TITLES[way],
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
