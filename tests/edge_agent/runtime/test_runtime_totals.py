"""Totals last, only rise, and cost no write of their own; version 1 of the ledger goes on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import VirtualClock
from contracts.errors import ExhaustedError, InputError
from edge_agent.ledger import Ledger
from edge_agent.ledger.store import MIGRATIONS, SCHEMA_VERSION

BOOT = "boot-1"


def ledger_at(path: Path) -> Ledger:
    return Ledger(path / "ledger.sqlite", VirtualClock(), BOOT)


def version_1(path: Path) -> None:
    """A ledger as the software before wrote it, with something in it."""
    with sqlite3.connect(path / "ledger.sqlite") as connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute("PRAGMA user_version=1")
        connection.execute("INSERT INTO meta VALUES('boot_id', ?)", (BOOT,))
        connection.execute("INSERT INTO meta VALUES('anchor_mono_ns', 0)")
        connection.execute(
            "INSERT INTO meta VALUES('anchor_utc_ns', ?)", (20_000 * 86_400 * 10**9,)
        )
        connection.execute("INSERT INTO meta VALUES('floor_utc_ns', 0)")
        connection.execute("INSERT INTO spent VALUES(20000, 'trigger/jerky', 3, 700)")
        connection.execute("INSERT INTO trigger_state VALUES('jerky', ?, 5, 90)", (BOOT,))
    connection.close()


def test_a_ledger_of_version_1_is_taken_over(tmp_path: Path) -> None:
    version_1(tmp_path)
    ledger = ledger_at(tmp_path)
    spent = ledger.spending.of("jerky")
    assert (spent.day, spent.trigger.clips, spent.clip_bytes) == (20_000, 3, 90)
    assert spent.last_fire_mono_ns == 5
    ledger.totals.watch(lambda: {"frames": 7})
    ledger.close()
    again = ledger_at(tmp_path)
    assert again.totals.all()["frames"] == 7
    (version,) = again._store.rows("PRAGMA user_version")[0]
    assert version == SCHEMA_VERSION == 2
    assert again.spending.of("jerky").trigger.clips == 3


def test_a_ledger_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("PRAGMA user_version=3")
    connection.close()
    with pytest.raises(InputError, match="schema 3, this software knows 2"):
        ledger_at(tmp_path)


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=8),
        max_size=4,
    )
)
def test_totals_are_the_sum_over_all_runs(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[str, int, bool]]]
) -> None:
    """Some runs end in a crash: they lose at most what was counted since the last write."""
    folder = tmp_path_factory.mktemp("totals")
    expected: dict[str, float] = {}
    for run in runs:
        ledger = ledger_at(folder)
        counted: dict[str, float] = {}
        ledger.totals.watch(lambda counted=counted: dict(counted))  # type: ignore[misc]
        for name, amount, flush in run:
            counted[name] = counted.get(name, 0) + amount
            expected[name] = expected.get(name, 0) + amount
            if flush:
                ledger.suppressions.flush()
            now = ledger.totals.all()
            assert {k: now.get(k, 0) for k in expected} == expected
        ledger.close()
    found = ledger_at(folder).totals.all()
    assert {name: found.get(name, 0) for name in expected} == expected


def test_a_failed_write_loses_nothing(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    counted = {"frames": 3.0}
    ledger.totals.watch(lambda: dict(counted))
    with pytest.raises(ExhaustedError), ledger._store.transaction():
        raise ExhaustedError("the disk is full")
    assert ledger_at(tmp_path).totals.all().get("frames", 0) == 0
    ledger.close()
    assert ledger_at(tmp_path).totals.all()["frames"] == 3


def test_starts_that_did_not_end_in_order(tmp_path: Path) -> None:
    def start(end: bool) -> tuple[float, float]:
        ledger = ledger_at(tmp_path)
        ledger.totals.start()
        if end:
            ledger.totals.end()
            ledger.close()
        found = ledger.totals.all()
        return found["starts"], found["unclean_starts"]

    assert [start(True), start(False), start(False), start(True), start(True)] == [
        (1, 0), (2, 0), (3, 1), (4, 2), (5, 2),
    ]  # fmt: skip
