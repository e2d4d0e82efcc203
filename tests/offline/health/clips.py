"""Made-up clips: drives with a mood of their own, so that clips of one drive are alike."""

from __future__ import annotations

from typing import Literal

import numpy as np

from contracts.ids import sha256_hex
from offline.health.observed import Observation

SPACE = sha256_hex(b"model")
_SIZE = 6
_TAGS = (("tod", ("day", "night")), ("weather", ("clear", "rain")))


def period(
    name: str, seed: int, *, drives: int = 24, clips: int = 5, shift: float = 0.0,
    shifted: str = "", cars: float = 0.0, stream: Literal["random", "triggered"] = "random",
    specs: tuple[tuple[str, int], ...] = (),
) -> list[Observation]:  # fmt: skip
    """A period's clips, every one of its own probability.

    Args:
        shift: added to the first coordinate of the embeddings of clips with the tag `shifted`, or
            of all where none is named.
        cars: added to the figure `cars a frame`.
    """
    rng = np.random.default_rng([seed, sum(name.encode())])
    found = []
    for drive in range(drives):
        mood = rng.normal(size=_SIZE)
        tags = tuple(f"{tag}={rng.choice(values)}" for tag, values in _TAGS)
        for clip in range(clips):
            vector = mood + 0.5 * rng.normal(size=_SIZE)
            vector[0] += shift if not shifted or shifted in tags else 0.0
            found.append(Observation(
                clip_id=sha256_hex(f"{name}-{seed}-{drive}-{clip}".encode()),
                drive=f"{name}-{drive}", vehicle=f"v{drive % 6}", stream=stream,
                probability=float(rng.choice([0.1, 0.2, 0.4])) if stream == "random" else None,
                embedding=vector.astype(np.float32), tags=tags, specs=specs,
                figures={"cars a frame": float(mood[1] + 0.3 * rng.normal() + cars)},
            ))  # fmt: skip
    return found
