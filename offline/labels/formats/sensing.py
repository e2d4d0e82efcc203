"""Which messages of a sensor are keyframes, and to which sample each of them belongs."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from kernels.bev.window import CAMERA_MAX_AGE_NS

NEAR_NS = CAMERA_MAX_AGE_NS
"""A picture or sweep further from a keyframe than this does not show it."""
_SLACK = 0.1


@dataclass(frozen=True, slots=True)
class Placed:
    """A message by its sample: which one it is of, and whether it shows that very keyframe."""

    sample: int
    is_key: bool


def keyframes(instants: Sequence[int], rate_hz: float) -> list[int]:
    """Which labelled instants are keyframes: those that follow the last one after a period, a
    tenth of it less at most. A rate of 0 takes all.
    """
    if rate_hz < 0:
        raise InputError("is a rate", "--keyframe-hz")
    least_ns = round((1 - _SLACK) * NS_PER_S / rate_hz) if rate_hz else 0
    found: list[int] = []
    for place, instant in enumerate(instants):
        if not found or instant - instants[found[-1]] >= least_ns:
            found.append(place)
    return found


def placed(times: Sequence[int], keys: Sequence[int]) -> list[Placed]:
    """Where each message of a sensor belongs.

    A keyframe shows the message nearest to it, and no message shows two; where two keyframes want
    one, the nearer gets it. What is between belongs to the keyframe that follows (as in nuScenes,
    whose kit interpolates from the one before to it), what is after the last to the last.

    Args:
        times: `mono_ns` of the messages, rising.
        keys: `mono_ns` of the keyframes, rising.
    """
    wanted: list[tuple[int, int, int]] = []
    for number, key in enumerate(keys):
        low = bisect.bisect_left(times, key - NEAR_NS)
        high = bisect.bisect_right(times, key + NEAR_NS)
        wanted += [(abs(times[place] - key), number, place) for place in range(low, high)]
    shown: dict[int, int] = {}
    served: set[int] = set()
    for _, number, place in sorted(wanted):
        if number not in served and place not in shown:
            shown[place] = number
            served.add(number)
    last = len(keys) - 1
    return [
        Placed(shown[place], True) if place in shown
        else Placed(min(bisect.bisect_left(keys, time), last), False)
        for place, time in enumerate(times)
    ]  # fmt: skip
