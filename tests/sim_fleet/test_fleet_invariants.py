"""Each invariant holds on a sound end of a run, and fails on one that was doctored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from contracts.clock import NS_PER_S
from sim_fleet.fleet.facts import FleetFacts, TombFacts
from sim_fleet.fleet.invariants import CHECKS, MOST_PROBLEMS, check_all
from tests.sim_fleet.fleet_facts import CUT, CUT_S, DAY, WHOLE, clip, record, sound

Change = Callable[[FleetFacts], FleetFacts]


def vehicle(**changes: Any) -> Change:
    return lambda facts: replace(facts, vehicles=(replace(facts.vehicles[0], **changes),))


def ledger(**changes: Any) -> Change:
    def change(facts: FleetFacts) -> FleetFacts:
        return vehicle(ledger=replace(facts.vehicles[0].ledger, **changes))(facts)

    return change


def boot(number: int, **changes: Any) -> Change:
    def change(facts: FleetFacts) -> FleetFacts:
        boots = list(facts.vehicles[0].boots)
        boots[number] = replace(boots[number], **changes)
        return vehicle(boots=tuple(boots))(facts)

    return change


def cloud(*clips: Any) -> Change:
    return lambda facts: replace(facts, cloud_clips=clips)


def more_events(*records: Any) -> Change:
    return lambda facts: replace(facts, cloud_events=(*facts.cloud_events, *records))


A, B = clip("a", WHOLE, 110, 115), clip("b", WHOLE, 150)

BROKEN: list[tuple[str, str, Change]] = [
    ("captured", "a clip vanished", cloud(A)),
    ("captured", "a clip left the spool without a tombstone", vehicle(spool=())),
    ("captured", "one fire is in two clips", cloud(A, B, clip("e", WHOLE, 150, 151))),
    ("captured", "no power cut explains the loss", boot(1, cut_mono_ns=None)),
    ("captured", "the cut came long after", boot(1, cut_mono_ns=(CUT_S + 90) * NS_PER_S)),
    ("captured", "a cut without a standing reservation", ledger(reservations={})),
    ("captured", "evicted without a tombstone", ledger(tombstones=())),
    ("once", "two rows of one clip", cloud(A, B, B)),
    ("once", "two clips of one event", cloud(A, B, replace(B, clip_id="e" * 64))),
    ("once", "other bytes than the id says", cloud(A, replace(B, is_sound=False))),
    ("once", "a clip that cannot be used", cloud(A, replace(B, state="quarantined"))),
    ("once", "two rows of one event record", more_events(record(WHOLE, 110))),
    ("origin", "a vehicle that is none of ours", cloud(A, B, replace(B, vehicle_id="x"))),
    ("origin", "a clip that nobody made", cloud(A, B, clip("f", WHOLE, 180))),
    ("origin", "a record of a boot that never was", more_events(record("other", 5))),
    ("receipts", "marked as uploaded, not there", cloud(B)),
    ("receipts", "evicted as uploaded, not there",
     ledger(tombstones=(TombFacts("d" * 64, clip("d", WHOLE, 160).event, 1000, True, "room"),))),
    ("cellular", "the ledger's day is over the cap", ledger(cellular={DAY: 9000})),
    ("cellular", "the relay's day is over the cap", boot(0, metered_bytes=8500)),
    ("cellular", "the ledger is below the relay", boot(0, metered_bytes=4500)),
    ("budgets", "a trigger's clips",
     ledger(spent={(DAY, "trigger/jerk"): (7, 5), (DAY, "pool/ordinary"): (5, 4700)})),
    ("budgets", "the vehicle's clips",
     ledger(spent={(DAY, "pool/ordinary"): (6, 5), (DAY, "pool/safety"): (5, 5)})),
    ("budgets", "the vehicle's bytes", ledger(spent={(DAY, "pool/ordinary"): (5, 200_000)})),
    ("events", "a record is missing", ledger(waiting=())),
    ("events", "a record too many", ledger(outbox_ever=7)),
    ("events", "the cloud refused one", ledger(waiting=(), refused=(record(CUT, CUT_S - 3),))),
    ("told", "a kept fire without a record", boot(0, kept_fires=6)),
    ("told", "a record without a kept fire", boot(0, kept_fires=4)),
    ("told", "two missing at one cut", boot(1, kept_fires=4)),
    ("ledger-and-spool", "settled, and no such clip", ledger(tombstones=())),
    ("ledger-and-spool", "a clip that was never settled",
     ledger(settled=sound().vehicles[0].ledger.settled - {A.event})),
    ("ledger-and-spool", "half a clip was left", vehicle(active=("x.active",))),
    ("ledger-and-spool", "more clips were charged than there are",
     ledger(spent={(DAY, "pool/ordinary"): (6, 4700)})),
    ("ledger-and-spool", "other bytes were charged",
     ledger(spent={(DAY, "pool/ordinary"): (5, 4701)})),
    ("ledger-and-spool", "the spool's bytes changed",
     vehicle(spool=(replace(clip("c", CUT, 110, state="queued"), is_sound=False),))),
]  # fmt: skip


def test_a_sound_run_holds() -> None:
    verdicts = check_all(sound())
    assert len(verdicts) == len(CHECKS) == 9
    assert [(v.name, v.problems) for v in verdicts if not v.holds] == []
    assert all(v.evidence for v in verdicts)
    assert verdicts[0].evidence == (
        "captured fires: 1 evicted, 1 in a spool, 3 in the cloud, 1 lost at a power cut,"
        " 1 told as lost"
    )


@pytest.mark.parametrize(
    ("name", "what", "change"), BROKEN, ids=[f"{n}: {w}" for n, w, _ in BROKEN]
)
def test_each_invariant_can_fail(name: str, what: str, change: Change) -> None:
    broken = {verdict.name for verdict in check_all(change(sound())) if not verdict.holds}
    assert name in broken, what


def test_every_invariant_is_tried() -> None:
    assert {name for name, _, _ in BROKEN} == {verdict.name for verdict in check_all(sound())}


def test_a_power_cut_explains_what_was_open_and_nothing_before() -> None:
    """Fires that would have gone into one clip with the last one are lost with it."""
    chain_s = [CUT_S - 3, CUT_S - 33, CUT_S - 63]
    early_s = CUT_S - 150
    facts = boot(1, kept_fires=5)(sound())
    facts = ledger(
        waiting=tuple(record(CUT, s) for s in (*chain_s, early_s)),
        reservations={("jerk", s * NS_PER_S): 700 for s in (*chain_s, early_s)},
        outbox_ever=11,
    )(facts)
    (captured, *_) = check_all(facts)
    assert len(captured.problems) == 1
    assert f"{early_s:.2f} s" in captured.problems[0]


def test_many_problems_are_told_shortly() -> None:
    rows = [clip("0123456789"[i], "nowhere", 100 + i) for i in range(9)]
    verdict = next(v for v in check_all(cloud(A, B, *rows)(sound())) if v.name == "origin")
    assert len(verdict.problems) == MOST_PROBLEMS + 1
    assert verdict.problems[-1] == "and 4 more"
