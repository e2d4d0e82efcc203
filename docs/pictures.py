"""Draw what a clip holds, for the README: `python docs/pictures.py CLIP.mcap OUT.png`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.samples import ImageSample, LidarSample, PerceptionFrame, Sample, SignalSample
from kernels.clip.reader import read_manifest, read_samples

INK, BAND, MARK = "#1c2733", "#dbe9e1", "#c0392b"


def nearest(samples: list[Sample | PerceptionFrame], kind: type, at_ns: int) -> object:
    """The sample of a kind that is nearest in time."""
    return min((s for s in samples if isinstance(s, kind)), key=lambda s: abs(s.mono_ns - at_ns))


def draw_camera(axes: Axes, image: ImageSample, frame: PerceptionFrame | None) -> None:
    """The camera image with the model's boxes."""
    axes.imshow(plt.imread(io.BytesIO(bytes(image.content)), format=image.encoding))
    for found in frame.detections if frame is not None else ():
        if found.box_px is None:
            continue
        x0, y0, x1, y1 = found.box_px
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="#2ecc71", lw=1.6))
        if x1 - x0 > 25:  # smaller ones have no room for words
            label = f"{found.class_name} {found.probability:.2f}"
            axes.text(x0, max(y0 - 4, 12), label, color="#2ecc71", fontsize=7, weight="bold")
    axes.set_axis_off()
    axes.set_title(f"{image.channel} at the fire, with the model's detections", fontsize=9)


def draw_lidar(axes: Axes, sweep: LidarSample) -> None:
    """The sweep from above, coloured by height."""
    x, y, z = sweep.xyz_m[:, 0], sweep.xyz_m[:, 1], sweep.xyz_m[:, 2]
    near = (np.abs(y) < 20) & (x > -10) & (x < 50)
    axes.scatter(x[near], y[near], s=0.4, c=np.clip(z[near], -2, 2), cmap="viridis", lw=0)
    axes.plot(0, 0, marker=">", color=MARK, ms=8)
    axes.set(xlim=(-10, 50), ylim=(-20, 20), aspect="equal", xlabel="forward, m", ylabel="left, m")
    axes.set_title(f"{sweep.channel}, from above", fontsize=9)


def draw_signals(
    axes: Axes, samples: list[Sample | PerceptionFrame], manifest: ClipManifest
) -> None:
    """Speed and deceleration over the window, with each cause where it fired."""
    origin_ns = manifest.event.start_mono_ns

    def seconds(ns: int) -> float:
        return (ns - origin_ns) / NS_PER_S

    for name, colour in (("ego.speed_mps", "#2457a6"), ("ego.decel_mps2", MARK)):
        found = [s for s in samples if isinstance(s, SignalSample) and s.name == name]
        axes.plot(
            [seconds(s.mono_ns) for s in found], [s.value for s in found], color=colour, label=name
        )
    top = axes.get_ylim()[1]
    for i, cause in enumerate(manifest.causes):
        axes.axvline(seconds(cause.fired_mono_ns), color=INK, lw=0.8, ls=":")
        axes.text(
            seconds(cause.fired_mono_ns), top * (1.0 - 0.11 * i), f" {cause.trigger_id}",
            fontsize=7.5, color=INK, va="top",
        )  # fmt: skip
    span = (seconds(manifest.event.start_mono_ns), seconds(manifest.event.end_mono_ns))
    axes.axvspan(*span, color=BAND, zorder=0)
    axes.set(xlabel="seconds from the event's start", xmargin=0)
    axes.legend(loc="center left", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("pre-roll, event (shaded) and post-roll; every cause of the clip", fontsize=9)


def main() -> None:
    clip, out = Path(sys.argv[1]), Path(sys.argv[2])
    manifest = read_manifest(clip)
    samples = list(read_samples(clip))
    fired_ns = manifest.causes[0].fired_mono_ns
    figure = plt.figure(figsize=(11, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1), height_ratios=(1.15, 1))
    image = nearest(samples, ImageSample, fired_ns)
    frames = [s for s in samples if isinstance(s, PerceptionFrame)]
    frame = min(frames, key=lambda s: abs(s.mono_ns - fired_ns)) if frames else None
    if isinstance(image, ImageSample):
        draw_camera(figure.add_subplot(grid[0, 0]), image, frame)
    sweep = nearest(samples, LidarSample, fired_ns)
    if isinstance(sweep, LidarSample):
        draw_lidar(figure.add_subplot(grid[0, 1]), sweep)
    draw_signals(figure.add_subplot(grid[1, :]), samples, manifest)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
