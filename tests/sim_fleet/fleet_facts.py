"""The end of a sound run, small enough to read, for tests to doctor."""

from __future__ import annotations

from contracts.clip import Cause
from contracts.clock import NS_PER_S
from contracts.ids import EventKey
from contracts.upload import EventRecord
from sim_fleet.fleet.facts import (
    BootFacts,
    ClipFacts,
    FleetFacts,
    LedgerFacts,
    Limits,
    TombFacts,
    VehicleFacts,
)

CAR, DAY = "sim-001", 20_000
WHOLE, CUT = "sim-001-t0-1", "sim-001-t1-1"
CUT_S = 200


def record(boot: str, at_s: float, outcome: str = "captured") -> EventRecord:
    """The record of a `jerk` that fired `at_s` into a boot."""
    fired_ns = round(at_s * NS_PER_S)
    cause = Cause(
        trigger_id="jerk", trigger_version=1, spec_digest="a" * 64, kind="jerk",
        fired_mono_ns=fired_ns, start_mono_ns=fired_ns, end_mono_ns=fired_ns + 5, score=1.0,
    )  # fmt: skip
    event = EventKey(vehicle_id=CAR, boot_id=boot, start_mono_ns=fired_ns, end_mono_ns=fired_ns + 5)
    return EventRecord(event=event, utc_ns=5, cause=cause, outcome=outcome)  # type: ignore[arg-type]


def key(boot: str, at_s: float) -> tuple[str, str, int]:
    return boot, "jerk", round(at_s * NS_PER_S)


def clip(letter: str, boot: str, *fires_s: float, state: str = "ready") -> ClipFacts:
    """A clip of 1000 bytes with these fires."""
    start, end = round(fires_s[0] * NS_PER_S), round(fires_s[-1] * NS_PER_S) + 5
    return ClipFacts(
        letter * 64, CAR, f"{CAR}/{boot}/{start}-{end}",
        tuple(key(boot, at_s) for at_s in fires_s), 1000, state,
    )  # fmt: skip


def sound() -> FleetFacts:
    """One vehicle, two boots, the second of which ended in a power cut at `CUT_S`.

    Clip a (two fires) and b are in the cloud, a still in the spool as uploaded; c waits in the
    spool; d was evicted; one fire was told as lost, one was lost at the cut.
    """
    a, b = clip("a", WHOLE, 110, 115), clip("b", WHOLE, 150)
    c, d = clip("c", CUT, 110), clip("d", WHOLE, 160)
    told = [record(WHOLE, s) for s in (110, 115, 150, 160, 170)]
    told += [record(WHOLE, 170, "lost"), record(CUT, 110)]
    waiting = record(CUT, CUT_S - 3)
    ledger = LedgerFacts(
        settled=frozenset(each.event for each in (a, b, c, d)),
        reservations={("jerk", (CUT_S - 3) * NS_PER_S): 700},
        spent={(DAY, "pool/ordinary"): (5, 4700), (DAY, "trigger/jerk"): (5, 4700)},
        cellular={DAY: 5000},
        tombstones=(TombFacts(d.clip_id, d.event, 1000, False, "room"),),
        waiting=(waiting,),
        outbox_ever=8,
    )
    boots = (
        BootFacts(WHOLE, None, DAY, 3000, 5),
        BootFacts(CUT, CUT_S * NS_PER_S, DAY, 1000, 2),
    )
    spool = (clip("a", WHOLE, 110, 115, state="uploaded"), clip("c", CUT, 110, state="queued"))
    return FleetFacts(
        (VehicleFacts(CAR, boots, spool, ledger),), (a, b), tuple(told),
        Limits(8000, 10, 100_000, {"jerk": 6}),
    )  # fmt: skip
