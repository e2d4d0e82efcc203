"""Perceptual hash: time a frame against imagehash, and the scan against memory bandwidth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, figure, median_cpu_ns
from kernels.phash import hamming_distance, hamming_scan, phash64

if TYPE_CHECKING:
    from PIL import Image

WIDTH_PX, HEIGHT_PX = 1600, 900
SCANNED = 1_000_000
_REPETITIONS = 21
# A job of some milliseconds: the clock of CPU time is too coarse for tens of microseconds.
_BATCH = 20


def run(recorded: Path | None = None) -> list[Figure]:
    """All figures; the frames are recorded ones when `recorded` holds them.

    Args:
        recorded: folder with `kitti_approach78/image_02/**/*.png`, or None.
    """
    import imagehash
    from PIL import Image

    paths = [] if recorded is None else sorted(recorded.glob("kitti_approach78/image_02/**/*.png"))
    frame = _simulated_frame() if not paths else Image.open(paths[0]).convert("RGB")
    wide = frame.resize((WIDTH_PX, HEIGHT_PX))
    pixels = np.asarray(wide)
    spent = median_cpu_ns(
        {
            "ours": lambda: [phash64(pixels) for _ in range(_BATCH)],
            "imagehash": lambda: imagehash.phash(wide),
        },
        _REPETITIONS,
    )
    kind = "recorded" if paths else "simulated"
    figures = [
        figure(
            f"hash of a {kind} RGB frame {WIDTH_PX}x{HEIGHT_PX}",
            spent["ours"] / _BATCH / 1e6, "ms",
            reference="imagehash.phash", reference_value=spent["imagehash"] / 1e6,
            goal="ratio <= 0.1",
        ),
        _scan_figure(),
    ]  # fmt: skip
    if paths:
        bits = []
        for path in paths[::6]:
            with Image.open(path) as image:
                theirs = int(str(imagehash.phash(image)), 16)
                bits.append(hamming_distance(phash64(np.asarray(image.convert("RGB"))), theirs))
        name = "mean distance to imagehash's hash of the same recorded frame"
        figures.append(figure(name, float(np.mean(bits)), "bits", goal="<= 4"))
    return figures


def _scan_figure() -> Figure:
    hashes = np.random.default_rng(5).integers(0, 2**64, SCANNED, dtype=np.uint64)
    query = int(hashes[SCANNED // 2])
    spent = median_cpu_ns(
        {
            "scan": lambda: [hamming_scan(hashes, query, 6) for _ in range(_BATCH)],
            "sum": lambda: [hashes.sum() for _ in range(_BATCH)],
        },
        _REPETITIONS,
    )
    return figure(
        f"scan of {SCANNED} hashes", spent["scan"] / _BATCH / 1e6, "ms",
        reference="numpy's sum of them (memory bandwidth)",
        reference_value=spent["sum"] / _BATCH / 1e6, goal="<= 0.5",
    )  # fmt: skip


def _simulated_frame() -> Image.Image:
    from PIL import Image

    coarse: NDArray[np.uint8] = np.random.default_rng(3).integers(
        0, 256, (9, 16, 3), dtype=np.uint8
    )
    return Image.fromarray(coarse).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC)
