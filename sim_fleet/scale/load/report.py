"""What a load was told: counts, times, CPU, and whether the database agrees."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from sim_fleet.scale.events import Kind


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A finished load.

    Attributes:
        events: vehicle-events that were acknowledged, by kind in `acknowledged`.
        refused: answers that were no success, by kind and status.
        offered_virtual_s: how much of the stream's time was sent.
        latency_ms: p50 and p99 by kind, of one event; of a check-in and an event record that is
            one request, of a token two.
        receiver_cpu_ms_per_event, database_cpu_ms_per_event: None where no process was named.
        differences: what the database says otherwise than the acknowledgements.
    """

    url: str
    identities: int
    seconds: float
    events: int
    events_per_s: float
    requests_per_s: float
    offered_virtual_s: float
    acknowledged: dict[str, int]
    refused: dict[str, int]
    latency_ms: dict[str, dict[str, float]]
    receiver_cpu_ms_per_event: float | None
    database_cpu_ms_per_event: float | None
    sender_cpu_ms_per_event: float
    is_exact: bool
    differences: tuple[str, ...]


@dataclass(slots=True)
class Acknowledged:
    """What the receiver has answered for, and how long it took.

    Attributes:
        records: (vehicle, event key, trigger) of each acknowledged event record.
        clips: (vehicle, clip id) of each receipt.
        check_ins: newest acknowledged manifest by vehicle.
    """

    records: list[tuple[str, str, str]] = field(default_factory=list)
    clips: list[tuple[str, str]] = field(default_factory=list)
    check_ins: dict[str, tuple[int, str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def note(self, kind: Kind, seconds: float) -> None:
        """One event was acknowledged."""
        self.counts[kind.name.lower()] += 1
        self.seconds.setdefault(kind.name.lower(), []).append(seconds)

    def refuse(self, kind: Kind, status: int | None, reason: str) -> None:
        """One event was not; `status` None without an answer."""
        word = "no answer" if status is None else str(status)
        self.refused[f"{kind.name.lower()}: {word} {reason}".strip()[:120]] += 1

    def latency_ms(self) -> dict[str, dict[str, float]]:
        return {
            kind: {
                name: round(float(np.percentile(spans, rank)) * 1e3, 2)
                for name, rank in (("p50", 50), ("p99", 99))
            }
            for kind, spans in self.seconds.items()
        }
