"""Which connection a vehicle has at every moment: a trace drawn from the seed. Pure.

On the road: cellular of changing quality, dead spots that look like a link and carry almost
nothing, tunnels without any. Parked: the garage's wifi, the workplace's (now and then a metered
hotspot), or the street's cellular. Rates are of the road between vehicle and cloud; loss is of
packets, each of which is sent again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

import numpy as np

from edge_agent.ports import Link
from sim_fleet.fleet.schedule import Place, Plain, Trip
from sim_fleet.seeds import generator

BEFORE_S = 3600.0
"""How long before its first trip a trace begins, in the garage."""
AFTER_S = 7 * 86_400.0

LinkKind = Literal["wifi", "ethernet", "cellular", "none"]


class LinkSpan(Plain):
    """The link from `start_s` until the next span. Rates in bits per second, delay one way."""

    start_s: float
    kind: LinkKind
    metered: bool = False
    up_bps: float = 0.0
    down_bps: float = 0.0
    delay_s: float = 0.0
    loss: float = 0.0
    name: str = ""

    @property
    def is_metered(self) -> bool:
        return self.metered or self.kind == "cellular"

    def as_link(self) -> Link:
        return Link(self.kind, self.is_metered)

    def text(self) -> str:
        """As `edge_agent.upload.links.FileLink` reads it."""
        return f"{self.kind} metered" if self.is_metered and self.kind != "none" else self.kind


class LinkTrace(Plain):
    """Spans in order of their start."""

    spans: tuple[LinkSpan, ...]

    def at(self, t_s: float) -> LinkSpan:
        """The span at a time; the first one before it all."""
        return self.spans[max(0, self._place(t_s))]

    def next_change_s(self, t_s: float) -> float | None:
        """When the span at a time ends; None for the last."""
        after = self._place(t_s) + 1
        return self.spans[after].start_s if after < len(self.spans) else None

    def _place(self, t_s: float) -> int:
        return bisect_right(self.spans, t_s, key=lambda span: span.start_s) - 1


def link_trace(seed: int, vehicle_id: str, trips: Sequence[Trip]) -> LinkTrace:
    """The trace of a vehicle over all its trips."""
    spans = [_parked(generator(seed, "links", vehicle_id, "home"), "garage",
                     trips[0].start_s - BEFORE_S)]  # fmt: skip
    for trip in trips:
        rng = generator(seed, "links", vehicle_id, trip.index)
        if trip.drive_s > 0:
            spans += _on_the_road(rng, trip)
        spans.append(_parked(rng, trip.then, trip.end_s))
    return LinkTrace(spans=tuple(_apart(spans)))


def _apart(spans: list[LinkSpan]) -> list[LinkSpan]:
    """Without spans of no length; a wake-up begins where the parking already is."""
    return [a for a, b in zip(spans, [*spans[1:], None], strict=True)
            if b is None or b.start_s > a.start_s]  # fmt: skip


def _on_the_road(rng: np.random.Generator, trip: Trip) -> list[LinkSpan]:
    spans, at_s = [], trip.start_s
    while at_s < trip.end_s:
        draw = float(rng.random())
        if draw < 0.08:
            span, length_s = LinkSpan(start_s=at_s, kind="none", name="tunnel"), (4.0, 15.0)
        elif draw < 0.18:
            span, length_s = _dead_spot(rng, at_s), (4.0, 15.0)
        else:
            span, length_s = _cellular(rng, at_s), (10.0, 45.0)
        spans.append(span)
        at_s = round(at_s + float(rng.uniform(*length_s)), 1)
    return spans


def _cellular(rng: np.random.Generator, at_s: float) -> LinkSpan:
    up_bps = float(np.exp(rng.uniform(np.log(1e6), np.log(15e6))))
    return LinkSpan(
        start_s=at_s, kind="cellular", metered=True, up_bps=up_bps, down_bps=4 * up_bps,
        delay_s=float(rng.uniform(0.02, 0.08)), loss=float(rng.uniform(0.0, 0.02)),
        name="cellular",
    )  # fmt: skip


def _dead_spot(rng: np.random.Generator, at_s: float) -> LinkSpan:
    return LinkSpan(
        start_s=at_s, kind="cellular", metered=True, up_bps=float(rng.uniform(5e3, 4e4)),
        down_bps=4e4, delay_s=0.4, loss=0.2, name="dead spot",
    )  # fmt: skip


def _parked(rng: np.random.Generator, place: Place, at_s: float) -> LinkSpan:
    if place == "street":
        return _cellular(rng, at_s)
    metered = place == "work" and bool(rng.random() < 0.25)
    up_bps = float(rng.uniform(10e6, 60e6))
    return LinkSpan(
        start_s=at_s, kind="wifi", metered=metered, up_bps=up_bps, down_bps=2 * up_bps,
        delay_s=0.01, loss=0.001, name="metered wifi" if metered else f"wifi ({place})",
    )  # fmt: skip
