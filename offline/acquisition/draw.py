"""The random stream: a simple random sample without replacement, by hash.

Each clip has a number from the seed and its id alone, uniform and blind to what the clip shows;
the `n` lowest of a population of N are a simple random sample: every clip is in it with
probability n / N, every pair alike. n follows from the budget and the population's costs, never
from a score. It can be drawn from a stream in any order and any shards, in memory for n.

A seed serves one turn of the loop. Used twice, clips that lost the first draw would lose the
second to newcomers, and the probabilities told would be wrong.
"""

from __future__ import annotations

import hashlib

from contracts.errors import InputError


def lot(seed: int, purpose: str, clip_id: str) -> int:
    """A clip's number in 0..2^64-1 for one purpose; of several purposes independent ones."""
    key = f"{purpose}:{seed}".encode()
    return int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=8, key=key).digest())


def sample_size(
    population: int, total_cost: int, largest_cost: int, share_budget: int, whole_budget: int
) -> int:
    """How many clips the random stream takes; costs and budgets in thousandths of their unit.

    As many as `share_budget` pays for at the population's mean cost, and so few that even the
    dearest draw stays within `whole_budget`: no draw has ever to be cut, which would bend the
    probabilities.

    Raises:
        InputError: there is nothing to draw from, or the budget does not pay for one clip.
    """
    if population < 1:
        raise InputError("there is no clip to draw from", "random stream")
    by_mean = share_budget * population // max(total_cost, 1)
    count = min(population, by_mean, whole_budget // max(largest_cost, 1))
    if count < 1:
        mean = total_cost / population
        raise InputError(
            f"its budget of {share_budget / 1000:g} (of {whole_budget / 1000:g}) pays for no clip:"
            f" they cost {mean / 1000:g} on average, {largest_cost / 1000:g} at most",
            "random stream",
        )
    return count
