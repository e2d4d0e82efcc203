"""The pure step: its table, and what holds whatever the order of events and crashes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ids import sha256_hex
from contracts.ota import ReleaseId, Slot, parse_slot
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
from edge_agent.ota.ports import SlotFault
from edge_agent.ota.state import Floor, HeldFile, OtaState, Rejection, Release
from edge_agent.ota.step import (
    MOST_REJECTED,
    MOST_STARTS,
    MOST_TESTS,
    MOST_WAITING_STARTS,
    SoakRules,
    files_of,
    is_blocked,
    lineup_of,
    pending,
    step,
)

RULES = SoakRules(spec_driving_ns=10, model_driving_ns=30)
BRAKE, MODEL, SHADOW = "trigger:brake", "model", "model@shadow"


def release(slot: str, version: int, attempt: int = 1, counter: int = 1) -> Release:
    parsed = parse_slot(slot)
    named = ReleaseId(parsed.kind, parsed.name or "tiny", version)
    digest = sha256_hex(f"{slot.removesuffix('@shadow')} {version}".encode())
    file = HeldFile(path=named.path, sha256=digest, size_bytes=10 * version)
    return Release(path=named.path, digest=digest, files=(file,), counter=counter, attempt=attempt)


def after(state: OtaState, *events: Event) -> OtaState:
    for event in events:
        state = step(state, event, RULES)[0]
    return state


def installed(slot: str, version: int = 1, attempt: int = 1) -> tuple[Event, ...]:
    made = release(slot, version, attempt)
    return (
        Assigned(1, {slot: made}),
        TestBegun(slot),
        Tested(slot, made.digest, attempt),
    )


def kept(slot: str, version: int = 1) -> tuple[Event, ...]:
    running = {slot: release(slot, version).digest}
    return (*installed(slot, version), Observed(running), Observed(running, (), 1000))


def phase(state: OtaState, slot: str) -> str:
    return state.slot(slot).phase


def fault(slot: str, version: int) -> SlotFault:
    return SlotFault(parse_slot(slot), release(slot, version).digest, "soak", "it failed")


def test_a_release_waits_soaks_and_is_kept() -> None:
    running = {BRAKE: release(BRAKE, 1).digest}
    state = after(OtaState(), *installed(BRAKE))
    assert phase(state, BRAKE) == "waiting"
    state = after(state, Observed({}, (), 500))
    assert phase(state, BRAKE) == "waiting"
    # What was driven before it ran does not count.
    state = after(state, Observed(running, (), 500))
    assert (phase(state, BRAKE), state.slot(BRAKE).soaked_ns) == ("soaking", 0)
    state = after(state, Observed(running, (), 9), Observed({}, (), 500))
    assert (phase(state, BRAKE), state.slot(BRAKE).soaked_ns) == ("soaking", 9)
    assert phase(after(state, Observed(running, (), 1)), BRAKE) == "committed"


def test_a_shadow_needs_no_soak() -> None:
    state = after(OtaState(), *installed(SHADOW), Observed({SHADOW: release(SHADOW, 1).digest}))
    assert phase(state, SHADOW) == "committed"


def test_a_fault_takes_the_release_back_for_good() -> None:
    state = after(OtaState(), *kept(BRAKE, 1), *installed(BRAKE, 2))
    state, commands = step(state, Observed({}, (fault(BRAKE, 2),)), RULES)
    assert state.slot(BRAKE).current == release(BRAKE, 1)
    assert phase(state, BRAKE) == "committed"
    assert [(one.stage, one.reason) for one in state.rejected] == [("soak", "it failed")]
    assert Offer() in commands
    assert Collect() in commands
    again = after(state, Assigned(7, {BRAKE: release(BRAKE, 2, counter=7)}))
    assert pending(again) == ()
    higher = release(BRAKE, 2, attempt=2)
    assert pending(after(again, Assigned(8, {BRAKE: higher}))) == ((BRAKE, higher),)


def test_the_last_kept_release_is_the_way_back() -> None:
    """Not one that came and went while it was still soaking."""
    state = after(OtaState(), *kept(BRAKE, 1), *installed(BRAKE, 2), *installed(BRAKE, 3))
    state = after(state, Observed({}, (fault(BRAKE, 3),)))
    assert state.slot(BRAKE).current == release(BRAKE, 1)


def test_a_late_fault_of_what_is_gone_blames_nobody() -> None:
    state = after(OtaState(), *kept(BRAKE, 1), *installed(BRAKE, 2))
    assert after(state, Observed({}, (fault(BRAKE, 1),))) == state


def test_a_crash_loop_takes_a_soaking_release_back() -> None:
    running = {BRAKE: release(BRAKE, 2).digest}
    state = after(OtaState(), *kept(BRAKE, 1), *installed(BRAKE, 2), Observed(running))
    for _ in range(MOST_STARTS):
        state = after(state, Started(), Observed(running, (), 2))
        assert state.slot(BRAKE).current == release(BRAKE, 2)
    state, commands = step(state, Started(), RULES)
    assert state.slot(BRAKE).current == release(BRAKE, 1)
    assert state.rejected[0].stage == "soak"
    assert Offer() in commands


def test_orderly_ends_blame_nobody() -> None:
    state = after(OtaState(), *installed(MODEL), Observed({MODEL: release(MODEL, 1).digest}))
    for _ in range(5 * MOST_WAITING_STARTS):
        state = after(state, Started(), Stopped())
    assert state.slot(MODEL).current == release(MODEL, 1)


def test_what_only_waits_has_more_patience() -> None:
    state = after(OtaState(), *installed(MODEL))
    for _ in range(MOST_WAITING_STARTS):
        state = after(state, Started())
    assert state.slot(MODEL).current == release(MODEL, 1)
    state = after(state, Started())
    assert state.slot(MODEL).current is None
    assert state.rejected[0].stage == "activate"


def test_a_self_test_that_ends_the_process_is_not_tried_for_ever() -> None:
    state = after(OtaState(), *kept(MODEL, 1), Assigned(2, {MODEL: release(MODEL, 2)}))
    for _ in range(MOST_TESTS):
        state = after(state, TestBegun(MODEL), Started())
        assert pending(state)
    state = after(state, TestBegun(MODEL), Started())
    assert pending(state) == ()
    assert state.rejected[0].stage == "self_test"
    assert state.slot(MODEL).current == release(MODEL, 1)


def test_a_removed_slot_is_built_in_again() -> None:
    state = after(OtaState(), *kept(BRAKE, 1))
    state, commands = step(state, Assigned(2, {}), RULES)
    assert state.slots == ()
    assert set(commands) == {Offer(), Collect()}


def test_a_refused_slot_keeps_what_it_holds() -> None:
    state = after(OtaState(), *kept(BRAKE, 1))
    entry = Rejection(
        slot=BRAKE, digest="b" * 64, attempt=1, stage="verify", reason="no", final=False
    )
    refused = after(state, Assigned(2, {}, (entry,), frozenset({BRAKE})))
    assert refused.slots == state.slots
    assert refused.rejected == (entry,)
    # What was not final is judged anew with the next word.
    assert after(refused, Assigned(3, {BRAKE: release(BRAKE, 1)})).rejected == ()


def test_a_new_assignment_asks_to_fetch() -> None:
    _, commands = step(OtaState(), Assigned(1, {BRAKE: release(BRAKE, 1)}), RULES)
    assert commands == (Fetch(),)


def test_small_releases_come_first() -> None:
    state = after(OtaState(), Assigned(1, {MODEL: release(MODEL, 9), BRAKE: release(BRAKE, 1)}))
    assert [slot for slot, _ in pending(state)] == [BRAKE, MODEL]


def test_a_damaged_release_gives_way_without_blame() -> None:
    state = after(OtaState(), *kept(BRAKE, 1), *kept(BRAKE, 2))
    state = after(state, Damaged(BRAKE, release(BRAKE, 2).digest))
    assert state.slot(BRAKE).current == release(BRAKE, 1)
    assert state.rejected == ()
    assert pending(state) == ((BRAKE, release(BRAKE, 2)),)


def test_rejections_are_bounded_and_what_is_assigned_stays_blocked() -> None:
    first = release(BRAKE, 1)
    state = after(
        OtaState(), Assigned(1, {BRAKE: first}), Tested(BRAKE, first.digest, 1, "verify", "x")
    )
    for number in range(2 * MOST_REJECTED):
        slot = f"trigger:t{number}"
        made = release(slot, 1)
        state = after(
            state,
            Assigned(number + 2, {slot: made, BRAKE: first}),
            Tested(slot, made.digest, 1, "self_test", "x"),
        )
    assert len(state.rejected) == MOST_REJECTED
    assert is_blocked(state, BRAKE, first)


# Whatever happens ---------------------------------------------------------------------------

SLOTS = (BRAKE, "trigger:brake@shadow", MODEL, SHADOW)
_slot = st.sampled_from(SLOTS)
_version = st.integers(1, 3)
_attempt = st.integers(1, 2)


@dataclass
class Vehicle:
    """Carries out commands as the updater does, and checks what must hold after each event."""

    state: OtaState = field(default_factory=OtaState)
    durable: OtaState = field(default_factory=OtaState)
    files: set[str] = field(default_factory=set)
    tested: set[tuple[str, str]] = field(default_factory=set)
    rejected: set[tuple[str, str, int]] = field(default_factory=set)
    counter: int = 0

    def apply(self, event: Event) -> tuple[Command, ...]:
        before = self.state
        self.state, commands = step(self.state, event, RULES)
        # Only soak progress may be on the disk later than in memory.
        self.durable = self.state
        if Collect() in commands:
            self.files &= files_of(self.state)
        self.check(before, commands)
        return commands

    def check(self, before: OtaState, commands: tuple[Command, ...]) -> None:
        state = self.state
        (lineup, killed), changed = lineup_of(state), lineup_of(before) != lineup_of(state)
        assert (Offer() in commands) == changed
        for slot, digest in lineup:
            assert (slot, digest) in self.tested, "nothing runs that was not tested there"
            assert digest in self.files, "its files are here"
        # Once rejected is for ever, whatever the state remembers of it.
        self.rejected |= {(e.slot, e.digest, e.attempt) for e in state.rejected if e.final}
        running = [(held.slot, held.current) for held in state.slots if held.current is not None]
        for slot, one in [*running, *pending(state)]:
            worst = max(
                (a for s, digest, a in self.rejected if (s, digest) == (slot, one.digest)),
                default=0,
            )
            assert worst < one.attempt, "what was rejected neither runs nor is tried"
        assert killed == tuple(sorted(state.killed))
        assert files_of(state) >= {digest for _, digest in lineup}

    def crash(self) -> None:
        self.state = self.durable
        self.apply(Started())


@st.composite
def _assignments(draw: st.DrawFn) -> dict[str, tuple[int, int]]:
    return draw(st.dictionaries(_slot, st.tuples(_version, _attempt), max_size=4))


_happenings = st.one_of(
    st.tuples(st.just("order"), st.sets(st.sampled_from(("brake", "jerk")))),
    st.tuples(st.just("assign"), _assignments(), st.sets(_slot, max_size=1)),
    st.tuples(st.just("stage"), st.booleans()),
    st.tuples(st.just("half stage"), st.just(0)),
    st.tuples(st.just("watch"), st.integers(0, 40), st.sets(_slot)),
    st.tuples(st.just("fault"), _slot, _version),
    st.tuples(st.just("damage"), _slot),
    st.tuples(st.just("crash"), st.just(0)),
    st.tuples(st.just("stop"), st.just(0)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_happenings, max_size=40))
def test_what_holds_whatever_happens(happenings: list[tuple]) -> None:  # type: ignore[type-arg]
    vehicle = Vehicle()
    for what, *rest in happenings:
        match what:
            case "order":
                vehicle.counter += 1
                killed = tuple(sorted(rest[0]))
                vehicle.apply(Ordered(vehicle.counter, "c", killed))
                assert vehicle.state.killed == killed
            case "assign":
                releases = {
                    slot: release(slot, version, attempt, vehicle.counter + 1)
                    for slot, (version, attempt) in rest[0].items()
                    if slot not in rest[1]
                }
                vehicle.counter += 1
                vehicle.apply(Assigned(vehicle.counter, releases, (), frozenset(rest[1])))
            case "stage" | "half stage":
                for slot, wanted in pending(vehicle.state)[:1]:
                    vehicle.files.add(wanted.digest)
                    vehicle.apply(TestBegun(slot))
                    if what == "stage":
                        if rest[0]:
                            vehicle.tested.add((slot, wanted.digest))
                        reason = "" if rest[0] else "failed"
                        vehicle.apply(
                            Tested(slot, wanted.digest, wanted.attempt, "self_test", reason)
                        )
            case "watch":
                running = {
                    slot: digest
                    for slot, digest in lineup_of(vehicle.state)[0]
                    if slot not in rest[1]
                }
                vehicle.apply(Observed(running, (), rest[0]))
            case "fault":
                vehicle.apply(Observed({}, (fault(rest[0], rest[1]),)))
            case "damage":
                current = vehicle.state.slot(rest[0]).current
                if current is not None:
                    vehicle.apply(Damaged(rest[0], current.digest))
            case "crash":
                vehicle.crash()
            case "stop":
                vehicle.apply(Stopped())
                vehicle.crash()


def test_floors_take_the_newest_and_forget_none() -> None:
    old = {"image root": Floor(version=1, keyids=())}
    state = after(
        OtaState(),
        Ordered(1, "c", (), old),
        Assigned(1, {}, floors={"image targets": Floor(version=2, keyids=("a",))}),
    )
    assert set(state.floors) == {"image root", "image targets"}
    assert Slot("model").text == MODEL
