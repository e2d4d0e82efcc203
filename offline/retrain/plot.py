"""The mix as a picture: what was mined, what it is weighed to, and what the fleet meets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.evaluation.plots import COLOURS

if TYPE_CHECKING:
    from offline.retrain.plan import MixReport

_DPI, _WIDE_IN, _HIGH_IN = 110, 3.6, 3.2


def draw_mix(path: Path, mix: MixReport) -> None:
    """Bars by value, a panel a tag; nothing is drawn where no tag is weighed by.

    Raises `ModuleNotFoundError` without matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(mix.before)
    if not names:
        return
    sheet = Figure(figsize=(_WIDE_IN * len(names), _HIGH_IN), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(sheet)
    for axes, name in zip(sheet.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        told = {
            "as mined": mix.before[name], "as trained on": mix.after[name],
            "on the road": mix.reference.get(name, {}),
        }  # fmt: skip
        values = sorted({value for shares in told.values() for value in shares})
        for number, (label, shares) in enumerate((k, v) for k, v in told.items() if v):
            axes.bar(
                np.arange(len(values)) + 0.27 * (number - 1),
                [shares.get(value, 0.0) for value in values], 0.25, label=label,
                color=COLOURS[number],
            )  # fmt: skip
        axes.set_xticks(np.arange(len(values)), values)
        axes.set(title=name, ylim=(0, 1), xlim=(-0.6, len(values) - 0.4))
        axes.spines[["top", "right"]].set_visible(False)
    first = sheet.axes[0]
    first.set_ylabel("share of frames")
    sheet.legend(
        *first.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8,
        frameon=False,
    )  # fmt: skip
    # No version and no date, so that the same mix gives the same picture.
    sheet.savefig(path, metadata={"Software": None})
