"""What the invariants look things up in: a vehicle's records, its clips, and its power cuts. Pure.

A clip that a power cut took before it was durable is lost by design. Then its fires' reservations
stand in the ledger for ever, and it was still open or being packed: its last fire was not more
than `DURABLE_WITHIN_S` before the cut, and its others not more than that before each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.clock import NS_PER_S
from contracts.ids import sha256_hex
from contracts.upload import EventRecord
from sim_fleet.fleet.facts import ClipFacts, FireKey, FleetFacts, VehicleFacts

DURABLE_WITHIN_S = 40.0
"""A clip is durable this long after its last fire: its post-roll, and the wait to be packed."""


def fire_key(record: EventRecord) -> FireKey:
    """The fire that an event record speaks of."""
    return record.event.boot_id, record.cause.trigger_id, record.cause.fired_mono_ns


def records_of(facts: FleetFacts, vehicle: VehicleFacts) -> dict[str, EventRecord]:
    """Each record that exists of a vehicle, once, by its content."""
    found = [e for e in facts.cloud_events if e.event.vehicle_id == vehicle.vehicle_id]
    every = (*found, *vehicle.ledger.waiting, *vehicle.ledger.refused)
    return {digest(record): record for record in every}


def digest(record: EventRecord) -> str:
    """Of a record's content: the same record twice has one."""
    return sha256_hex(record.model_dump_json(exclude_none=True).encode())


def clips_of(facts: FleetFacts, vehicle: VehicleFacts) -> dict[str, ClipFacts]:
    """Each clip of a vehicle by id, in the cloud, in its spool, or in both."""
    stored = [clip for clip in facts.cloud_clips if clip.vehicle_id == vehicle.vehicle_id]
    return {clip.clip_id: clip for clip in (*vehicle.spool, *stored)}


def is_evicted(vehicle: VehicleFacts, record: EventRecord) -> bool:
    """Whether a tombstone stands for the clip that the record's fire went into."""
    event = record.event
    for tomb in vehicle.ledger.tombstones:
        head, _, span = tomb.event.rpartition("/")
        start, _, end = span.partition("-")
        if head == f"{event.vehicle_id}/{event.boot_id}" and (
            int(start) <= event.start_mono_ns and event.end_mono_ns <= int(end)
        ):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Cuts:
    """What power cuts of a vehicle explain: fires of a boot from a time on, still reserved."""

    since_ns: dict[str, float]
    vehicle: VehicleFacts

    def explain(self, key: FireKey) -> bool:
        boot_id, trigger_id, fired_ns = key
        if (trigger_id, fired_ns) not in self.vehicle.ledger.reservations:
            return False
        return fired_ns >= self.since_ns.get(boot_id, float("inf"))


def cuts_of(facts: FleetFacts, vehicle: VehicleFacts) -> Cuts:
    """A vehicle's power cuts."""
    keys = [fire_key(record) for record in records_of(facts, vehicle).values()]
    keys += [fire for clip in clips_of(facts, vehicle).values() for fire in clip.fires]
    since: dict[str, float] = {}
    for boot in vehicle.boots:
        if boot.cut_mono_ns is None:
            continue
        from_ns = float(boot.cut_mono_ns)
        for fired_ns in sorted((k[2] for k in keys if k[0] == boot.boot_id), reverse=True):
            if from_ns - fired_ns <= DURABLE_WITHIN_S * NS_PER_S:
                from_ns = min(from_ns, fired_ns)
        since[boot.boot_id] = min(from_ns, boot.cut_mono_ns - DURABLE_WITHIN_S * NS_PER_S)
    return Cuts(since, vehicle)
