"""Exact bounds of a share (Clopper and Pearson 1934): hold for any count, however small."""

from __future__ import annotations

from scipy.special import betaincinv

from contracts.errors import InputError


def share_bounds(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a share of which `hits` of `trials` were seen; 0..1 of none.

    Raises `InputError` for counts that are none.
    """
    tail = (1 - confidence) / 2
    return lower_share(hits, trials, 1 - tail), upper_share(hits, trials, 1 - tail)


def upper_share(hits: int, trials: int, confidence: float = 0.95) -> float:
    """The share lies below this with `confidence`."""
    _check(hits, trials)
    return 1.0 if hits == trials else float(betaincinv(hits + 1, trials - hits, confidence))


def lower_share(hits: int, trials: int, confidence: float = 0.95) -> float:
    """The share lies above this with `confidence`."""
    _check(hits, trials)
    return 0.0 if hits == 0 else float(betaincinv(hits, trials - hits + 1, 1 - confidence))


def _check(hits: int, trials: int) -> None:
    if not 0 <= hits <= trials:
        raise InputError(f"{hits} of {trials} is no share")
