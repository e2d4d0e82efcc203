"""What is true at the end of a run, as plain values: what the invariants are checked on.

All of it is read from files, the database and the store, after every process has ended: ledgers,
spools, event records, the catalogue, and the relay's own counts. Nothing is an agent's claim
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.upload import EventRecord

FireKey = tuple[str, str, int]
"""Boot, trigger and `fired_mono_ns`: one fire of one vehicle."""


@dataclass(frozen=True, slots=True)
class BootFacts:
    """One start. `cut_mono_ns` is when the power was cut; `ledger_day` the day it was charged to.

    `metered_air_bytes` is what the relay counted on links that cost money; `kept_fires` and
    `untold` are the agent's log: fires it kept, records it could not write.
    """

    boot_id: str
    cut_mono_ns: int | None = None
    ledger_day: int = 0
    metered_bytes: int = 0
    kept_fires: int = 0
    untold: int = 0


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """A clip, wherever it lies. `is_sound`: its bytes are those of its id."""

    clip_id: str
    vehicle_id: str
    event: str
    fires: tuple[FireKey, ...]
    size_bytes: int
    state: str
    is_sound: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class TombFacts:
    """A clip that was evicted."""

    clip_id: str
    event: str
    size_bytes: int
    was_uploaded: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """A vehicle's ledger. `spent` by (day, scope): clips and bytes; `reservations` by trigger
    and `fired_mono_ns`: bytes; `cellular` bytes by day; `outbox_ever` records ever put there.
    """

    settled: frozenset[str] = frozenset()
    reservations: Mapping[tuple[str, int], int] = field(default_factory=dict)
    spent: Mapping[tuple[int, str], tuple[int, int]] = field(default_factory=dict)
    cellular: Mapping[int, int] = field(default_factory=dict)
    tombstones: tuple[TombFacts, ...] = ()
    waiting: tuple[EventRecord, ...] = ()
    refused: tuple[EventRecord, ...] = ()
    outbox_ever: int = 0
    outbox_dropped: int = 0


@dataclass(frozen=True, slots=True)
class VehicleFacts:
    """All of one vehicle. `active` and `quarantined` are files of its spool that are no clips."""

    vehicle_id: str
    boots: tuple[BootFacts, ...]
    spool: tuple[ClipFacts, ...]
    ledger: LedgerFacts
    active: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a vehicle may do in a day. `clips_of` by trigger, as the specs say."""

    cellular_bytes_per_day: int
    clips_per_day: int
    bytes_per_day: int
    clips_of: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """The whole fleet and its cloud. `cloud_clips` is every row of the catalogue."""

    vehicles: tuple[VehicleFacts, ...]
    cloud_clips: tuple[ClipFacts, ...]
    cloud_events: tuple[EventRecord, ...]
    limits: Limits
