"""Evidence that a mean is over a limit, which may be looked at after every observation.

Values y lie in 0..1. Against "whatever came before, y is expected to be `limit` at most", a
gambler stakes part of a purse on each y: it is multiplied by 1 + fraction * (y / limit - 1), which
is expected to be 1 at most. So the purse, 1 at first, ever reaches 1 / alpha with probability
alpha at most (Ville 1939), however often one looks and whenever one stops, for values that are not
binary or hang on each other, as long as that expectation holds. Several fractions are played side
by side, as nobody knows which is best. (Waudby-Smith and Ramdas 2024.)

For a change that comes late, part of the purse is kept and only put in later: after every
`start_every` values a share 1 / ((k + 1) (k + 2)) of the whole. A mean of such late starters is
still such a purse, and what long good times lost of the early stakes is no loss of the late ones:
that costs log((k + 1) (k + 2)) of evidence, not all of it. (Compare the e-detectors of Shin,
Ramdas and Rinaldo 2024, which bound the mean time to a false alarm; here it is never more than
alpha likely at all.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float64s

FRACTIONS: Float64s = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95])
"""Of the largest stake that cannot bring debts, 1 / limit: small ones for slight excesses of small
limits, large ones for limits near 1.
"""
_CAP = 1e100


@dataclass(frozen=True, slots=True)
class Purse:
    """Any number of tests side by side: `staked` float64 [..., fractions], `kept` float64 [...],
    after `seen` values each.
    """

    staked: Float64s
    kept: Float64s
    seen: int = 0

    @property
    def evidence(self) -> Float64s:
        """The e-value so far, float64 [...]: 20 speaks against the limit at 5 %."""
        return np.asarray(self.staked.sum(axis=-1) + self.kept)


def full_purse(shape: tuple[int, ...] = ()) -> Purse:
    """Of tests that begin."""
    return Purse(np.zeros((*shape, FRACTIONS.size)), np.ones(shape))


def bet(
    purse: Purse, value: Float64s | float, limit: Float64s | float, start_every: int = 10
) -> Purse:
    """The purse after one more value of each test.

    Args:
        purse: before it.
        value: in 0..1, float64 [...].
        limit: of its expectation, over 0 and under 1; may change as long as it is set before the
            value is known.
        start_every: see above.

    Raises:
        InputError: a value or limit out of range.
    """
    y, m = np.asarray(value, dtype=np.float64), np.asarray(limit, dtype=np.float64)
    if not (((y >= 0) & (y <= 1)).all() and ((m > 0) & (m < 1)).all()):
        raise InputError("a value lies in 0..1, its limit between 0 and 1")
    staked, kept = purse.staked, purse.kept
    if purse.seen % start_every == 0:
        k = purse.seen // start_every
        share = 1 / ((k + 1) * (k + 2))
        staked, kept = staked + share / FRACTIONS.size, kept - share
    factor = 1 + FRACTIONS * ((y / m)[..., None] - 1)
    # What is over the cap is given away: the purse stays finite, and no richer than it may be.
    return Purse(np.minimum(staked * factor, _CAP), kept, purse.seen + 1)
