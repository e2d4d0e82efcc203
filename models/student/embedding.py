"""A network's embeddings of many frames, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from contracts.samples import Float32s, Float64s
from models.student.device import device_of, moved
from models.student.inputs import StudentFrame, batch_of
from models.student.network import Student
from models.student.train import channels_last


def embeddings_of(
    network: Student, frames: Iterable[StudentFrame],
    told: Callable[[int], None] = lambda done: None,
) -> Float32s:  # fmt: skip
    """Embeddings float32 [n, d] of a network in evaluation mode; `told` of each that is done."""
    device, found = device_of(network), []
    network.eval()
    for number, frame in enumerate(frames, start=1):
        with torch.no_grad():
            outputs = network(*channels_last(moved(batch_of([frame]), device)))
        found.append(outputs.embedding[0].float().cpu().numpy())
        told(number)
    return np.array(found, dtype=np.float32).reshape(len(found), network.config.embedding_size)


def cosines(one: Float32s, other: Float32s) -> Float64s:
    """Likeness of embeddings row by row, both [n, d]: float64 [n], 0 where one has no length."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(lengths, 1e-12))
