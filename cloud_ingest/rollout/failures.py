"""When failures halt a rollout.

In any large fleet a few vehicles cannot take a release: a full disk, a broken part. One of them
among the first five that answered is a fifth, and no finding. While a stage goes out, failures
therefore halt it when they are too many for chance: when the evidence that more than the tolerated
share of vehicles fails is 1 / alpha, which a share that is tolerated ever reaches with probability
at most alpha, however often one looks (a mixture of likelihood ratios, Robbins 1970; Ville 1939).
Once a stage is out, the share itself decides.
"""

from __future__ import annotations

import math

import numpy as np

from cloud_ingest.rollout.observation import FloatArray

_SHARES = 64
"""Of failing vehicles that are held against the tolerated one, evenly above it."""


def log_e_share_above(failed: int, executed: int, share: float) -> float:
    """Log of the evidence that vehicles fail more often than `share`, in [0, 1).

    As large as log(1 / alpha) at any look with probability at most alpha while they do not.
    """
    if not share:
        return math.inf if failed else -math.inf
    held: FloatArray = share + (1 - share) * (np.arange(_SHARES) + 0.5) / _SHARES
    ratios = failed * np.log(held / share) + (executed - failed) * np.log((1 - held) / (1 - share))
    return float(np.logaddexp.reduce(ratios)) - math.log(_SHARES)
