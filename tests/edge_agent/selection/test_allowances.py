"""Fires, drives and cellular bytes: limits beside the ledger's, over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.ids import EventKey
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.ledger import Ledger
from edge_agent.selection.allowances import Allowances
from edge_agent.selection.budget import BudgetBook, Keep, Suppress, VehicleLimits, Verdict
from kernels.triggers.cause import cause_of
from kernels.triggers.engine import Fire


def spec(budget: str = "", kind: str = "jerk", more: str = "", name: str = "t") -> LoadedSpec:
    return parse_spec(
        f"apiVersion: longtail/v1\nkind: {kind}\nid: {name}\nversion: 1\nowner: x\ncooldown: 0s\n"
        f"budget: {{clips_per_day: 1000{budget}}}\n{more}",
        f"{name}.yaml",
    )


class Vehicle:
    """A book over files that outlive it."""

    def __init__(self, folder: Path, drive: str = "d1", limits: VehicleLimits | None = None,
                 clock: VirtualClock | None = None, boot: str = "b1") -> None:  # fmt: skip
        self.clock = clock or VirtualClock(utc_ns=20_000 * NS_PER_DAY)
        self.ledger = Ledger(folder / "ledger.sqlite", self.clock, boot)
        self.book = BudgetBook(
            self.ledger, limits or VehicleLimits(),
            allowances=Allowances(folder / "allowances.json", drive),
        )  # fmt: skip
        self.boot = boot

    def fire(self, loaded: LoadedSpec, at_s: float) -> Verdict:
        return self.book.admit(loaded, round(at_s * NS_PER_S))

    def packed(self, loaded: LoadedSpec, at_s: float, size_bytes: int) -> None:
        at_ns = round(at_s * NS_PER_S)
        cause = cause_of(Fire(loaded, at_ns, at_ns, at_ns, 1.0, {}, ""))
        event = EventKey(vehicle_id="v", boot_id=self.boot, start_mono_ns=at_ns, end_mono_ns=at_ns)
        assert self.book.settle(event, [cause], False, size_bytes)


def reasons(verdicts: list[Verdict]) -> list[str]:
    return ["kept" if isinstance(v, Keep) else v.reason for v in verdicts]


def test_clips_of_a_drive_over_a_restart_and_another_drive(tmp_path: Path) -> None:
    loaded = spec(", clips_per_drive: 2")
    vehicle = Vehicle(tmp_path)
    assert reasons([vehicle.fire(loaded, 1)]) == ["kept"]
    again = Vehicle(tmp_path, clock=vehicle.clock)  # killed before anything was closed
    found = reasons([again.fire(loaded, t) for t in (2, 3, 4)])
    assert found == ["kept", "trigger_drive_clips", "trigger_drive_clips"]
    assert reasons([Vehicle(tmp_path, "d2", clock=vehicle.clock).fire(loaded, 5)]) == ["kept"]


def test_bytes_of_a_drive_are_what_clips_took(tmp_path: Path) -> None:
    loaded, vehicle = spec(", bytes_per_drive: 1kB"), Vehicle(tmp_path)
    assert isinstance(vehicle.fire(loaded, 1), Keep)
    vehicle.packed(loaded, 1, 600)
    assert vehicle.fire(loaded, 2) == Suppress("trigger_drive_bytes")  # the next is as large
    small = spec(", bytes_per_drive: 1kB", name="small")
    assert isinstance(vehicle.fire(small, 3), Keep)


def test_a_vehicles_drive_has_reserves_too(tmp_path: Path) -> None:
    limits = VehicleLimits(1000, 10**12, 0.5, 0.0, clips_per_drive=4)
    vehicle = Vehicle(tmp_path, limits=limits)
    plain = reasons([vehicle.fire(spec(), t) for t in (1, 2, 3)])
    assert plain == ["kept", "kept", "drive_clips"]
    brakes = spec(kind="hard_brake", name="brakes")
    assert reasons([vehicle.fire(brakes, t) for t in (4, 5, 6)]) == ["kept", "kept", "drive_clips"]


def test_fires_of_a_day_count_whether_kept_or_not(tmp_path: Path) -> None:
    loaded = spec(", fires_per_day: 3").model_copy()
    tight = parse_spec(loaded.text.replace("clips_per_day: 1000", "clips_per_day: 1"), "t.yaml")
    vehicle = Vehicle(tmp_path)
    found = reasons([vehicle.fire(tight, t) for t in (1, 2, 3, 4)])
    assert found == ["kept", "budget_clips", "budget_clips", "budget_fires"]
    again = Vehicle(tmp_path, clock=vehicle.clock)
    assert again.fire(tight, 5) == Suppress("budget_fires")
    vehicle.clock.set_mono_ns(NS_PER_DAY)
    assert reasons([Vehicle(tmp_path, clock=vehicle.clock).fire(tight, 90_000)]) == ["kept"]


def test_cellular_bytes_of_a_day(tmp_path: Path) -> None:
    loaded = spec(", cellular_bytes_per_day: 1kB", more="upload: {cellular: allowed}\n")
    other = spec(more="upload: {cellular: allowed}\n", name="other")
    vehicle = Vehicle(tmp_path)
    assert vehicle.book.may_use_cellular([loaded], 700)
    again = Vehicle(tmp_path, clock=vehicle.clock)
    assert not again.book.may_use_cellular([loaded], 700)
    assert again.book.may_use_cellular([loaded], 300)
    assert again.book.may_use_cellular([loaded, other], 10**9)  # the other has no such limit
    vehicle.clock.set_mono_ns(NS_PER_DAY)
    assert Vehicle(tmp_path, clock=vehicle.clock).book.may_use_cellular([loaded], 700)


def test_a_clip_that_does_not_come_gives_back(tmp_path: Path) -> None:
    loaded, vehicle = spec(", clips_per_drive: 1"), Vehicle(tmp_path)
    assert isinstance(vehicle.fire(loaded, 1), Keep)
    cause = cause_of(Fire(loaded, NS_PER_S, NS_PER_S, NS_PER_S, 1.0, {}, ""))
    vehicle.book.release([cause], "duplicate")
    assert isinstance(vehicle.fire(loaded, 2), Keep)
    counted = {
        (row.trigger_id, row.reason): row.fires for row in vehicle.ledger.suppressions.rows()
    }
    assert counted == {("t", "duplicate"): 1}


def test_nothing_is_written_while_nobody_has_such_a_limit(tmp_path: Path) -> None:
    vehicle = Vehicle(tmp_path)
    assert isinstance(vehicle.fire(spec(), 1), Keep)
    vehicle.packed(spec(), 1, 10)
    assert not (tmp_path / "allowances.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"day": "x"}', '{"day": 1, "fires": 3}'])
def test_a_damaged_file_begins_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "allowances.json").write_text(content)
    vehicle = Vehicle(tmp_path)
    loaded = spec(", clips_per_drive: 1")
    assert reasons([vehicle.fire(loaded, t) for t in (1, 2)]) == ["kept", "trigger_drive_clips"]


def test_a_remote_request_is_answered_once(tmp_path: Path) -> None:
    """In clips while it lasts, not again on the same boot or on another; lost clips come again."""
    request = spec(
        kind="operator_bookmark", name="ask",
        more="when: {source: remote, lasts: 20s}\nmode: level\n",
    )  # fmt: skip
    vehicle = Vehicle(tmp_path)
    assert reasons([vehicle.fire(request, t) for t in (1, 11, 21)]) == ["kept"] * 3
    for t in (1, 11, 21):
        vehicle.packed(request, t, 100)
    assert vehicle.fire(request, 60) == Suppress("done")
    vehicle.ledger.close()
    other = Vehicle(tmp_path, "d2", boot="b2")
    assert other.fire(request, 1) == Suppress("done")
    (tmp_path / "lost").mkdir()
    first = Vehicle(tmp_path / "lost")
    assert isinstance(first.fire(request, 1), Keep)  # its clip never came
    first.ledger.close()
    assert isinstance(Vehicle(tmp_path / "lost", "d2", boot="b2").fire(request, 1), Keep)
