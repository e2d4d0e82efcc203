"""Writes camera frames of simulated drives with their truth to one npz file, for training.

    python -m edge_agent.sources.sim.export train.npz --seeds 1000:1060 --frames 30

Arrays: `jpeg` uint8, all images one after another; `starts` int64 [n + 1], where each begins;
`seed` int64 [n]; `box_image` int64 [k], the image of each box; `boxes_px` float32 [k, 4];
`classes` int64 [k]; `ignored` bool [k]; `class_names`. No pickle.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import simplejpeg

from edge_agent.sources.sim import camera
from edge_agent.sources.sim.actors import CLASS_NAMES
from edge_agent.sources.sim.drive import simulate
from edge_agent.sources.sim.options import SimOptions
from edge_agent.sources.sim.truth import Truth, painted_frame


def export_frames(path: Path, seeds: range, frames_per_drive: int) -> None:
    """Paint `frames_per_drive` frames of each drive, spread by its seed, and write them."""
    images: list[bytes] = []
    owners: list[int] = []
    truths: list[Truth] = []
    for seed in seeds:
        drive = simulate(SimOptions(seed=seed))
        rng = np.random.default_rng([seed, 77])
        noise = camera.noise_tile(rng)
        for index in np.sort(rng.choice(drive.t_s.size, frames_per_drive, replace=False)):
            offset = (int(rng.integers(camera.NOISE_SIZE)), int(rng.integers(camera.NOISE_SIZE)))
            pixels, truth = painted_frame(drive, int(index), noise, offset)
            images.append(simplejpeg.encode_jpeg(pixels, 85, "RGB", "420"))
            owners.append(seed)
            truths.append(truth)
    sizes = [len(image) for image in images]
    counts = [truth.classes.size for truth in truths]
    np.savez(
        path,
        jpeg=np.frombuffer(b"".join(images), np.uint8),
        starts=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        seed=np.array(owners, dtype=np.int64),
        box_image=np.repeat(np.arange(len(images)), counts),
        boxes_px=np.concatenate([truth.boxes_px for truth in truths]),
        classes=np.concatenate([truth.classes for truth in truths]),
        ignored=np.concatenate([truth.ignored for truth in truths]),
        class_names=np.array(CLASS_NAMES),
    )


def main(arguments: list[str] | None = None) -> None:
    """Entry of `python -m`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seeds", required=True, help="first:end, the end left out")
    parser.add_argument("--frames", type=int, default=30, help="frames of each drive")
    given = parser.parse_args(arguments)
    first, _, end = given.seeds.partition(":")
    export_frames(given.path, range(int(first), int(end)), given.frames)


if __name__ == "__main__":
    main()
