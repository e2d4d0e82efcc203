"""The ledger: durable, restart-safe, and on a time that no wall clock bends."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.errors import CorruptError, InputError
from contracts.ids import EventKey
from edge_agent.ledger import Ledger, Tombstone
from edge_agent.ledger.cellular import month_of
from edge_agent.ledger.records import HELD_NS
from edge_agent.ledger.spending import Spending
from edge_agent.ledger.store import LedgerStore
from tests.edge_agent.upload_rig import BOOT, VEHICLE, cause, record

HOUR_NS = 3600 * NS_PER_S


def ledger_at(tmp_path: Path, clock: VirtualClock, boot_id: str = BOOT) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", clock, boot_id)


def event(number: int = 0) -> EventKey:
    return EventKey(vehicle_id=VEHICLE, boot_id=BOOT, start_mono_ns=number, end_mono_ns=number + 10)


@pytest.mark.parametrize("jump_ns", [-40 * NS_PER_DAY, -NS_PER_DAY, NS_PER_DAY, 40 * NS_PER_DAY])
def test_a_wall_clock_jump_moves_no_budget_day(tmp_path: Path, jump_ns: int) -> None:
    clock = VirtualClock()
    ledger = ledger_at(tmp_path, clock)
    day = ledger.budget_day()
    clock.jump_utc_ns(jump_ns)
    assert ledger.budget_day() == day
    ledger.close()
    assert ledger_at(tmp_path, clock).budget_day() == day
    clock.set_mono_ns(NS_PER_DAY)
    assert ledger_at(tmp_path, clock).budget_day() == day + 1


def test_a_new_boot_goes_on_from_the_floor_or_from_a_later_wall_clock(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = ledger_at(tmp_path, clock)
    clock.set_mono_ns(30 * HOUR_NS)
    day = ledger.budget_day()
    ledger.close()
    dead_clock = VirtualClock(utc_ns=0)
    behind = ledger_at(tmp_path, dead_clock, "boot-2")
    assert behind.budget_day() == day
    behind.close()
    later = VirtualClock(utc_ns=clock.utc_ns() + 9 * NS_PER_DAY)
    assert ledger_at(tmp_path, later, "boot-3").budget_day() == day + 9


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("jump"), st.integers(-400 * NS_PER_DAY, 400 * NS_PER_DAY)),
            st.tuples(st.just("run"), st.integers(0, 2 * NS_PER_DAY)),
            st.tuples(st.just("restart"), st.just(0)),
            st.tuples(st.just("crash"), st.just(0)),
        ),
        max_size=12,
    )
)
def test_budget_time_is_elapsed_time_within_a_boot(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    clock = VirtualClock()
    ledger = ledger_at(folder, clock)
    begin_ns = ledger.budget_utc_ns()
    for step, amount in steps:
        if step == "jump":
            clock.jump_utc_ns(amount)
        elif step == "run":
            clock.set_mono_ns(clock.mono_ns() + amount)
        else:
            if step == "restart":
                ledger.close()
            ledger = ledger_at(folder, clock)
        assert ledger.budget_utc_ns() == begin_ns + clock.mono_ns()


def test_reservations_and_settlements_survive_and_count_once(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = ledger_at(tmp_path, clock)
    assert ledger.spending.reserve(("a", 5), "ordinary", 100)
    assert not ledger.spending.reserve(("a", 5), "ordinary", 100)
    assert ledger.spending.reserve(("b", 6), "safety", 0)
    # No close: this is a crash.
    ledger = ledger_at(tmp_path, clock)
    spent = ledger.spending.of("a")
    assert (spent.trigger.clips, spent.trigger.size_bytes) == (1, 100)
    assert spent.last_fire_mono_ns == 5
    assert spent.pools["safety"].clips == 1
    fires = [("a", 5), ("b", 6)]
    assert ledger.spending.settle(event(), fires, "safety", 700)
    assert not ledger.spending.settle(event(), fires, "safety", 700)
    spent = ledger.spending.of("a")
    assert (spent.trigger.clips, spent.trigger.size_bytes, spent.clip_bytes) == (1, 700, 700)
    assert spent.pools["ordinary"].clips == 0
    assert (spent.pools["safety"].clips, spent.pools["safety"].size_bytes) == (1, 700)


def test_a_repacked_event_gives_its_reservation_back(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, VirtualClock())
    ledger.spending.settle(event(), [("a", 5)], "ordinary", 10)
    ledger.spending.reserve(("a", 5), "ordinary", 10)
    assert ledger.spending.of("a").trigger.clips == 2
    assert not ledger.spending.settle(event(), [("a", 5)], "ordinary", 10)
    assert ledger.spending.of("a").trigger.clips == 1


def test_two_fires_of_one_trigger_in_one_clip_cost_one(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, VirtualClock())
    for fired in (5, 9):
        ledger.spending.reserve(("a", fired), "ordinary", 0)
    ledger.spending.settle(event(), [("a", 5), ("a", 9)], "ordinary", 10)
    spent = ledger.spending.of("a")
    assert (spent.trigger.clips, spent.pools["ordinary"].clips) == (1, 1)


def test_release_gives_back_once(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, VirtualClock())
    ledger.spending.reserve(("a", 5), "random", 50)
    assert ledger.spending.release([("a", 5)])
    assert not ledger.spending.release([("a", 5)])
    spent = ledger.spending.of("a")
    assert (spent.trigger.clips, spent.pools["random"].size_bytes) == (0, 0)


def test_a_cooldown_that_begins_while_another_thread_writes_is_kept(tmp_path: Path) -> None:
    """Noted after the marks were written and before the transaction has ended."""
    clock = VirtualClock()
    ledger_at(tmp_path, clock).close()
    store = LedgerStore(tmp_path / "ledger.sqlite", clock, BOOT)
    spending = Spending(store)

    class Meanwhile:
        def write(self, connection: sqlite3.Connection) -> None:
            spending.note_fire(("a", 9))
            spending.note_fire(("b", 7))

        def ended(self, committed: bool) -> None:
            pass

    spending.note_fire(("a", 5))
    store.add_rider(Meanwhile())
    with store.transaction():
        pass
    assert spending.of("a").last_fire_mono_ns == 9
    assert spending.of("b").last_fire_mono_ns == 7
    again = ledger_at(tmp_path, clock)  # a crash: what was not on disk yet is what was written
    assert again.spending.of("a").last_fire_mono_ns == 5


def test_a_settlement_after_midnight_is_charged_to_the_day_of_the_fire(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = ledger_at(tmp_path, clock)
    ledger.spending.reserve(("a", 5), "ordinary", 0)
    clock.set_mono_ns(NS_PER_DAY)
    ledger.spending.settle(event(), [("a", 5)], "ordinary", 10)
    assert ledger.spending.of("a").trigger.clips == 0


def test_cellular_debits_stand_after_a_crash(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = ledger_at(tmp_path, clock)
    first = ledger.cellular.debit(1000)
    assert ledger.cellular.settle(first, 600)
    assert not ledger.cellular.settle(first, 0)
    ledger.cellular.debit(500)
    ledger = ledger_at(tmp_path, clock, "boot-2")
    assert ledger.cellular.spent().day_bytes == 1100
    clock.set_mono_ns(NS_PER_DAY)
    spent = ledger.cellular.spent()
    assert (spent.day_bytes, spent.month_bytes) == (0, 1100)
    with pytest.raises(InputError):
        ledger.cellular.debit(-1)


def test_months_are_those_of_the_calendar() -> None:
    leap_day = 19782  # 2024-02-29
    assert month_of(leap_day) == (19754, 19782)
    assert month_of(leap_day + 1) == (19783, 19813)


def test_suppressions_count_every_fire(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = ledger_at(tmp_path, clock)
    for _ in range(3):
        ledger.suppressions.count("a", "cooldown")
    ledger.suppressions.count("a", "disk", 2)
    found = {(row.trigger_id, row.reason): row.fires for row in ledger.suppressions.rows()}
    assert found == {("a", "cooldown"): 3, ("a", "disk"): 2}


def test_suppressions_reach_the_disk_within_the_time_stated(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = ledger_at(tmp_path, clock)
    ledger.suppressions.count("a", "cooldown")
    clock.set_mono_ns(HELD_NS)
    ledger.suppressions.count("a", "cooldown")
    after_crash = ledger_at(tmp_path, clock)
    assert [row.fires for row in after_crash.suppressions.rows()] == [2]


def test_counts_are_kept_when_a_transaction_fails(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, VirtualClock())
    ledger.suppressions.count("a", "cooldown")
    with pytest.raises(ZeroDivisionError), ledger.spending._store.transaction():
        raise ZeroDivisionError
    assert [row.fires for row in ledger.suppressions.rows()] == [1]


def test_tombstones_are_one_for_each_clip_and_numbered(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, VirtualClock())
    stones = [
        Tombstone(
            clip_id=letter * 64,
            budget_utc_ns=1,
            size_bytes=5,
            value=0.5,
            priority="low",
            stream="triggered",
            safety=False,
            uploaded=False,
            reason="room",
        )
        for letter in "ab"
    ]
    assert [ledger.tombstones.add(stone) for stone in (*stones, stones[0])] == [True, True, False]
    (first, found), (second, _) = ledger.tombstones.after()
    assert found == stones[0]
    assert [number for number, _ in ledger.tombstones.after(first)] == [second]


def test_outbox_is_durable_ordered_and_set_apart(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = ledger_at(tmp_path, clock)
    assert ledger.outbox.put(record(1))
    assert not ledger.outbox.put(record(1))
    safety = record(2, cause=cause(safety=True))
    assert ledger.outbox.put(safety)
    ledger = ledger_at(tmp_path, clock)
    rows = ledger.outbox.waiting()
    assert [type(safety).model_validate_json(row.body) for row in rows] == [safety, record(1)]
    ledger.outbox.sent(rows[0].number)
    ledger.outbox.refuse(rows[1].number, "422 schema")
    assert ledger.outbox.waiting() == ()
    assert ledger.outbox.refused() == ((rows[1].number, "422 schema"),)


def test_an_event_record_over_its_bound_is_rejected(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path, VirtualClock())
    with pytest.raises(InputError, match="at most 2048 bytes"):
        ledger.outbox.put(record(1, cause=cause(evidence_text="x" * 2000)))


def test_the_outbox_is_bounded_and_says_what_it_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.ledger.outbox.MAX_ROWS", 2)
    ledger = ledger_at(tmp_path, VirtualClock())
    ledger.outbox.put(record(1, cause=cause(safety=True)))
    for number in (2, 3, 4):
        ledger.outbox.put(record(number))
    waiting = [type(record()).model_validate_json(row.body) for row in ledger.outbox.waiting()]
    assert [found.event.start_mono_ns for found in waiting] == [1, 4]
    assert [(row.reason, row.fires) for row in ledger.suppressions.rows()] == [("outbox", 2)]


def test_a_damaged_ledger_is_reported_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database, " * 100)
    before = path.read_bytes()
    with pytest.raises(CorruptError, match=r"ledger\.sqlite"):
        ledger_at(tmp_path, VirtualClock())
    assert path.read_bytes() == before


def test_a_ledger_of_newer_software_is_refused(tmp_path: Path) -> None:
    ledger_at(tmp_path, VirtualClock()).close()
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(InputError, match="schema 9"):
        ledger_at(tmp_path, VirtualClock())


def test_a_schema_that_is_no_text_is_a_damaged_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, VirtualClock(), "boot").close()
    content = path.read_bytes()
    assert b"CREATE TABLE total(" in content
    path.write_bytes(content.replace(b"CREATE TABLE total(", b"CREATE T\xc5BLE total("))
    with pytest.raises(CorruptError, match="no text"):
        Ledger(path, VirtualClock(), "boot")
