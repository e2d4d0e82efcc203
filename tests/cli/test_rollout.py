"""`longtail rollout`, `fleet` and the releases' part of `spec`, against a real service."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from cli.main import main
from cli.rollout_request import stages_of
from contracts.errors import InputError
from tests.cloud_ingest.conftest import database_url, postgres, start_cloud, tables
from tests.cloud_ingest.fleet_support import (
    BRAKE,
    OpenFleet,
    SimulatedFleet,
    open_fleet,
    publish,
    spec,
    withdraw,
)

__all__ = ["database_url", "open_fleet", "postgres", "start_cloud", "tables"]

WHY = ("--reason", "release day", "--actor", "ann")
QUICK = ("--stages", "50,100", "--soak", "0s", "--soak-driving", "0s", "--canary", "1",
         "--no-guardrails")  # fmt: skip

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    """Four vehicles in contact, and two versions of a spec."""
    found = open_fleet(4)
    publish(found.tables, spec(1), spec(2))
    found.check_in_all()
    return found


@pytest.fixture
def longtail(
    fleet: SimulatedFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The command in this process: exit code, standard output and error."""
    monkeypatch.setenv("LONGTAIL_CLOUD", fleet.server.url)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["longtail", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            structlog.reset_defaults()  # it was given this test's standard error
        out, err = capsys.readouterr()
        return code, out, err

    return run


def as_json(answer: tuple[int, str, str]) -> Any:
    code, out, err = answer
    assert code == 0, err
    return json.loads(out)


def to_the_end(fleet: SimulatedFleet, rollout_id: str) -> str:
    for _ in range(8):
        phase = str(fleet.detail(rollout_id)["phase"])
        if phase in ("done", "halted", "aborted"):
            return phase
        fleet.spend()
    return phase


def test_a_spec_goes_from_shadow_to_work_and_back(fleet: SimulatedFleet, longtail: Run) -> None:
    code, out, err = longtail("spec", "promote", "hard-brake@2", *WHY)
    assert (code, out) == (1, "")
    assert "has not run in shadow" in err and len(err.strip().splitlines()) == 1
    made = as_json(longtail("rollout", "start", "--spec", "hard-brake", "--shadow", *WHY, "--json"))
    assert (made["version"], made["shadow"], made["stages"]) == (2, True, 1)
    assert to_the_end(fleet, made["rollout_id"]) == "done"
    assert fleet.holding(spec(2), f"{BRAKE}@shadow") == set(fleet.vehicles)
    promoted = as_json(longtail("spec", "promote", "hard-brake@2", *QUICK, *WHY, "--json"))
    assert (promoted["shadow"], promoted["stages"], promoted["created_by"]) == (False, 2, "ann")
    assert to_the_end(fleet, promoted["rollout_id"]) == "done"
    assert fleet.holding(spec(2)) == set(fleet.vehicles)
    watched = as_json(longtail("rollout", "watch", BRAKE, "--json"))
    assert watched["rollout_id"] == promoted["rollout_id"]
    code, out, _ = longtail("spec", "history", "hard-brake")
    assert code == 0
    assert out.count("hard-brake 2") == 2 and promoted["rollout_id"] in out
    told = as_json(longtail("spec", "history", "hard-brake", "--json"))
    assert [row["version"] for row in told["releases"]] == [1, 2]
    assert [row["shadow"] for row in told["rollouts"]] == [False, True]
    back = as_json(longtail("spec", "rollback", "hard-brake", *WHY, "--json"))
    assert (back["version"], back["stages"]) == (0, 1)
    assert to_the_end(fleet, back["rollout_id"]) == "done"
    assert fleet.holding(spec(2)) == set()
    assert {row[0] for row in fleet.assigned().values()} == {3}
    code, _, err = longtail("spec", "rollback", "hard-brake", *WHY)
    assert (code, "built-in one works already" in err) == (1, True)


def test_a_rollback_aborts_what_is_live_else_climbs_down_one_version(
    fleet: SimulatedFleet, longtail: Run
) -> None:
    for version in ("1", "2"):
        words = ("trigger", "hard-brake", version)
        made = as_json(longtail("rollout", "start", *words, *QUICK, *WHY, "--json"))
        assert to_the_end(fleet, made["rollout_id"]) == "done"
    publish(fleet.tables, spec(3))
    live = as_json(
        longtail("spec", "promote", "hard-brake", "--without-shadow", *QUICK, *WHY, "--json")
    )
    assert live["version"] == 3
    code, _, err = longtail("spec", "rollback", "hard-brake", "--to", "1", *WHY)
    assert (code, "is live" in err) == (1, True)
    aborted = as_json(longtail("spec", "rollback", "hard-brake", *WHY, "--json"))
    assert aborted["rollout_id"] == live["rollout_id"]
    assert to_the_end(fleet, live["rollout_id"]) == "aborted"
    assert fleet.ordered(spec(2)) == set(fleet.vehicles)
    down = as_json(longtail("spec", "rollback", "hard-brake", *WHY, "--json"))
    assert down["version"] == 1
    assert to_the_end(fleet, down["rollout_id"]) == "done"
    assert fleet.holding(spec(1)) == set(fleet.vehicles)
    # Not up again to what was taken back, and not to what was withdrawn.
    assert as_json(longtail("spec", "rollback", "hard-brake", *WHY, "--json"))["version"] == 0
    withdraw(fleet.tables, spec(3))
    code, _, err = longtail("spec", "promote", "hard-brake@3", "--without-shadow", *WHY)
    assert (code, "withdrawn" in err) == (1, True)


def test_orders_to_a_rollout(fleet: SimulatedFleet, longtail: Run) -> None:
    arguments = ("trigger", "hard-brake", "2", "--wait", *QUICK, *WHY, "--json")
    made = as_json(longtail("rollout", "start", *arguments))
    assert made["phase"] == "planned"
    rollout_id = made["rollout_id"]
    phases = [
        as_json(longtail("rollout", verb, rollout_id, *WHY, "--json"))["phase"]
        for verb in ("begin", "pause", "resume")
    ]
    assert phases == ["running", "paused", "running"]
    assert as_json(longtail("rollout", "advance", BRAKE, *WHY, "--json"))["stage"] == 2
    code, out, err = longtail("rollout", "begin", rollout_id, *WHY)
    assert (code, out) == (1, "")
    assert "start is for planned" in err
    assert as_json(longtail("rollout", "abort", rollout_id, *WHY, "--json"))["phase"] == "aborted"
    code, out, _ = longtail("rollout", "watch", rollout_id)
    assert (code, "aborted" in out) == (1, True)
    assert longtail("rollout", "watch", rollout_id, "--until", "aborted")[0] == 0
    lines = as_json(longtail("rollout", "history", rollout_id, "--json"))
    ordered = [line["action"] for line in lines if line["actor"] == "ann"]
    assert ordered == ["start", "pause", "resume", "advance", "start", "abort"]
    code, out, _ = longtail("rollout", "history", rollout_id)
    assert "refused: start is for planned" in " ".join(out.split())
    code, out, _ = longtail("rollout", "status")
    assert (code, rollout_id in out) == (0, True)
    assert as_json(longtail("rollout", "status", "--live", "--json")) == []
    code, out, _ = longtail("rollout", "status", rollout_id)
    assert "aborted" in out and "withdrawn" in out


def test_vehicles_and_kill_switches(fleet: SimulatedFleet, longtail: Run) -> None:
    rows = as_json(longtail("fleet", "list", "--json"))
    assert [row["vehicle_id"] for row in rows] == sorted(fleet.vehicles)
    assert len(as_json(longtail("fleet", "list", "--limit", "2", "--json"))) == 2
    did = as_json(longtail("fleet", "activity", "--days", "40", "--json"))
    assert did["until_utc_ns"] - did["since_utc_ns"] == 40 * 86_400 * 10**9
    code, out, _ = longtail("fleet", "activity")
    assert (code, did["vehicle_days"], "vehicle-days" in out) == (0, 0, True)
    as_json(longtail("rollout", "start", "--spec", "hard-brake@1", *QUICK, *WHY, "--json"))
    held = next(iter(fleet.ordered(spec(1))))
    code, out, _ = longtail("fleet", "show", held)
    assert code == 0
    assert BRAKE in out and "built_in" in out
    killed = as_json(longtail("spec", "kill", "hard-brake", *WHY, "--json"))
    assert killed == {"trigger_id": "hard-brake", "killed": True, "acts_within_s": 82.0}
    assert all(row[2] == ["hard-brake"] for row in fleet.assigned().values())
    code, out, _ = longtail("spec", "unkill", "hard-brake", *WHY)
    assert (code, "let run again" in out) == (0, True)
    code, out, _ = longtail("fleet", "revoke", held, *WHY)
    assert (code, "is revoked" in out) == (0, True)
    assert as_json(longtail("fleet", "show", held, "--json"))["revoked_utc_ns"] is not None
    assert ("ann", "revoke vehicle", f"vehicle {held}") in fleet.audit()


FAILURES = (
    (("rollout", "start", "--spec", "hard-brake@9"), "not published; published: 1, 2"),
    (("rollout", "start", "--spec", "none"), "no version of trigger none"),
    (("rollout", "start", "lidar", "x", "1"), "trigger or model"),
    (("rollout", "start", "model", "x"), "KIND NAME VERSION"),
    (("rollout", "start", "--spec", "hard-brake", "--soak", "1"), "--soak"),
    (("rollout", "start", "--spec", "hard-brake", "--stages", "1,x"), "--stages"),
    (("rollout", "start", "--spec", "hard-brake", "--stages", "5,1"), "stages rise"),
    (("rollout", "start", "--spec", "hard-brake", "--select", "eu"), "KEY=VALUE"),
    (("rollout", "pause", "r-none"), "no such rollout"),
    (("rollout", "pause", "trigger:none"), "has had no rollout"),
    (("fleet", "revoke", "none"), "no such vehicle"),
    (("spec", "rollback", "hard-brake"), "nothing to take back"),
    (("spec", "rollback", "hard-brake", "--to", "7"), "not published"),
    (("spec", "kill", "a/b"), "no name"),
)


def test_a_failure_is_one_line(fleet: SimulatedFleet, longtail: Run) -> None:
    for arguments, complaint in FAILURES:
        code, out, err = longtail(*arguments, *WHY)
        assert (code, out) == (1, ""), arguments
        assert complaint in err
        assert len(err.strip().splitlines()) == 1


def test_stages_ask_for_less_the_fewer_they_reach() -> None:
    stages = stages_of("1,5,25,50,100", no_guardrails=False)
    assert stages is not None
    assert [(s.fraction, s.tolerated_ratio) for s in stages] == [
        (0.01, 3.0), (0.05, 2.0), (0.25, 1.5), (0.5, 1.5), (1.0, None),
    ]  # fmt: skip
    plain = stages_of("10,100", no_guardrails=True)
    assert plain is not None and {s.tolerated_ratio for s in plain} == {None}
    with pytest.raises(InputError):
        stages_of("0,100", no_guardrails=False)
