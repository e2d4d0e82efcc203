"""Budgets: which fires are kept, and that no order of events exceeds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.errors import ExhaustedError, InputError
from contracts.ids import EventKey
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.ledger import DaySpending, Ledger, Pool, Spent
from edge_agent.selection.budget import (
    BudgetBook,
    Fire,
    Keep,
    Now,
    Suppress,
    VehicleLimits,
    decide,
    fire_of,
)
from tests.edge_agent.upload_rig import BOOT, VEHICLE, cause

POOLS: tuple[Pool, ...] = ("ordinary", "safety", "random")


def spec(name: str = "jerky", kind: str = "jerk", **lines: str) -> LoadedSpec:
    when = "{probability: 0.5}" if kind == "random_baseline" else "{}"
    text = [
        "apiVersion: longtail/v1",
        f"kind: {kind}",
        f"id: {name}",
        "version: 1",
        "owner: tests",
        f"when: {when}",
        *(f"{key}: {value}" for key, value in {"cooldown": "0s", **lines}.items()),
    ]
    return parse_spec("\n".join(text) + "\n", f"{name}.yaml")


def spending(
    clips: int = 0,
    size_bytes: int = 0,
    last_fire_mono_ns: int | None = None,
    clip_bytes: int = 0,
    **pools: tuple[int, int],
) -> DaySpending:
    return DaySpending(
        day=100,
        trigger=Spent(clips, size_bytes),
        pools={pool: Spent(*pools.get(pool, (0, 0))) for pool in POOLS},
        last_fire_mono_ns=last_fire_mono_ns,
        clip_bytes=clip_bytes,
    )


def fire(pool: Pool = "ordinary", **changed: object) -> Fire:
    fields: dict[str, object] = {
        "trigger_id": "t",
        "pool": pool,
        "fired_mono_ns": 1000,
        "cooldown_ns": 100,
        "clips_per_day": 5,
        "bytes_per_day": 1000,
    }
    return Fire(**{**fields, **changed})  # type: ignore[arg-type]


LIMITS = VehicleLimits(10, 10_000, safety_reserve_ratio=0.3, random_reserve_ratio=0.2)


@pytest.mark.parametrize(
    ("asked", "spent", "now", "verdict"),
    [
        (fire(), spending(), Now(100), Keep(1)),
        (fire(), spending(clip_bytes=40), Now(100), Keep(40)),
        (fire(expires_day=100), spending(), Now(100), Suppress("expired")),
        (fire(expires_day=101), spending(), Now(100), Keep(1)),
        (fire(), spending(last_fire_mono_ns=901), Now(100), Suppress("cooldown")),
        (fire(), spending(last_fire_mono_ns=900), Now(100), Keep(1)),
        (fire(), spending(last_fire_mono_ns=5000), Now(100), Keep(1)),
        (fire(shadow=True), spending(), Now(100), Suppress("shadow")),
        (fire(), spending(), Now(100, disk_ok=False), Suppress("disk")),
        (fire(), spending(clips=5), Now(100), Suppress("budget_clips")),
        (fire(), spending(size_bytes=1000), Now(100), Suppress("budget_bytes")),
        (fire(), spending(size_bytes=900, clip_bytes=101), Now(100), Suppress("budget_bytes")),
        (fire(), spending(ordinary=(5, 0)), Now(100), Suppress("vehicle_clips")),
        (fire(), spending(ordinary=(0, 5000)), Now(100), Suppress("vehicle_bytes")),
        (fire("safety"), spending(ordinary=(5, 0)), Now(100), Keep(1)),
        (fire("safety"), spending(safety=(8, 0)), Now(100), Suppress("vehicle_clips")),
        (fire("random"), spending(safety=(8, 0)), Now(100), Keep(1)),
        (fire(), spending(safety=(3, 0), random=(2, 0), ordinary=(4, 0)), Now(100), Keep(1)),
    ],
)
def test_decisions(asked: Fire, spent: DaySpending, now: Now, verdict: object) -> None:
    assert decide(asked, spent, LIMITS, now) == verdict


def test_a_spec_says_whose_reserve_it_draws_on() -> None:
    assert fire_of(spec(kind="hard_brake"), 1).pool == "safety"
    assert fire_of(spec(kind="random_baseline"), 1).pool == "random"
    assert fire_of(spec(kind="jerk"), 1).pool == "ordinary"
    assert fire_of(spec(upload="{priority: safety}"), 1).pool == "safety"
    loaded = spec(target="{expires: 1970-01-03, shadow: true}")
    assert (fire_of(loaded, 1).expires_day, fire_of(loaded, 1).shadow) == (2, True)


def test_reserves_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(InputError):
        VehicleLimits(10, 10, 0.8, 0.3)
    with pytest.raises(InputError):
        VehicleLimits(-1, 10)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(POOLS), st.integers(0, 400)), max_size=80),
    st.integers(0, 30),
    st.integers(0, 5000),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
def test_no_order_of_fires_exceeds_the_day_or_eats_a_reserve(
    fires: list[tuple[Pool, int]], clips: int, size_bytes: int, safety: float, random: float
) -> None:
    limits = VehicleLimits(clips, size_bytes, safety, random)
    used = dict.fromkeys(POOLS, Spent())
    for pool, expected_bytes in fires:
        asked = fire(pool, clips_per_day=10**6, bytes_per_day=10**9)
        spent = DaySpending(100, Spent(), dict(used), None, expected_bytes)
        verdict = decide(asked, spent, limits, Now(100))
        if isinstance(verdict, Keep):
            had = used[pool]
            used[pool] = Spent(had.clips + 1, had.size_bytes + verdict.expected_bytes)
    assert sum(spent.clips for spent in used.values()) <= clips
    assert sum(spent.size_bytes for spent in used.values()) <= size_bytes
    for pool in ("safety", "random"):
        others = sum(spent.clips for other, spent in used.items() if other != pool)
        assert others <= clips - limits.reserve(pool, clips)


def book(
    tmp_path: Path, clock: VirtualClock, limits: VehicleLimits = LIMITS, boot_id: str = BOOT
) -> tuple[BudgetBook, Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, boot_id)
    return BudgetBook(ledger, limits), ledger


def test_admit_counts_every_fire(tmp_path: Path) -> None:
    clock = VirtualClock()
    budget, ledger = book(tmp_path, clock)
    loaded = spec(budget="{clips_per_day: 2, bytes_per_day: 1GB}", cooldown="10s")
    verdicts = [budget.admit(loaded, second * NS_PER_S) for second in (1, 5, 11, 21, 25, 31)]
    assert [isinstance(verdict, Keep) for verdict in verdicts] == [
        True, False, True, False, False, False,
    ]  # fmt: skip
    counted = {row.reason: row.fires for row in ledger.suppressions.rows()}
    assert counted == {"cooldown": 2, "budget_clips": 2}


def test_cooldown_survives_a_restart_and_ends_with_the_boot(tmp_path: Path) -> None:
    clock = VirtualClock()
    loaded = spec(cooldown="10s")
    budget, _ = book(tmp_path, clock)
    assert isinstance(budget.admit(loaded, 100 * NS_PER_S), Keep)
    budget, ledger = book(tmp_path, clock)
    assert budget.admit(loaded, 105 * NS_PER_S) == Suppress("cooldown")
    ledger.close()
    budget, _ = book(tmp_path, clock, boot_id="boot-2")
    assert isinstance(budget.admit(loaded, 105 * NS_PER_S), Keep)


def test_the_same_fire_is_reserved_once(tmp_path: Path) -> None:
    budget, ledger = book(tmp_path, VirtualClock())
    loaded = spec()
    assert budget.admit(loaded, 7) == budget.admit(loaded, 7) == Keep(1)
    assert ledger.spending.of("jerky").trigger.clips == 1


def test_shadow_counts_would_be_clips_and_spends_nothing(tmp_path: Path) -> None:
    budget, ledger = book(tmp_path, VirtualClock())
    loaded = spec(target="{shadow: true}", cooldown="10s")
    for second in (1, 5, 11):
        budget.admit(loaded, second * NS_PER_S)
    counted = {row.reason: row.fires for row in ledger.suppressions.rows()}
    assert counted == {"shadow": 2, "cooldown": 1}
    assert ledger.spending.of("jerky").trigger.clips == 0


def test_settle_charges_bytes_and_release_gives_back(tmp_path: Path) -> None:
    budget, ledger = book(tmp_path, VirtualClock())
    loaded = spec(budget="{clips_per_day: 9, bytes_per_day: 1kB}")
    event = EventKey(vehicle_id=VEHICLE, boot_id=BOOT, start_mono_ns=1, end_mono_ns=9)
    budget.admit(loaded, 5)
    causes = [cause("jerky", 5)]
    assert budget.settle(event, causes, random=False, size_bytes=700)
    assert not budget.settle(event, causes, random=False, size_bytes=700)
    assert budget.admit(loaded, 50) == Suppress("budget_bytes")
    other = spec("other")
    budget.admit(other, 5)
    budget.release([cause("other", 5)], "duplicate")
    budget.release([cause("other", 5)], "duplicate")
    assert ledger.spending.of("other").trigger.clips == 0
    counted = {(row.trigger_id, row.reason): row.fires for row in ledger.suppressions.rows()}
    assert counted == {("jerky", "budget_bytes"): 1, ("other", "duplicate"): 1}


def test_a_full_disk_suppresses_and_the_daemon_goes_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", VirtualClock(), BOOT)
    budget = BudgetBook(ledger, LIMITS, has_room=lambda pool: pool == "safety")
    assert budget.admit(spec(), 5) == Suppress("disk")
    assert isinstance(budget.admit(spec("brake", "hard_brake"), 6), Keep)

    def full(*_: object) -> bool:
        raise ExhaustedError("the disk is full")

    ledger.spending.reserve = full  # type: ignore[method-assign]
    assert budget.admit(spec("brake2", "hard_brake"), 7) == Suppress("disk")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(["fire", "fire", "fire", "crash", "back", "ahead", "hour", "settle"]),
        max_size=60,
    )
)
def test_jumps_and_crashes_never_multiply_a_day(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("budget")
    clock = VirtualClock(utc_ns=1_700_000_000 * NS_PER_S // NS_PER_DAY * NS_PER_DAY)
    limits = VehicleLimits(4, 10**9, 0, 0)
    budget, _ = book(folder, clock, limits)
    loaded = spec(budget="{clips_per_day: 3, bytes_per_day: 1GB}")
    kept: list[int] = []
    for step in steps:
        clock.set_mono_ns(clock.mono_ns() + 1)
        now_ns = clock.mono_ns()
        if step == "fire" and isinstance(budget.admit(loaded, now_ns), Keep):
            kept.append(now_ns)
        elif step == "settle" and kept:
            event = EventKey(
                vehicle_id=VEHICLE, boot_id=BOOT, start_mono_ns=kept[-1], end_mono_ns=kept[-1]
            )
            budget.settle(event, [cause("jerky", kept[-1])], random=False, size_bytes=1000)
        elif step == "crash":
            budget, _ = book(folder, clock, limits)
        elif step in ("back", "ahead"):
            clock.jump_utc_ns(2 * NS_PER_DAY if step == "ahead" else -2 * NS_PER_DAY)
        elif step == "hour":
            clock.set_mono_ns(now_ns + 3600 * NS_PER_S)
    for day in range(clock.mono_ns() // NS_PER_DAY + 1):
        assert sum(at // NS_PER_DAY == day for at in kept) <= 3
