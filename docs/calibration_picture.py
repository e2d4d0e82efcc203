"""Draw how far confidence is to be believed: `python docs/calibration_picture.py DATA OUT.png`.

DATA is the folder of KITTI tracking; each sequence's confidence was fitted to the other nine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bench.label import read_sequences
from contracts.geometry import Bools
from contracts.samples import Float64s
from models.evaluation.probability import reliability
from models.evaluation.slices import RANGES_M
from offline.labels.auto.offline import unscored
from offline.labels.auto.parameters import read_parameters
from offline.labels.auto.world import estimated_poses
from offline.labels.calibration.fitting import Folds, Plan
from offline.labels.calibration.inputs import CLASS_NAMES
from offline.labels.calibration.samples import Samples, samples_of

INK, RAW, RANGES = "#1c2733", "#c0392b", ("#2980b9", "#27ae60", "#e67e22")
LEAST = 30
"""Bins with fewer boxes are not drawn."""


def draw_curve(axes: Axes, told: Float64s, right: Bools, colour: str, label: str) -> None:
    """Share right over confidence told, by bins; a dot is as big as its bin."""
    found = reliability(told, right)
    kept = found.count >= LEAST
    axes.plot(found.told[kept], found.right[kept], color=colour, lw=1.4,
              label=f"{label}: ECE {100 * found.error:.1f} %")  # fmt: skip
    size = 3 + 60 * found.count[kept] / max(1, found.count.max())
    axes.scatter(found.told[kept], found.right[kept], s=size, color=colour, lw=0, alpha=0.7)


def draw_coverage(axes: Axes, samples: Samples, told: Float64s, truths: int) -> None:
    """Precision over the share of true boxes accepted, from the surest on."""
    for by, colour, label in ((told, INK, "confidence"), (samples.raw, RAW, "raw score")):
        order = np.argsort(-by, kind="stable")
        right = np.cumsum(samples.right[order])
        share, precision = right / truths, right / np.arange(1, order.size + 1)
        axes.plot(100 * share[200:], 100 * precision[200:], color=colour, label=label)
    axes.axhline(98, color=INK, lw=0.8, ls=":")
    axes.set(xlim=(20, 100), ylim=(90, 100.3), xlabel="true boxes accepted, %",
             ylabel="right of what is accepted, %", title="car: accepted unseen")  # fmt: skip
    axes.legend(fontsize=8, loc="lower left", frameon=False)


def draw(samples: Samples, told: Float64s) -> plt.Figure:
    """Cars by range, all classes, and what acceptance costs."""
    figure, (by_range, by_class, coverage) = plt.subplots(1, 3, figsize=(13, 4.2))
    car = samples.kind == CLASS_NAMES.index("Car")
    draw_curve(by_range, samples.raw[car], samples.right[car], RAW, "raw score")
    for (low, high), colour in zip(RANGES_M, RANGES, strict=True):
        rows = car & (samples.range_m >= low) & (samples.range_m < high)
        draw_curve(by_range, told[rows], samples.right[rows], colour, f"{low:g}–{high:g} m")
    by_range.set_title("car, by range")
    for kind, (name, colour) in enumerate(zip(CLASS_NAMES, RANGES, strict=True)):
        rows = samples.kind == kind
        draw_curve(by_class, told[rows], samples.right[rows], colour, name.lower())
    by_class.set_title("by class")
    for axes in (by_range, by_class):
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence told",
                 ylabel="share right")  # fmt: skip
        axes.legend(fontsize=8, loc="upper left", frameon=False)
    truths = int(samples.truths[CLASS_NAMES.index("Car")].sum())
    draw_coverage(coverage, samples.take(car), told[car], truths)
    figure.tight_layout()
    return figure


def main(folder: Path, out: Path) -> None:
    """Labels, judges, leaves out, draws."""
    sequences, by_class = read_sequences(folder), read_parameters()
    made = {
        name: unscored(clip, estimated_poses(clip, by_class), by_class)
        for name, clip in sequences.clips.items()
    }
    samples = samples_of(sequences.truth, made)
    draw(samples, Folds(samples, Plan()).held_out()).savefig(out, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
