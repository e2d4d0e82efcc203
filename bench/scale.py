"""Light mode: vehicle-events a second of the stream, of 100,000 vehicles, on one core.

The receiver's part is not here: it needs both cores, and `longtail sim scale --load own` tells it.
"""

from __future__ import annotations

import time

from bench.figures import Figure, figure
from sim_fleet.scale.rates import ScaleRates
from sim_fleet.scale.stream import Stream, StreamOptions

GOAL = ">= 2000"


def figures(vehicles: int = 100_000, hours: float = 1.0) -> list[Figure]:
    """The rate at which the evening's events are made, by CPU time.

    Args:
        hours: virtual, from 17:00 UTC on; the fleet is drawn before the clock starts.
    """
    stream = Stream(ScaleRates(), StreamOptions(vehicles, hours, start_h=17.0))
    before = time.process_time_ns()
    events = sum(len(batch) for batch in stream.batches())
    spent_s = (time.process_time_ns() - before) / 1e9
    return [
        figure(
            f"light mode: stream of {vehicles} vehicles", events / spent_s,
            "vehicle-events/s/core", goal=GOAL,
        )
    ]  # fmt: skip
