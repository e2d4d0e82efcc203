"""The curves of a study as a picture: the one place here that needs matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contracts.samples import Float64s
from models.evaluation.plots import COLOURS
from offline.acquisition.study.result import RANDOM, StudyResult

_DPI, _WIDE_IN, _HIGH_IN = 110, 9.6, 4.0
_STEPS = 60


def draw_study(path: Path, result: StudyResult, figures: tuple[str, ...]) -> None:
    """One panel a figure: means over the seeds, with the middle half of them shaded.

    Curves are laid over one axis of labelled boxes by straight lines between their points, as
    far as the shortest of a strategy reaches. Raises `ModuleNotFoundError` without matplotlib.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(_WIDE_IN, _HIGH_IN), dpi=_DPI, layout="constrained")
    for axes, name in zip(drawn.subplots(1, len(figures), squeeze=False)[0], figures, strict=True):
        for colour, strategy in zip(COLOURS, _names(result), strict=False):
            boxes, table = _over_boxes(result, strategy, name)
            low, middle, high = (
                np.percentile(table, 25, 0),
                table.mean(0),
                np.percentile(table, 75, 0),
            )
            axes.plot(boxes, middle, color=colour, label=_legend(result, strategy, name))
            axes.fill_between(boxes, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xlabel("labelled boxes")
        axes.set_ylabel(f"AP at 2 m, {name} classes")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    drawn.savefig(path)


def _names(result: StudyResult) -> list[str]:
    return list(dict.fromkeys(curve.strategy for curve in result.curves))


def _legend(result: StudyResult, strategy: str, figure: str) -> str:
    if strategy == RANDOM:
        return strategy
    saved = result.saving_of(strategy, figure).all_boxes
    return f"{strategy}: {saved.mean:+.0%} boxes saved ({saved.low:+.0%} to {saved.high:+.0%})"


def _over_boxes(result: StudyResult, strategy: str, figure: str) -> tuple[Float64s, Float64s]:
    """Boxes [s] and the figure of each seed there [seeds, s]."""
    curves = result.of(strategy)
    first = max(curve.boxes()[0] for curve in curves)
    last = min(curve.boxes()[-1] for curve in curves)
    boxes = np.linspace(first, last, _STEPS)
    return boxes, np.stack([np.interp(boxes, c.boxes(), c.figure(figure)) for c in curves])
