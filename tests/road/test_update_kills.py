"""The agent killed at every write of an update: it always runs one whole version, old or new.

Each kill point begins from the same vehicle, which holds the old version from over the air while
the new one is ordered, and from a drive of its own, whose clips must all arrive.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from client import CloudClient
from contracts.clock import NS_PER_S
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from tests.road.test_kills import ROOT
from tests.road.updates_rig import (
    OFTEN_S,
    VEHICLE,
    Office,
    agent_config,
    finished,
    office,
    running_agent,
)

AGENTS = (sys.executable, "-m", "tests.road.updating_agent")
SLOT = "trigger:order"
FIRES = 7
DRIVE_S = (FIRES - 1) * OFTEN_S
FIRST_SEED = 100


class Agents:
    """Runs agents, one after another, each in a process of its own."""

    def __init__(self, log: IO[bytes]) -> None:
        self._nursery = subprocess.Popen(
            AGENTS, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )

    def run(self, job: dict[str, object]) -> list[dict[str, Any]]:
        """What the agent told, its exit code last."""
        pipes = self._nursery.stdin, self._nursery.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        pipes[0].write(json.dumps(job) + "\n")
        pipes[0].flush()
        lines: list[dict[str, Any]] = []
        while not lines or "exit_code" not in lines[-1]:
            lines.append(json.loads(pipes[1].readline()))
        return lines

    def __enter__(self) -> Agents:
        return self

    def __exit__(self, *_: object) -> None:
        with self._nursery:  # closes its input, at which it ends
            pass


@dataclass(frozen=True)
class Run:
    """What one process told. `report` is None when it was killed."""

    seen: tuple[tuple[str | None, int], ...]
    report: AgentReport | None
    writes: int

    @property
    def digests(self) -> set[str | None]:
        return {digest for digest, _ in self.seen}


@dataclass(frozen=True)
class Update:
    """A vehicle's state that holds `old`, and a service that orders `new`."""

    office: Office
    folder: Path
    agents: Agents
    old: str
    new: str

    def config(self, state: Path, seed: int) -> AgentConfig:
        """A short drive; each seed's is another one, with events of its own."""
        return agent_config(
            self.folder, self.office.url, self.office.trust, state=state, pace=None,
            source=f"sim:seed={seed},duration_s={DRIVE_S},camera=0,lidar=0",
        )  # fmt: skip

    def run(self, state: Path, seed: int, kill_at: int | None = None) -> Run:
        config = self.config(state, seed).model_dump(mode="json")
        lines = self.agents.run(
            {"config": config, "slot": SLOT, "digest": self.new, "kill_at": kill_at}
        )
        assert lines.pop()["exit_code"] == (0 if kill_at is None else -9)
        seen = tuple((one["running"], one["writes"]) for one in lines if "running" in one)
        last = lines[-1] if lines else {}
        report = AgentReport.model_validate(last["report"]) if "report" in last else None
        return Run(seen, report, last.get("writes", 0))


async def hold_old(work: Office, config: AgentConfig) -> str:
    """Bring version 1 to the vehicle, until it is kept for good."""
    async with running_agent(config) as car:
        await car.checks_in(1)
        digest = await asyncio.to_thread(work.publish, "order", 1)
        rollout = await asyncio.to_thread(work.roll_out, "order", 1)
        await car.runs(SLOT, digest)

        def is_kept() -> bool:
            told = car.report().ota
            return told is not None and [held.state for held in told.held] == ["committed"]

        await car.until(is_kept, "version 1 kept")
        # The service judges by the next check-in, which a busy machine may be late with.
        await finished(work, rollout.rollout_id)
    return digest


def prepared(work: Office, folder: Path, agents: Agents) -> Update:
    ota = {
        "trust": work.trust, "allow_demo_keys": True, "soak_driving_spec": "1s",
    }  # fmt: skip
    held = folder / "held"
    config = agent_config(folder, work.url, work.trust, state=held, ota=ota)
    old = asyncio.run(hold_old(work, config))
    rollout = work.fleet.rollouts()[0].rollout_id
    done = work.fleet.rollout(rollout)
    assert (done.phase, done.succeeded) == ("done", 1)
    new = work.publish("order", 2, when={"decel_mps2": 14.0})
    work.roll_out("order", 2)
    return Update(work, folder, agents, old, new)


def undisturbed(update: Update) -> int:
    """How many writes there are from the start of the process until the new version runs."""
    state = update.folder / "undisturbed"
    shutil.copytree(update.folder / "held", state)
    run = update.run(state, FIRST_SEED)
    assert [digest for digest, _ in run.seen] == [update.old, update.new]
    check_clips(update, FIRST_SEED, run)
    return run.seen[-1][1]


def killed_at(update: Update, number: int) -> None:
    """Kill at one write, start again, and look for the new version and for every clip."""
    state, seed = update.folder / f"killed-{number}", FIRST_SEED + number
    shutil.copytree(update.folder / "held", state)
    versions = {update.old, update.new}
    killed = update.run(state, seed, kill_at=number)
    assert killed.digests <= versions, killed
    again = update.run(state, seed)
    assert again.digests <= versions, again
    assert again.seen[-1][0] == update.new, again
    check_clips(update, seed, again)
    shutil.rmtree(state)


def check_clips(update: Update, seed: int, run: Run) -> None:
    """Each `OFTEN_S` of the drive fires once; each fire's clip is in the cloud, once, and whole."""
    assert run.report is not None
    assert (run.report.queued_clips, run.report.lost_clips) == (0, 0)
    boot = f"sim-{seed}-{DRIVE_S}s-nocamera-nolidar"
    rows = list(CloudClient(update.office.url).search(include_quarantined=True))
    mine = [row for row in rows if (row.event_key or "").startswith(f"{VEHICLE}/{boot}/")]
    keys = [(row.event_key or "").rpartition("/")[2] for row in mine]
    starts = sorted(int(key.partition("-")[0]) for key in keys)
    assert starts == [(100 + fire * OFTEN_S) * NS_PER_S for fire in range(FIRES)]
    assert {row.state for row in mine} == {"ready"}


@contextmanager
def updating(cloud_folder: Path, folder: Path) -> Iterator[Update]:
    with (
        (folder / "agents.log").open("wb") as log,
        Agents(log) as agents,
        office(cloud_folder, folder) as work,
    ):
        yield prepared(work, folder, agents)


def test_killed_at_some_writes_of_an_update(cloud_folder: Path, tmp_path: Path) -> None:
    with updating(cloud_folder, tmp_path) as update:
        writes = undisturbed(update)
        assert writes > 20
        for share in (0.3, 0.6, 0.95):
            killed_at(update, round(writes * share))


@pytest.mark.soak
def test_killed_at_every_write_of_an_update(cloud_folder: Path, tmp_path: Path) -> None:
    with updating(cloud_folder, tmp_path) as update:
        for number in range(1, undisturbed(update) + 1):
            killed_at(update, number)
