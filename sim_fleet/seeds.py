"""Random generators by name: each part of the simulation draws from its own stream.

So leaving one sensor out, or adding an actor, does not change what the others draw.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of `names` under `seed`; the same on every machine."""
    text = "/".join(str(name) for name in names)
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])
