"""Whole agents whose key is turned at awkward moments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from contracts.samples import Sample
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from edge_agent.ports import SensorSource, SourceDescription
from edge_agent.power.step import PowerReading
from edge_agent.sources.registry import open_source
from tests.edge_agent.agent_drives import PUBLISHED

ON, OFF = PowerReading(ignition=True), PowerReading(ignition=False)


class Patient(VirtualClock):
    """Virtual time that the source moves on; sleeps of the loop are short and real."""

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(0.001)


Act = Callable[["Turned"], object]


class Turned:
    """A drive during which a key is turned: at each time from its start something is done, and
    the drive's thread goes on when the agent is where it should be.
    """

    def __init__(self, source: SensorSource, clock: Patient, acts: dict[float, Act]) -> None:
        self._source = source
        self._clock = clock
        self._acts = sorted(acts.items())
        self.reading = ON
        self.agent: Agent | None = None

    def read(self) -> PowerReading:
        return self.reading

    def close(self) -> None:
        return None

    def describe(self) -> SourceDescription:
        return self._source.describe()

    def samples(self) -> Iterator[Sample]:
        acts, start_ns = list(self._acts), -1
        for sample in self._source.samples():
            start_ns = sample.mono_ns if start_ns < 0 else start_ns
            self._clock.set_mono_ns(sample.mono_ns - start_ns)
            while acts and sample.mono_ns - start_ns >= acts[0][0] * NS_PER_S:
                acts.pop(0)[1](self)
            yield sample

    def until(self, phase: str) -> None:
        """Pass time until the agent has come there: what its loop does takes its own time."""
        assert self.agent is not None and self.agent._power is not None
        power = self.agent._power
        for _ in range(100_000):
            if power.state.phase == phase and power._records == (phase == "driving"):
                return
            self._clock.set_mono_ns(self._clock.mono_ns() + NS_PER_S // 100)
            self.agent._left.is_set()
            _yield()
        raise AssertionError(f"never {phase}: {power.state}")


def _yield() -> None:
    """Let the event loop's thread run."""
    import os

    os.sched_yield()


def key(on: bool, then: str) -> Act:
    def act(turned: Turned) -> None:
        turned.reading = ON if on else OFF
        turned.until(then)

    return act


SIM = "sim:duration_s=20,lidar=0"


def driven(state: Path, acts: dict[float, Act], stay: bool = False, **power: Any) -> AgentReport:
    clock = Patient()
    turned = Turned(open_source(SIM), clock, acts)
    config = AgentConfig.model_validate({
        "state": state, "specs": (PUBLISHED,), "vehicle_id": "car", "source": SIM,
        "rules": ("ego.decel_mps2 > 1.0",),
        "power": {"key_off": "100ms", "deadline": "300s", **power},
    })  # fmt: skip

    async def run() -> AgentReport:
        turned.agent = Agent(config, turned, SIM, clock, power=turned)
        return await turned.agent.run(stay=stay)

    return asyncio.run(run())


def test_a_parked_vehicle_records_nothing_and_drives_again(tmp_path: Path) -> None:
    whole = driven(tmp_path / "whole", {})
    report = driven(
        tmp_path / "parked",
        {8.0: key(False, "parked"), 14.0: key(True, "driving")}, at_end="wait",
        deadline="100000s",
    )  # fmt: skip
    assert report.not_recorded["parked"] > 1000
    assert report.power is not None and report.power.phase == "driving"
    assert report.source_gaps.count == 0
    lost = sum(whole.samples.values()) - sum(report.samples.values())
    assert lost == report.not_recorded["parked"]
    assert report.clips and len(report.clips) < len(whole.clips) + 2
    assert report.counters.driving_s == pytest.approx(14, abs=2.5)


def test_key_off_closes_open_windows(tmp_path: Path) -> None:
    """The hard brake's clip, begun and not over at key-off, is packed at once and told partial."""
    seen: list[tuple[int, ...]] = []

    def look(turned: Turned) -> None:
        assert turned.agent is not None
        for _ in range(1_000_000):
            if turned.agent._drive.packer.is_idle:
                break
            _yield()
        seen.append(tuple(entry.size_bytes for entry in turned.agent._drive.spool.queue()))

    def park(turned: Turned) -> None:
        key(False, "parked")(turned)
        look(turned)

    report = driven(tmp_path, {12.0: park}, at_end="wait")
    assert len(seen[0]) >= 1
    assert any(clip.partial for clip in report.clips)


def test_the_deadline_keeps_what_was_not_sent(tmp_path: Path) -> None:
    """No cloud answers: at the deadline the agent ends in order, and every clip waits."""
    state = tmp_path / "state"

    def off_for_good(turned: Turned) -> None:
        turned.reading = OFF
        turned.until("ended")

    clock = Patient()
    turned = Turned(open_source(SIM), clock, {19.0: off_for_good})
    config = AgentConfig.model_validate({
        "state": state, "specs": (PUBLISHED,), "vehicle_id": "car", "source": SIM,
        "cloud": "http://127.0.0.1:9",
        "power": {"key_off": "100ms", "deadline": "60s"},
    })  # fmt: skip

    async def run() -> AgentReport:
        turned.agent = Agent(config, turned, SIM, clock, power=turned)
        return await turned.agent.run(stay=True)

    report = asyncio.run(run())
    assert report.power is not None and report.power.ended == "deadline"
    assert report.finished and report.ended == ""
    assert report.queued_clips == len(report.clips) > 0
    assert "hard-brake" in {t for clip in report.clips for t in clip.trigger_ids}
    again = driven(state, {})  # ignition, next day: nothing was lost, and the end was in order
    assert again.counters.unclean_starts == 0
    assert again.queued_clips >= report.queued_clips
