"""Trains the demo detector on simulated frames and writes the ONNX file with its manifest.

    python -m edge_agent.sources.sim.export train.npz --seeds 1000:1070 --frames 30
    python -m edge_agent.sources.sim.export calibration.npz --seeds 1100:1115 --frames 20
    python -m edge_agent.sources.sim.export test.npz --seeds 1200:1220 --frames 20
    python -m models.demo_detector.train train.npz calibration.npz test.npz OUT_FOLDER

About eight minutes on one CPU core. Seeded; another kind of CPU may still change the last
digits, so the file's digest is fixed by its manifest, not by the seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.yolox import grid_of
from models.demo_detector.export import write_model
from models.demo_detector.frames import HEIGHT, WIDTH, Frames, load_frames
from models.demo_detector.network import STRIDES, DemoDetector
from models.demo_detector.targets import assign, loss_of

_log = structlog.get_logger(__name__)
_MAX_LR = 3e-3
_BATCH = 16


def _batch(
    frames: Frames, rows: NDArray[np.int64], grid: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Images (jittered, half of them mirrored) and their targets."""
    images, answers, left_out, targets, kinds = [], [], [], [], []
    for row in rows:
        here = frames.box_image == row
        boxes, classes = frames.boxes_px[here].copy(), frames.classes[here]
        image = frames.images[row].astype(np.float32) / np.float32(255)
        if rng.random() < 0.5:
            image = image[:, :, ::-1]
            boxes[:, [0, 2]] = WIDTH - boxes[:, [2, 0]]
        gain, shift = rng.uniform(0.8, 1.2, (3, 1, 1)), rng.uniform(-0.08, 0.08)
        images.append(np.clip(image * gain + shift, 0, 1).astype(np.float32))
        answer, out = assign(boxes, classes, frames.ignored[here], grid)
        chosen = answer[answer >= 0]
        answers.append(answer >= 0)
        left_out.append(out)
        targets.append(boxes[chosen])
        kinds.append(classes[chosen])
    return (
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(answers)),
        torch.from_numpy(np.stack(left_out)),
        torch.from_numpy(np.concatenate(targets)),
        torch.from_numpy(np.concatenate(kinds)),
    )


def _lay_out(network: DemoDetector, layout: torch.memory_format) -> None:
    """Reorder the convolutions' weights in memory; their values stay."""
    for weights in network.parameters():
        if weights.dim() == 4:
            weights.data = weights.data.contiguous(memory_format=layout)


def train(frames: Frames, epochs: int, seed: int, batch: int = _BATCH) -> DemoDetector:
    """Train from scratch; returns the network in evaluation mode."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    # Channels last: a third less time in the CPU's convolutions.
    network = DemoDetector(len(frames.class_names))
    _lay_out(network, torch.channels_last)
    grid = grid_of(WIDTH, HEIGHT, STRIDES)
    grid_tensor = torch.from_numpy(grid)
    steps = frames.images.shape[0] // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=_MAX_LR, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _MAX_LR, total_steps=epochs * steps, pct_start=0.1
    )
    network.train()
    for epoch in range(epochs):
        order = rng.permutation(frames.images.shape[0])
        total = 0.0
        for step in range(steps):
            images, *targets = _batch(frames, order[step * batch : (step + 1) * batch], grid, rng)
            rows, _ = network(images.to(memory_format=torch.channels_last))
            loss = loss_of(rows, grid_tensor, *targets)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        _log.info("epoch", number=epoch + 1, of=epochs, loss=round(total / max(1, steps), 3))
    _lay_out(network, torch.contiguous_format)
    return network.eval()


def main(arguments: list[str] | None = None) -> None:
    """Entry of `python -m`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("train", "calibration", "test", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the same sums, in the same order, on every machine of a kind
    frames = load_frames(given.train)
    network = train(frames, given.epochs, given.seed)
    lineage = {
        "trained_by": "models/demo_detector/train.py",
        "trained_on": f"simulated drives, seeds {frames.seeds[0]} to {frames.seeds[-1]}, "
        f"{frames.images.shape[0]} frames",
        "epochs": str(given.epochs),
        "seed": str(given.seed),
    }
    measured = write_model(
        network, load_frames(given.calibration), load_frames(given.test), given.out, lineage
    )
    _log.info("written", folder=str(given.out), **measured)


if __name__ == "__main__":
    main()
