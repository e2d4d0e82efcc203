"""The columns decide as the agent does: budgets, caps, and what is sent next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.clip import Cause
from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES, EventKey
from contracts.trigger_spec import LoadedSpec
from edge_agent.ledger import CellularSpent, Ledger
from edge_agent.ledger.spending import POOLS
from edge_agent.ports import Link
from edge_agent.selection.budget import BudgetBook, Keep, VehicleLimits
from edge_agent.spool import PRIORITIES, Entry
from edge_agent.spool.eviction import eviction_rank
from edge_agent.upload import policy
from sim_fleet.scale.budgets import KEPT, REASONS, Budgets
from sim_fleet.scale.caps import CellularBooks, next_clips, wire_estimates, worth_starting
from sim_fleet.scale.fleet import make_rules, trigger_rules
from sim_fleet.scale.rates import ScaleRates, published_specs
from sim_fleet.scale.spools import Spools

START_NS = 20_454 * NS_PER_DAY


def tight_specs() -> list[LoadedSpec]:
    """The published specs with budgets that a few fires exhaust."""
    tight = []
    for number, loaded in enumerate(published_specs()):
        budget = loaded.spec.budget.model_copy(
            update={"clips_per_day": 3 + number % 5, "bytes_per_day": (4 + number % 3) * 10**7}
        )
        spec = loaded.spec.model_copy(update={"budget": budget})
        tight.append(loaded.model_copy(update={"spec": spec}))
    return tight


def cause_of(loaded: LoadedSpec, at_ns: int) -> Cause:
    return Cause(
        trigger_id=loaded.spec.id, trigger_version=1, spec_digest="0" * 64,
        kind=loaded.spec.kind, fired_mono_ns=at_ns, start_mono_ns=at_ns, end_mono_ns=at_ns,
        score=1.0, safety=loaded.is_safety,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "clips", "megabytes", "reason"),
    [(1, 12, 120, "vehicle_bytes"), (2, 8, 10_000, "vehicle_clips"), (3, 300, 60, "vehicle_bytes")],
)
def test_budgets_are_those_of_the_agents_own_book(
    seed: int, clips: int, megabytes: int, reason: str, tmp_path: Path
) -> None:
    """Moments of several vehicles over two days, against `BudgetBook` over a real ledger."""
    rng = np.random.default_rng(seed)
    specs = tight_specs()
    limits = VehicleLimits(clips_per_day=clips, bytes_per_day=megabytes * 10**6)
    count = 3
    budgets = Budgets(count, trigger_rules(specs), limits)
    clock = VirtualClock(utc_ns=START_NS)
    ledgers = [Ledger(tmp_path / f"{n}.sqlite", clock, "boot") for n in range(count)]
    books = [BudgetBook(ledger, limits) for ledger in ledgers]
    seen = set()
    at_ns = 10 * NS_PER_S
    for number in range(120):
        if number == 80:
            clock.set_mono_ns(clock.mono_ns() + NS_PER_DAY)
            budgets.new_day()
        at_ns += int(rng.choice((1, 4, 40, 400))) * NS_PER_S
        who = np.arange(count)
        most = 4
        triggers = np.stack([rng.permutation(len(specs))[:most] for _ in who])
        triggers[np.arange(most) >= rng.integers(1, most + 1, count)[:, None]] = -1
        size = rng.integers(10**6, 25 * 10**6, count)
        verdicts = budgets.admit(who, triggers, np.full(count, at_ns), size)
        for vehicle in range(count):
            fired = [specs[k] for k in triggers[vehicle] if k >= 0]
            told = [books[vehicle].admit(loaded, at_ns) for loaded in fired]
            expected = [KEPT if isinstance(v, Keep) else REASONS.index(v.reason) for v in told]
            assert verdicts[vehicle, : len(fired)].tolist() == expected
            seen |= set(expected)
            kept = [each for each, v in zip(fired, told, strict=True) if isinstance(v, Keep)]
            if kept:
                event = EventKey(vehicle_id="car", boot_id="boot", start_mono_ns=at_ns,
                                 end_mono_ns=at_ns)  # fmt: skip
                books[vehicle].settle(
                    event,
                    [cause_of(each, at_ns) for each in kept],
                    any(each.spec.kind == "random_baseline" for each in kept),
                    int(size[vehicle]),
                )
            for k, loaded in enumerate(specs):
                spent = ledgers[vehicle].spending.of(loaded.spec.id)
                assert spent.trigger.clips == budgets.trigger_clips[vehicle, k]
                assert spent.trigger.size_bytes == budgets.trigger_bytes[vehicle, k]
                assert [spent.pools[p].clips for p in POOLS] == budgets.pool_clips[vehicle].tolist()
                assert [spent.pools[p].size_bytes for p in POOLS] == budgets.pool_bytes[
                    vehicle
                ].tolist()
    for ledger in ledgers:
        ledger.close()
    assert {REASONS[code] for code in seen if code >= 0} >= {"cooldown", "budget_clips", reason}


def test_wire_bytes_and_allowances_are_the_policys() -> None:
    rng = np.random.default_rng(4)
    sizes = np.concatenate([[0, 1, PART_BYTES], rng.integers(0, 4 * 10**9, 500)])
    assert wire_estimates(sizes).tolist() == [policy.wire_estimate(s) for s in sizes.tolist()]
    limits = policy.CellularLimits(50 * 10**6, 10**9)
    books = CellularBooks(500, limits)
    books.day_bytes[:] = rng.integers(0, 60 * 10**6, 500)
    books.month_bytes[:] = books.day_bytes + rng.integers(0, 10**9, 500)
    who = np.arange(500)
    spent = [CellularSpent(int(d), int(m)) for d, m in
             zip(books.day_bytes, books.month_bytes, strict=True)]  # fmt: skip
    left = [policy.payload_allowance(each, limits) for each in spent]
    assert books.payload_allowance(who).tolist() == left
    assert books.event_allowance(who).tolist() == [
        policy.event_allowance(each, limits) for each in spent
    ]
    clip = rng.integers(1, 20 * 10**6, 500)
    link = Link("cellular")
    going = worth_starting(clip, np.array(left))
    for number in range(500):
        queue = [entry(number, size_bytes=int(clip[number]), cellular="allowed")]
        found = policy.decide(queue, link, spent[number], limits, 0, policy.ServerAdvice())
        assert isinstance(found, policy.Send) == going[number]
    before = books.day_bytes.copy()
    goes = books.charge(who, np.full(500, 2000))
    assert 0 < goes.sum() < 500
    assert ((books.day_bytes - before) == np.where(goes, policy.wire_estimate(2000), 0)).all()


def entry(number: int, **changed: Any) -> Entry:
    fields: dict[str, Any] = {
        "clip_id": f"{number:064x}", "size_bytes": 1000, "priority": "normal",
        "cellular": "allowed", "value": 1.0, "sequence": number, "utc_ns": 0, "state": "queued",
        "safety": False, "stream": "triggered",
    }  # fmt: skip
    return Entry(**(fields | changed))


def test_the_next_clip_is_the_policys() -> None:
    rng = np.random.default_rng(5)
    count, slots = 400, 6
    level = rng.integers(0, len(PRIORITIES), (count, slots))
    size = rng.choice((1000, 2000, 4000), (count, slots))
    sequence = np.stack([rng.permutation(slots) for _ in range(count)])
    there = rng.random((count, slots)) < 0.6
    current = np.where(rng.random(count) < 0.5, rng.integers(0, slots, count), -1)
    current = np.where(there[np.arange(count), current] & (current >= 0), current, -1)
    chosen = next_clips(level, 1.0 / size, sequence, current, there)
    for row in range(count):
        queue = [
            entry(slot, size_bytes=int(size[row, slot]), priority=PRIORITIES[level[row, slot]],
                  sequence=int(sequence[row, slot]))
            for slot in range(slots)
            if there[row, slot]
        ]  # fmt: skip
        under_way = f"{current[row]:064x}" if current[row] >= 0 else None
        found = policy.decide(
            queue, Link("wifi"), CellularSpent(0, 0), policy.CellularLimits(), 0,
            policy.ServerAdvice(), under_way,
        )  # fmt: skip
        expected = int(found.clip_id, 16) if isinstance(found, policy.Send) else -1
        assert chosen[row] == expected


def test_a_full_spool_gives_up_what_the_agents_would() -> None:
    rng = np.random.default_rng(6)
    rules = make_rules(ScaleRates())
    specs = published_specs()
    slots = 4
    spools = Spools(1, slots, rules.clips)
    held: list[Entry] = []
    one = np.array([0])
    for number in range(200):
        trigger = int(rng.integers(len(specs)))
        size = int(rng.integers(10**6, 2 * 10**6))
        loaded = specs[trigger]
        priority = loaded.spec.upload.priority
        newcomer = entry(
            number, size_bytes=size, priority=priority, safety=loaded.is_safety,
            value=float(rules.clips.value[PRIORITIES.index(priority)]),
            stream="random" if loaded.spec.kind == "random_baseline" else "triggered",
        )  # fmt: skip
        spools.put(one, one, np.array([[trigger]]), np.array([[True]]), np.array([size]),
                   np.array([0.0]))  # fmt: skip
        held.append(newcomer)
        if len(held) > slots:
            # Among equals the newcomer stays out, as `below` of the agent's choice has it.
            worst = min(held[:-1], key=eviction_rank)
            is_worse = eviction_rank(worst)[:2] < eviction_rank(newcomer)[:2]
            held.remove(worst if is_worse else newcomer)
        numbers = {each.sequence for each in held}
        assert set(spools.number[0][spools.number[0] >= 0].tolist()) == numbers
    assert spools.evicted == 200 - slots
    assert spools.held[0] == slots
