"""A small fleet driven through a rollout, and what would be told of a wrong one."""

from __future__ import annotations

import hashlib
import json
from math import ceil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import InputError
from sim_fleet.cli import app
from sim_fleet.scale.rollout.drive import RolloutOptions
from sim_fleet.scale.rollout.truth import Order, Standing, end_differences
from sim_fleet.scale.rollout.vehicle import DrivenVehicle, Held

IDS = [f"car-{number:06d}" for number in range(200)]
NOBODY: frozenset[str] = frozenset()


def in_order(salt: str) -> list[str]:
    ranks = {each: hashlib.sha256(f"{len(salt)}:{salt}{each}".encode()).digest() for each in IDS}
    return sorted(IDS, key=ranks.__getitem__)


def test_a_stage_allows_its_share_and_five_at_least() -> None:
    order = Order("r1", IDS)
    assert [order.limit(stage) for stage in range(4)] == [5, 10, 50, 200]
    assert Order("r1", IDS[:101]).limit(1) == ceil(0.05 * 101)


def test_who_is_beyond_the_stage_or_passed_over_is_told() -> None:
    order, first = Order("r1", IDS), in_order("r1")

    def found(stage: int, ordered: list[str], failed: frozenset[str] = NOBODY) -> list[str]:
        return order.differences(Standing("running", stage, frozenset(ordered)), failed)

    assert found(0, first[:5]) == found(1, first[:5]) == found(3, first) == found(0, []) == []
    assert "1 vehicles beyond stage 1" in found(0, first[:6])[0]
    assert "1 vehicles were passed over" in found(1, [*first[:3], first[4]])[0]
    assert found(1, [*first[:3], first[4]], frozenset({first[3]})) == []
    assert found(0, in_order("r2")[:5]) != []


def test_at_the_end_order_vehicle_and_manifest_have_to_agree() -> None:
    fleet = [DrivenVehicle(IDS[n], is_unfit=n == 2) for n in range(3)]
    digest = "d" * 64
    for each in fleet:
        each.held = Held("trigger:x", 1, digest, 1)
    standing = Standing("done", 3, frozenset(IDS[:3]))
    running = {IDS[0]: digest, IDS[1]: digest, IDS[2]: None}
    assert end_differences(fleet, standing, running, digest) == []
    assert len(end_differences(fleet, standing, running | {IDS[1]: None}, digest)) == 1
    assert len(end_differences(fleet, standing, running | {IDS[2]: digest}, digest)) == 1
    unordered = Standing("running", 2, frozenset(IDS[1:3]))
    assert len(end_differences(fleet, unordered, running, digest)) == 2
    fleet[0].held = None
    assert len(end_differences(fleet, standing, running, digest)) == 1


def test_options_that_cannot_be() -> None:
    for wrong in ({"vehicles": 5}, {"connections": 0}, {"unfit_ratio": 0.05}):
        with pytest.raises(InputError):
            RolloutOptions(**{"vehicles": 20, **wrong})  # type: ignore[arg-type]


def test_every_vehicle_of_a_small_fleet_gets_what_its_stage_allows(tmp_path: Path) -> None:
    words = ["scale", "--rollout", "--vehicles", "40", "--connections", "8", "--json"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "rollout.json").read_text("utf-8"))
    assert report["is_exact"] and report["differences"] == []
    assert (report["phase"], report["vehicles"]) == ("done", 40)
    assert report["seen"][-1] == {"stage": 4, "fraction": 1.0, "limit": 40, "ordered": 40}
    assert all(each["ordered"] <= each["limit"] for each in report["seen"])
    # Two for a token, a check-in each round; and for the release four and one more check-in.
    assert report["check_ins"] == 40 * (report["rounds"] + 1)
    assert report["requests"] == 40 * (2 + report["rounds"] + 1 + 4)
