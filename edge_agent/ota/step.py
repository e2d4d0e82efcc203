"""What the updater does next: a pure function of its state and what happened.

Guarantees, whatever the order of events and wherever a crash falls between two of them: what is
offered to the runtime was verified and self-tested before; a release that was rejected for good
is not offered again until the director offers it under a higher attempt; killed triggers stay in
the line-up's list until a newer word of the director takes them out. Events and commands are
those of `edge_agent.ota.events`.

A process that ends without `Stopped` while a release soaks points to that release: after
`MOST_STARTS` such starts it is taken back. A release that only waits for a safe state is not in
the hot path yet, so it gets `MOST_WAITING_STARTS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from contracts.ota import parse_slot
from edge_agent.ota.events import (
    Assigned,
    Collect,
    Command,
    Damaged,
    Event,
    Fetch,
    Observed,
    Offer,
    Ordered,
    Started,
    Stopped,
    TestBegun,
    Tested,
)
from edge_agent.ota.state import Floor, OtaState, Rejection, Release, SlotState, Stage

MOST_STARTS = 3
MOST_WAITING_STARTS = 10
MOST_TESTS = 2
MOST_REJECTED = 100


@dataclass(frozen=True, slots=True)
class SoakRules:
    """Driving after which a release is kept for good; shadow slots need none."""

    spec_driving_ns: int
    model_driving_ns: int

    def needed_ns(self, slot: str) -> int:
        parsed = parse_slot(slot)
        if parsed.shadow:
            return 0
        return self.spec_driving_ns if parsed.kind == "trigger" else self.model_driving_ns


def step(state: OtaState, event: Event, rules: SoakRules) -> tuple[OtaState, tuple[Command, ...]]:
    """The state after the event, and what follows from the change."""
    after = _after(state, event, rules)
    return after, tuple(_commands(state, after))


def _after(state: OtaState, event: Event, rules: SoakRules) -> OtaState:
    match event:
        case Started():
            return _started(state)
        case Stopped():
            return _stopped(state)
        case Ordered():
            return _ordered(state, event)
        case Assigned():
            return _assigned(state, event)
        case TestBegun(slot):
            held = state.slot(slot)
            return _with_slot(state, held.model_copy(update={"tests": held.tests + 1}))
        case Tested():
            return _tested(state, event)
        case Observed():
            return _observed(state, event, rules)
        case Damaged():
            return _damaged(state, event)


def _commands(before: OtaState, after: OtaState) -> Iterator[Command]:
    if lineup_of(before) != lineup_of(after):
        yield Offer()
    if pending(after) and pending(after) != pending(before):
        yield Fetch()
    if files_of(before) - files_of(after):
        yield Collect()


# What follows from a state ------------------------------------------------------------------


def lineup_of(state: OtaState) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Slots with the digests that shall run in them, and the killed triggers."""
    current = [(held.slot, held.current.digest) for held in state.slots if held.current is not None]
    return tuple(sorted(current)), tuple(sorted(state.killed))


def is_blocked(state: OtaState, slot: str, release: Release) -> bool:
    """Whether the release was rejected for good at this attempt or a later one."""
    return any(
        entry.final
        and (entry.slot, entry.digest) == (slot, release.digest)
        and entry.attempt >= release.attempt
        for entry in state.rejected
    )


def pending(state: OtaState) -> tuple[tuple[str, Release], ...]:
    """Releases to be fetched and tested, with their slots; small ones first."""
    wanted = [
        (held.slot, held.assigned)
        for held in state.slots
        if held.assigned is not None
        and (held.current is None or held.current.digest != held.assigned.digest)
        and not is_blocked(state, held.slot, held.assigned)
    ]
    return tuple(sorted(wanted, key=lambda pair: (_size_bytes(pair[1]), pair[0])))


def _size_bytes(release: Release) -> int:
    return sum(file.size_bytes for file in release.files)


def files_of(state: OtaState) -> frozenset[str]:
    """Digests of all files that run, may run again, or are about to."""
    releases = [release for _, release in pending(state)]
    for held in state.slots:
        releases += [kept for kept in (held.current, held.previous) if kept is not None]
    return frozenset(file.sha256 for release in releases for file in release.files)


# Events -------------------------------------------------------------------------------------


def _started(state: OtaState) -> OtaState:
    for held in state.slots:
        if held.tests > MOST_TESTS and held.assigned is not None:
            reason = f"the process ended {held.tests} times during the self-test"
            state = _with_slot(state, held.model_copy(update={"tests": 0}))
            state = _rejecting(state, held.slot, held.assigned, "self_test", reason)
    for held in state.slots:
        if held.current is None or held.phase == "committed":
            continue
        counted = held.model_copy(update={"starts": held.starts + 1})
        soaking = held.phase == "soaking"
        if counted.starts > (MOST_STARTS if soaking else MOST_WAITING_STARTS):
            doing = "soaked" if soaking else "waited to be activated"
            reason = f"the process was started {counted.starts} times while the release {doing}"
            state = _reverted(state, counted, "soak" if soaking else "activate", reason)
        else:
            state = _with_slot(state, counted)
    return state


def _stopped(state: OtaState) -> OtaState:
    for held in state.slots:
        update = {"tests": 0}
        if held.phase != "committed":
            update["starts"] = max(0, held.starts - 1)
        state = _with_slot(state, held.model_copy(update=update))
    return state


def _ordered(state: OtaState, event: Ordered) -> OtaState:
    taken_up = state.taken_up_counter
    if event.content != state.content:
        # With new keys the counter begins anew: this number may have been taken up before.
        taken_up = min(taken_up, event.counter - 1)
    return state.model_copy(
        update={
            "release_counter": event.counter,
            "taken_up_counter": taken_up,
            "content": event.content,
            "killed": event.killed,
            "floors": raised(state.floors, event.floors),
        }
    )


def raised(floors: Mapping[str, Floor], found: Mapping[str, Floor]) -> dict[str, Floor]:
    """The floors after these versions were verified."""
    return {**floors, **found}


def _assigned(state: OtaState, event: Assigned) -> OtaState:
    names = {held.slot for held in state.slots} & event.kept | set(event.releases)
    slots = [
        state.slot(name) if name in event.kept else _ordered_slot(state.slot(name), event)
        for name in sorted(names)
    ]
    # What was not final is judged by this word alone.
    rejected = (*(entry for entry in state.rejected if entry.final), *event.refused)
    after = state.model_copy(
        update={
            "taken_up_counter": event.counter,
            "slots": tuple(slots),
            "floors": raised(state.floors, event.floors),
        }
    )
    return _with_rejected(after, rejected)


def _ordered_slot(held: SlotState, event: Assigned) -> SlotState:
    release = event.releases[held.slot]
    update: dict[str, object] = {"assigned": release}
    if held.current is not None and held.current.digest == release.digest:
        # A lower attempt may have been rejected: what runs is the highest one offered.
        attempt = max(release.attempt, held.current.attempt)
        numbers = {"counter": release.counter, "attempt": attempt}
        update["current"] = held.current.model_copy(update=numbers)
    before = held.assigned
    if before is None or (before.digest, before.attempt) != (release.digest, release.attempt):
        update["tests"] = 0
    return held.model_copy(update=update)


def _tested(state: OtaState, event: Tested) -> OtaState:
    held = state.slot(event.slot)
    release = held.assigned
    if release is None or (release.digest, release.attempt) != (event.digest, event.attempt):
        return state  # the director has changed its mind meanwhile
    held = held.model_copy(update={"tests": 0})
    state = _with_slot(state, held)
    if event.reason:
        return _rejecting(state, event.slot, release, event.stage, event.reason)
    if (event.slot, release) not in pending(state):
        return state
    kept = held.current if held.phase == "committed" else held.previous
    update = {"current": release, "previous": kept, "phase": "waiting", "soaked_ns": 0, "starts": 0}
    return _with_slot(state, held.model_copy(update=update))


def _observed(state: OtaState, event: Observed, rules: SoakRules) -> OtaState:
    for fault in event.faults:
        held = state.slot(fault.slot.text)
        if held.current is not None and held.current.digest == fault.digest:
            state = _reverted(state, held, fault.stage, fault.reason)
    for held in state.slots:
        runs = held.current is not None and event.running.get(held.slot) == held.current.digest
        if runs and held.phase != "committed":
            state = _soaked(state, held, event.driven_ns, rules.needed_ns(held.slot))
    return state


def _soaked(state: OtaState, held: SlotState, driven_ns: int, needed_ns: int) -> OtaState:
    # Driving before the release was first seen to run is not driving with it.
    soaked_ns = held.soaked_ns + (driven_ns if held.phase == "soaking" else 0)
    held = held.model_copy(update={"phase": "soaking", "soaked_ns": soaked_ns})
    if soaked_ns < needed_ns:
        return _with_slot(state, held)
    return _with_slot(state, held.model_copy(update={"phase": "committed", "starts": 0}))


def _damaged(state: OtaState, event: Damaged) -> OtaState:
    """Back to the previous one, without blame: what is still assigned is fetched again."""
    held = state.slot(event.slot)
    if held.previous is not None and held.previous.digest == event.digest:
        held = held.model_copy(update={"previous": None})
    if held.current is not None and held.current.digest == event.digest:
        held = held.model_copy(update={"current": held.previous, "previous": None, **_AS_BEFORE})
    return _with_slot(state, held)


_AS_BEFORE = {"phase": "committed", "soaked_ns": 0, "starts": 0}


def _reverted(state: OtaState, held: SlotState, stage: Stage, reason: str) -> OtaState:
    """Take the current release back: the previous one runs again, or what is built in."""
    taken = held.current
    if taken is None:
        return state
    back = held.previous
    if back is not None and is_blocked(state, held.slot, back):
        back = None
    update = {"current": back, "previous": None, **_AS_BEFORE}
    state = _with_slot(state, held.model_copy(update=update))
    return _rejecting(state, held.slot, taken, stage, reason)


def _rejecting(state: OtaState, slot: str, release: Release, stage: Stage, reason: str) -> OtaState:
    entry = Rejection(
        slot=slot,
        digest=release.digest,
        attempt=release.attempt,
        stage=stage,
        reason=reason[:500],
    )
    same = (slot, release.digest)
    rest = tuple(old for old in state.rejected if (old.slot, old.digest) != same)
    return _with_rejected(state, (*rest, entry))


def _with_slot(state: OtaState, held: SlotState) -> OtaState:
    others = [other for other in state.slots if other.slot != held.slot]
    empty = held.assigned is None and held.current is None
    slots = others if empty else sorted([*others, held], key=lambda one: one.slot)
    return state.model_copy(update={"slots": tuple(slots)})


def _with_rejected(state: OtaState, rejected: tuple[Rejection, ...]) -> OtaState:
    """Bounded: the oldest go, but none that keeps an assigned release from being tried again."""
    assigned = {
        (held.slot, held.assigned.digest) for held in state.slots if held.assigned is not None
    }
    spare = [entry for entry in rejected if (entry.slot, entry.digest) not in assigned]
    dropped = spare[: max(0, len(rejected) - MOST_REJECTED)]
    kept = tuple(entry for entry in rejected if entry not in dropped)
    return state.model_copy(update={"rejected": kept})
