"""What must hold after any run, whatever broke on the way. Pure.

| name              | what it says                                                               |
|-------------------|----------------------------------------------------------------------------|
| captured          | every captured fire is in one clip, or there is a recorded reason why not  |
| once              | the cloud has each clip and each event once, whole, bytes as their id says |
| origin            | nothing is in the cloud that no vehicle of the fleet made                  |
| receipts          | what a vehicle holds to be uploaded is in the cloud                        |
| cellular          | caps on metered bytes hold, and the ledger is never below the relay        |
| budgets           | clips and bytes of a day stay within triggers' and the vehicle's budgets   |
| events            | every event record that was ever written is accounted for                  |
| told              | every kept fire has an event record                                        |
| ledger-and-spool  | both agree on every clip, and sums on what was spent                       |

What a power cut explains is `lookup`'s to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from contracts.clock import NS_PER_S
from sim_fleet.fleet.facts import ClipFacts, FireKey, FleetFacts, VehicleFacts
from sim_fleet.fleet.lookup import clips_of, cuts_of, digest, fire_key, is_evicted, records_of

MOST_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found. `evidence` says what it looked at; no problems: it holds."""

    name: str
    evidence: str
    problems: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.problems


def check_all(facts: FleetFacts) -> tuple[Verdict, ...]:
    """Every check, in the order of the table above."""
    return tuple(check(facts) for check in CHECKS)


def captured(facts: FleetFacts) -> Verdict:
    tally: Counter[str] = Counter()
    problems: list[str] = []
    for vehicle in facts.vehicles:
        records = records_of(facts, vehicle).values()
        lost = {fire_key(r) for r in records if r.outcome == "lost"}
        cuts = cuts_of(facts, vehicle)
        held: Counter[FireKey] = Counter()
        in_cloud: set[FireKey] = set()
        cloud_ids = {clip.clip_id for clip in facts.cloud_clips}
        for clip in clips_of(facts, vehicle).values():
            held.update(clip.fires)
            if clip.clip_id in cloud_ids:
                in_cloud.update(clip.fires)
        for record in records:
            if record.outcome != "captured":
                continue
            key = fire_key(record)
            if held[key] > 1:
                problems.append(f"{_name(vehicle, key)} is in {held[key]} clips")
            elif held[key] == 1:
                tally["in the cloud" if key in in_cloud else "in a spool"] += 1
            elif key in lost:
                tally["told as lost"] += 1
            elif is_evicted(vehicle, record):
                tally["evicted"] += 1
            elif cuts.explain(key):
                tally["lost at a power cut"] += 1
            else:
                problems.append(f"{_name(vehicle, key)} was captured and is nowhere")
    told = ", ".join(f"{n} {where}" for where, n in sorted(tally.items())) or "none"
    return _verdict("captured", f"captured fires: {told}", problems)


def _name(vehicle: VehicleFacts, key: FireKey) -> str:
    return f"{vehicle.vehicle_id}: {key[1]} at {key[2] / NS_PER_S:.2f} s of {key[0]}"


def once(facts: FleetFacts) -> Verdict:
    problems = []
    for clip_id, rows in Counter(clip.clip_id for clip in facts.cloud_clips).items():
        if rows > 1:
            problems.append(f"clip {clip_id[:12]} has {rows} rows")
    for event, rows in Counter(clip.event for clip in facts.cloud_clips).items():
        if rows > 1:
            problems.append(f"event {event} has {rows} clips")
    for clip in facts.cloud_clips:
        if not clip.is_sound:
            problems.append(f"the bytes of clip {clip.clip_id[:12]} are not those of its id")
        if clip.state != "ready":
            problems.append(f"clip {clip.clip_id[:12]} is {clip.state}: {clip.note}")
    for content, rows in Counter(map(digest, facts.cloud_events)).items():
        if rows > 1:
            problems.append(f"event record {content[:12]} has {rows} rows")
    size_bytes = sum(clip.size_bytes for clip in facts.cloud_clips)
    evidence = f"{len(facts.cloud_clips)} clips of {size_bytes / 1e6:.1f} MB read and digested"
    return _verdict("once", evidence, problems)


def origin(facts: FleetFacts) -> Verdict:
    problems = []
    known = {vehicle.vehicle_id: vehicle for vehicle in facts.vehicles}
    for clip in facts.cloud_clips:
        maker = known.get(clip.vehicle_id)
        if maker is None:
            problems.append(f"clip {clip.clip_id[:12]} is of {clip.vehicle_id}, no vehicle here")
        elif not _made_it(facts, maker, clip):
            problems.append(f"{clip.vehicle_id} has no trace of clip {clip.clip_id[:12]}")
    for record in facts.cloud_events:
        maker = known.get(record.event.vehicle_id)
        boots = {boot.boot_id for boot in maker.boots} if maker is not None else set()
        if record.event.boot_id not in boots:
            problems.append(f"an event record is of {record.event.text()}, which never was")
    evidence = f"{len(facts.cloud_clips)} clips and {len(facts.cloud_events)} event records"
    return _verdict("origin", evidence, problems)


def _made_it(facts: FleetFacts, vehicle: VehicleFacts, clip: ClipFacts) -> bool:
    """The ledger has settled the clip, or its spool holds it, or a cut came before settling."""
    if clip.event in vehicle.ledger.settled:
        return True
    if any(held.clip_id == clip.clip_id for held in vehicle.spool):
        return True
    cuts = cuts_of(facts, vehicle)
    return bool(clip.fires) and all(cuts.explain(fire) for fire in clip.fires)


def receipts(facts: FleetFacts) -> Verdict:
    stored = {clip.clip_id for clip in facts.cloud_clips}
    problems, count = [], 0
    for vehicle in facts.vehicles:
        marked = [clip.clip_id for clip in vehicle.spool if clip.state == "uploaded"]
        marked += [tomb.clip_id for tomb in vehicle.ledger.tombstones if tomb.was_uploaded]
        count += len(marked)
        problems += [f"{vehicle.vehicle_id} holds {clip_id[:12]} to be uploaded; it is not there"
                     for clip_id in marked if clip_id not in stored]  # fmt: skip
    return _verdict("receipts", f"{count} clips marked as uploaded", problems)


def cellular(facts: FleetFacts) -> Verdict:
    cap, problems, most = facts.limits.cellular_bytes_per_day, [], 0
    for vehicle in facts.vehicles:
        relayed: Counter[int] = Counter()
        for boot in vehicle.boots:
            relayed[boot.ledger_day] += boot.metered_bytes
        charged = vehicle.ledger.cellular
        for day in sorted({*relayed, *charged}):
            used = max(charged.get(day, 0), relayed[day])
            most = max(most, used)
            if used > cap:
                problems.append(f"{vehicle.vehicle_id}: {used} bytes on day {day}, cap {cap}")
        if sum(relayed.values()) > sum(charged.values()):
            problems.append(
                f"{vehicle.vehicle_id}: the relay carried {sum(relayed.values())} metered bytes,"
                f" the ledger knows {sum(charged.values())}"
            )
    return _verdict("cellular", f"most in a day: {most / 1e6:.2f} of {cap / 1e6:g} MB", problems)


def budgets(facts: FleetFacts) -> Verdict:
    problems, most = [], 0
    limits = facts.limits
    for vehicle in facts.vehicles:
        largest = max((c.size_bytes for c in clips_of(facts, vehicle).values()), default=0)
        for (day, scope), (clips, size_bytes) in vehicle.ledger.spent.items():
            kind, _, name = scope.partition("/")
            bound = limits.clips_of.get(name) if kind == "trigger" else limits.clips_per_day
            if bound is not None and clips > bound:
                problems.append(
                    f"{vehicle.vehicle_id}: {clips} clips of {scope}, day {day}: {bound}"
                )
            # A clip's size is known once it is packed: one may reach beyond the day's bytes.
            if size_bytes > limits.bytes_per_day + largest:
                problems.append(f"{vehicle.vehicle_id}: {size_bytes} bytes of {scope}, day {day}")
        for day in {day for day, _ in vehicle.ledger.spent}:
            pools = [n for (at, scope), n in vehicle.ledger.spent.items()
                     if at == day and scope.startswith("pool/")]  # fmt: skip
            total = sum(clips for clips, _ in pools)
            most = max(most, total)
            if total > limits.clips_per_day:
                problems.append(f"{vehicle.vehicle_id}: {total} clips on day {day}")
    evidence = f"most clips of a vehicle in a day: {most} of {limits.clips_per_day}"
    return _verdict("budgets", evidence, problems)


def events(facts: FleetFacts) -> Verdict:
    problems, total = [], 0
    for vehicle in facts.vehicles:
        ledger = vehicle.ledger
        there = len(records_of(facts, vehicle)) + ledger.outbox_dropped
        total += ledger.outbox_ever
        if there != ledger.outbox_ever:
            problems.append(
                f"{vehicle.vehicle_id}: {ledger.outbox_ever} event records were written,"
                f" {there} are in the cloud, waiting, refused or counted as dropped"
            )
        problems += [
            f"{vehicle.vehicle_id}: the cloud refused {record.event.text()}"
            for record in ledger.refused
        ]
    return _verdict("events", f"{total} event records written by vehicles", problems)


def told(facts: FleetFacts) -> Verdict:
    problems, total = [], 0
    for vehicle in facts.vehicles:
        records = records_of(facts, vehicle).values()
        counts = Counter(r.event.boot_id for r in records if r.outcome == "captured")
        for boot in vehicle.boots:
            total += boot.kept_fires
            missing = boot.kept_fires - counts[boot.boot_id] - boot.untold
            # The log's line comes before the record: a power cut may fall between.
            if missing > (boot.cut_mono_ns is not None) or missing < 0:
                problems.append(
                    f"{vehicle.vehicle_id}: {boot.kept_fires} fires kept on {boot.boot_id},"
                    f" {counts[boot.boot_id]} records of them"
                )
    return _verdict("told", f"{total} fires kept", problems)


def ledger_and_spool(facts: FleetFacts) -> Verdict:
    problems: list[str] = []
    for vehicle in facts.vehicles:
        problems += [f"{vehicle.vehicle_id}: {text}" for text in _disagreements(facts, vehicle)]
    cuts = sum(b.cut_mono_ns is not None for v in facts.vehicles for b in v.boots)
    settled = sum(len(vehicle.ledger.settled) for vehicle in facts.vehicles)
    return _verdict("ledger-and-spool", f"{settled} clips settled, {cuts} power cuts", problems)


def _disagreements(facts: FleetFacts, vehicle: VehicleFacts) -> Iterator[str]:
    ledger, clips = vehicle.ledger, clips_of(facts, vehicle)
    cuts = cuts_of(facts, vehicle)
    known = {clip.event for clip in clips.values()} | {t.event for t in ledger.tombstones}
    for event in sorted(ledger.settled - known):
        yield f"the ledger settled {event}, and there is no such clip"
    for clip in clips.values():
        if clip.event not in ledger.settled and not all(map(cuts.explain, clip.fires)):
            yield f"clip {clip.clip_id[:12]} was never settled"
        if not clip.is_sound:
            yield f"the bytes of clip {clip.clip_id[:12]} in the spool are not those of its id"
    yield from (f"{name} was left half written" for name in vehicle.active)
    pools = [n for (_, scope), n in ledger.spent.items() if scope.startswith("pool/")]
    charged = sum(clips for clips, _ in pools)
    if charged != len(ledger.settled) + len(ledger.reservations):
        yield (
            f"{charged} clips were charged, {len(ledger.settled)} settled and"
            f" {len(ledger.reservations)} reserved"
        )
    sizes = {clip.event: clip.size_bytes for clip in clips.values()}
    sizes |= {tomb.event: tomb.size_bytes for tomb in ledger.tombstones}
    wanted = sum(sizes.get(event, 0) for event in ledger.settled)
    wanted += sum(ledger.reservations.values())
    if sum(size_bytes for _, size_bytes in pools) != wanted:
        yield f"{sum(n for _, n in pools)} bytes were charged for clips of {wanted}"


def _verdict(name: str, evidence: str, problems: Iterable[str]) -> Verdict:
    found = list(problems)
    more = len(found) - MOST_PROBLEMS
    shown = found[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
    return Verdict(name, evidence, tuple(shown))


CHECKS: tuple[Callable[[FleetFacts], Verdict], ...] = (
    captured, once, origin, receipts, cellular, budgets, events, told, ledger_and_spool,
)  # fmt: skip
