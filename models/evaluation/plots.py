"""The pictures of a report, each a PNG; the one place that needs matplotlib.

Colours are Okabe and Ito's, which the colour-blind can tell apart; runs keep their colour from
plot to plot. A plot for which there is nothing to show is not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.samples import Float64s
from models.evaluation.document import EvaluationReport, ReportDocument
from models.evaluation.intervals import Estimate
from models.evaluation.report import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000",
    "#999999",
)  # fmt: skip
_RECALL = np.linspace(0, 1, 101)
_WIDE_IN, _HIGH_IN, _DPI = 7.2, 4.2, 110


def draw_plots(folder: Path, document: ReportDocument) -> dict[str, str]:
    """Write the plots; their file names by what they show, in the order of a report.

    Raises `ModuleNotFoundError` without matplotlib.
    """
    main, runs = document.main, list(document.whole())
    slices = [name for name in main.slice_ap if not name.startswith("range=")]
    ranges = [name for name in main.slice_ap if name.startswith("range=")]
    drawn: dict[str, str] = {}

    def draw(name: str, shows: bool, fill: Callable[[Axes], None], high_in: float = _HIGH_IN
             ) -> None:  # fmt: skip
        if shows:
            _write(folder / f"{name}.png", fill, high_in)
            drawn[name] = f"{name}.png"

    folder.mkdir(parents=True, exist_ok=True)
    draw("precision_recall", bool(main.curves), lambda axes: _curves(axes, main))
    draw("ap_by_range", _any_ap(main, ranges), lambda axes: _by_range(axes, runs, ranges))
    draw(
        "ap_by_slice", _any_ap(main, slices), lambda axes: _by_slice(axes, runs, slices),
        1.4 + 0.24 * len(slices) * (1 + 0.35 * len(runs)),
    )  # fmt: skip
    calibrated = [run for run in runs if run.calibration.overall is not None]
    draw("reliability", bool(calibrated), lambda axes: _reliability(axes, calibrated))
    draw("light", main.light is not None, lambda axes: _light(axes, main))
    losses = list(document.with_loss())
    draw("without_sensors", bool(losses), lambda axes: _losses(axes, document))
    return drawn


def draw_history(epochs: Sequence[Mapping[str, float]], path: Path) -> None:
    """Write the losses of a training run, one line each over its epochs, as PNG."""

    def fill(axes: Axes) -> None:
        names = dict.fromkeys(name for losses in epochs for name in losses)
        for number, name in enumerate(names):
            told = [losses.get(name, float("nan")) for losses in epochs]
            axes.plot(
                np.arange(1, len(told) + 1), told, ".-", label=name,
                color=COLOURS[number % len(COLOURS)],
            )  # fmt: skip
        axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel="mean loss", title="Losses")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, frameon=False)

    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, fill, _HIGH_IN)


def _write(path: Path, fill: Callable[[Axes], None], high_in: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    sheet = Sheet(figsize=(_WIDE_IN, high_in), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(sheet)
    axes = sheet.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    fill(axes)
    # No version and no date, so that the same report gives the same picture.
    sheet.savefig(path, metadata={"Software": None})


def _any_ap(run: EvaluationReport, names: Sequence[str]) -> bool:
    return any(run.slice_ap[name].value is not None for name in names)


def _curves(axes: Axes, run: EvaluationReport) -> None:
    for number, (name, precision) in enumerate(run.curves.items()):
        figures = run.detection.overall.classes[name]
        label = f"{name}, AP {_text(figures.ap['2'])}, n {figures.truths}"
        reached = np.array(precision) > 0
        axes.plot(
            _RECALL[reached], np.array(precision)[reached], label=label,
            color=COLOURS[number % len(COLOURS)], lw=1.6,
        )  # fmt: skip
    axes.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision",
        title=f"Precision over recall at 2 m: {run.model.title}",
    )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _by_range(axes: Axes, runs: Sequence[EvaluationReport], names: Sequence[str]) -> None:
    place: Float64s = np.arange(len(names), dtype=np.float64)
    width = 0.8 / len(runs)
    for number, run in enumerate(runs):
        _bars(
            axes, place + (number - (len(runs) - 1) / 2) * width, width,
            [run.slice_ap.get(name) for name in names], number, run.model.title,
        )  # fmt: skip
    axes.set_xticks(place, [name.removeprefix("range=") + " m" for name in names])
    axes.set(ylim=(0, 1), ylabel="mean AP", title="Mean AP by distance, 95 % intervals by drive")
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=7, frameon=False)


def _bars(
    axes: Axes, place: Float64s, width: float,
    estimates: Sequence[Estimate | None], number: int, label: str,
) -> None:  # fmt: skip
    values = [(each.value if each is not None else None) or 0.0 for each in estimates]
    axes.bar(place, values, width, color=COLOURS[number % len(COLOURS)], label=label)
    for at, each in zip(place.tolist(), estimates, strict=True):
        if each is None or each.value is None:
            axes.text(at, 0.01, "none", ha="center", fontsize=6, color="0.4")
        elif each.low is not None and each.high is not None:
            axes.plot([at, at], [each.low, each.high], color="0.15", lw=1)


def _by_slice(axes: Axes, runs: Sequence[EvaluationReport], names: Sequence[str]) -> None:
    for number, run in enumerate(runs):
        shift = 0.7 * ((number + 0.5) / len(runs) - 0.5)
        colour = COLOURS[number % len(COLOURS)]
        for row, name in enumerate(names):
            each = run.slice_ap.get(name)
            if each is None or each.value is None:
                continue
            if each.low is not None and each.high is not None:
                axes.plot([each.low, each.high], [row + shift] * 2, color=colour, lw=1.6)
            axes.plot(each.value, row + shift, "o", color=colour, ms=4)
        overall = run.headline["mean_ap"].value
        if overall is not None:
            label = f"{run.model.title}: all {overall:.2f}"
            axes.axvline(overall, color=colour, ls=":", lw=1, label=label)
    axes.set_yticks(range(len(names)), list(names))
    axes.tick_params(axis="y", labelsize=7)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="mean AP", title="Mean AP by slice, 95 % intervals by drive")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)


def _reliability(axes: Axes, runs: Sequence[EvaluationReport]) -> None:
    axes.plot([0, 1], [0, 1], color="0.5", ls="--", lw=1)
    for number, run in enumerate(runs):
        table = run.calibration.overall
        if table is None:
            continue
        rows = [
            (told, right, count)
            for told, right, count in zip(table.told, table.right, table.count, strict=True)
            if told is not None and right is not None
        ]
        most = max(count for *_, count in rows)
        axes.plot(
            [told for told, _, _ in rows], [right for _, right, _ in rows], lw=1,
            color=COLOURS[number % len(COLOURS)],
            label=f"{run.model.title}: ECE {_text(table.error)}",
        )  # fmt: skip
        axes.scatter(
            [told for told, _, _ in rows], [right for _, right, _ in rows],
            s=[8 + 60 * count / most for *_, count in rows],
            color=COLOURS[number % len(COLOURS)],
        )  # fmt: skip
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="probability told", ylabel="share right at 2 m",
        title="Reliability; larger dots stand for more detections",
    )  # fmt: skip
    axes.set_aspect("equal")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def _light(axes: Axes, run: EvaluationReport) -> None:
    if run.light is None:
        return
    table = np.array(run.light.confusion, dtype=np.float64)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        colour = "white" if value > 0.6 else "black"
        text = f"{value:.0%}\n{int(table[row, column])}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(run.light.states)), list(run.light.states))
    axes.set_yticks(range(len(run.light.states)), list(run.light.states))
    axes.set(xlabel="told", ylabel="true", title=f"The traffic light: {run.model.title}")


def _losses(axes: Axes, document: ReportDocument) -> None:
    runs = [document.main, *(run for run, _ in document.with_loss())]
    names = ["all sensors", *(f"no {run.without}" for run in runs[1:])]
    _bars(
        axes, np.arange(len(runs), dtype=np.float64), 0.6,
        [run.headline["mean_ap"] for run in runs], 0, document.main.model.title,
    )  # fmt: skip
    axes.set_xticks(range(len(runs)), names)
    axes.set(ylim=(0, 1), ylabel="mean AP", title="Mean AP with sensors gone")
    axes.grid(axis="y", alpha=0.25)


def _text(value: Figure) -> str:
    return "–" if value is None else f"{value:.2f}"
