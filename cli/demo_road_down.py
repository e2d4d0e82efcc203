"""The demo's second half: a spec goes over the air while a vehicle drives, and comes back.

The same commands that a person would type, run one after another; what they wait for is what a
person would look at. Nothing is restarted, and the drive never ends meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cli.demo_processes import agent_process, longtail, wait_until
from cli.output import absolute
from client import CloudClient
from client.fleet import FleetClient
from contracts.check_in import ShadowTrigger
from contracts.clip_search import ClipRow
from contracts.errors import TransientError

VEHICLE = "demo-car"
TRIGGER = "pulls-away"
SOURCE = "sim:seed=11,duration_s=1800"
PACE = "6"
FIRST_S = 5.0

Say = Callable[[str], None]
Run = Callable[[Sequence[str]], str]


def example_spec() -> Path:
    """The spec that goes over the air; no published one."""
    return Path(str(files("trigger_specs"))) / "examples" / f"{TRIGGER}.yaml"


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the drive was when something happened, in seconds of drive time."""

    what: str
    at_s: float


@dataclass(frozen=True, slots=True)
class RoadDown:
    """What the demonstration showed."""

    moments: tuple[Moment, ...]
    shadow_fires: int
    clip: ClipRow
    agent_pid: int


def drive_and_change(folder: Path, url: str, spec: Path, say: Say, run: Run) -> RoadDown:
    """Publish `spec` to shadow, promote it, see its clip, roll it back; all during one drive.

    Args:
        folder: of the cloud and of this vehicle.
        run: runs a `longtail` command and gives its output.

    Raises `TransientError` when a step does not happen.
    """
    vehicle, trust = folder / "vehicle", folder / "cloud" / "ota" / "trust"
    vehicle.mkdir(exist_ok=True)
    key = str(folder / "cloud" / "ota" / "offline" / "triggers-1.pem")
    fleet, clips = FleetClient(url, actor="demo"), CloudClient(url)
    moments: list[Moment] = []
    with agent_process(
        vehicle, url, "--source", SOURCE, "--pace", PACE, "--vehicle", VEHICLE,
        "--trust", str(trust), "--allow-demo-keys",
    ) as process:  # fmt: skip

        def wait(what: str, look: Callable[[], object | None]) -> None:
            wait_until(what, look, process, vehicle / "agent.log")

        def note(what: str) -> None:
            moments.append(Moment(what, _drive_s(vehicle)))
            say(f"at {moments[-1].at_s:.0f} s of its drive: {what}")

        wait(
            "the vehicle to drive and to check in",
            lambda: (_checked_in(fleet) and _drive_s(vehicle) > FIRST_S) or None,
        )
        note("the vehicle drives and has checked in")
        run(["spec", "publish", str(spec), "--key", key])
        run(["rollout", "start", "--spec", TRIGGER, "--shadow", "--reason", "what would it cost?"])
        wait("a clip in shadow", lambda: _in_shadow(fleet) or None)
        shadow = _in_shadow(fleet)
        note(f"in shadow it would have kept {sum(c.size_bytes for c in shadow) / 1e6:.1f} MB")
        run(["fleet", "show", VEHICLE])
        run(["spec", "promote", TRIGGER, "--reason", "worth a clip"])
        wait("the vehicle to run it", lambda: _runs(fleet, "active") or None)
        note("it works, in the middle of the drive")
        wait("its clip", lambda: next(clips.search(f"'{TRIGGER}' = ANY(causes)"), None))
        clip = next(clips.search(f"'{TRIGGER}' = ANY(causes)"))
        note(f"its first clip has come home, {clip.size_bytes / 1e6:.1f} MB")
        run(["clips", "search", f"'{TRIGGER}' = ANY(causes)"])
        run(["spec", "explain", clip.clip_id[:12], "--cloud", url])
        run(["spec", "rollback", TRIGGER, "--reason", "seen enough"])
        wait("the vehicle to be without it", lambda: None if _runs(fleet) else True)
        note("it is gone again, by a newer order")
        run(["spec", "history", TRIGGER])
        if process.poll() is not None:
            raise TransientError("the agent has ended meanwhile", absolute(vehicle / "agent.log"))
        fires = sum(count.fires for count in shadow)
        return RoadDown(tuple(moments), fires, clip, process.pid)


def run_quietly(url: str) -> Run:
    """Runs `longtail` commands against the cloud; raises what they say when they fail."""

    def run(arguments: Sequence[str]) -> str:
        done = subprocess.run(
            longtail(*arguments), capture_output=True, text=True, check=False,
            env=os.environ | {"LONGTAIL_CLOUD": url, "LONGTAIL_ACTOR": "demo", "COLUMNS": "110"},
        )  # fmt: skip
        if done.returncode != 0:
            raise TransientError(f"longtail {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    return run


def _drive_s(vehicle: Path) -> float:
    status = vehicle / "agent" / "status.json"
    return float(json.loads(status.read_text())["drive_s"]) if status.is_file() else 0.0


def _checked_in(fleet: FleetClient) -> bool:
    rows = [row for row in fleet.vehicles() if row.vehicle_id == VEHICLE]
    return bool(rows) and rows[0].last_check_in_utc_ns is not None


def _in_shadow(fleet: FleetClient) -> tuple[ShadowTrigger, ...]:
    """The spec's counts in shadow, once they hold a clip that was not kept."""
    check_in = fleet.vehicle(VEHICLE).check_in
    counts = check_in.shadow_triggers if check_in is not None else ()
    return tuple(c for c in counts if c.trigger_id == TRIGGER and c.clips)


def _runs(fleet: FleetClient, state: str | None = None) -> bool:
    check_in = fleet.vehicle(VEHICLE).check_in
    if check_in is None:
        return False
    found = [trigger for trigger in check_in.triggers if trigger.trigger_id == TRIGGER]
    return any(state is None or trigger.state == state for trigger in found)
