"""Folders of clips as a period of the fleet leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contracts.clip import ClipEmbedding, ClipManifest, ClipSummary
from contracts.clock import NS_PER_S
from contracts.samples import Detection, PerceptionFrame
from kernels.clip.perception import encode_perception
from kernels.clip.writer import write_clip
from tests.cloud_ingest.support import make_manifest
from tests.offline.health.clips import SPACE

_OFFSET_NS = 1_700_000_000 * NS_PER_S


def _manifest(number: int, vector: np.ndarray, **changes: Any) -> ClipManifest:
    given: dict[str, Any] = {
        "summary": ClipSummary(tod="night" if number % 2 else "day", lat_deg=48.11, lon_deg=11.52),
        "embedding": ClipEmbedding(model_digest=SPACE, vector=tuple(vector.tolist())),
        "stream": "random", "inclusion_probability": 0.1, "drive_id": f"drive-{number // 3}",
        "utc_minus_mono_ns": _OFFSET_NS,
    }  # fmt: skip
    return make_manifest(start_mono_ns=number * 20 * NS_PER_S, **(given | changes))


def write_period(folder: Path, first: int, *, shift: float = 0.0, **changes: Any) -> Path:
    """36 clips that tell an embedding and what was seen: by the random stream, unless `changes`
    say otherwise.
    """
    folder.mkdir(parents=True)
    for number in range(first, first + 36):
        vector = np.random.default_rng(number).normal(size=4) + np.array([4.0, shift, 0, 0])
        cars = 3 if shift else 1
        seen = tuple(car_seen() for _ in range(cars))
        frame = PerceptionFrame(
            "/camera/front", number * 20 * NS_PER_S + 1, "a" * 64, seen, 0.2, 0.5
        )
        messages = list(encode_perception(frame, _OFFSET_NS))
        with (folder / f"{number:04d}.mcap").open("wb") as stream:
            write_clip(stream, _manifest(number, vector, **changes), messages, {})
    return folder


def car_seen(probability: float = 0.8) -> Detection:
    return Detection((0.0, 0.0, 1.0, 1.0), "car", probability, np.zeros(9, dtype=np.float32))
