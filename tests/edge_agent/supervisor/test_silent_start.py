"""Sensors that are silent when the agent starts: it comes up, sends what waits, drives later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.clock import NS_PER_DAY, NS_PER_S, SystemClock
from contracts.samples import Sample, SignalSample
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.kit.live import LiveFeed
from edge_agent.ports import SourceDescription
from edge_agent.sources.address import machine_clock_quality
from edge_agent.supervisor import drive_source
from tests.edge_agent.agent_drives import driven_with_many_clips
from tests.edge_agent.receiver_simulator import ReceiverSimulator

CLOCK = SystemClock()
PERIOD_NS = NS_PER_S // 50


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_source, "SPEAKS_WITHIN_S", 0.05)


def sensors() -> LiveFeed:
    return LiveFeed(
        SourceDescription(
            "drive", "boot", CLOCK.utc_ns() - CLOCK.mono_ns(), machine_clock_quality(),
            frozenset({"ego.speed_mps"}),
        )
    )  # fmt: skip


def speak(feed: LiveFeed, seconds: int) -> None:
    """The samples of the last seconds, at once."""
    now_ns = CLOCK.mono_ns()
    for at_ns in range(now_ns - seconds * NS_PER_S, now_ns, PERIOD_NS):
        assert feed.put(SignalSample("ego.speed_mps", at_ns, 10.0))


def agent_over(feed: LiveFeed, state: Path, **more: object) -> Agent:
    specs = (state / "often.yaml",)
    config = AgentConfig.model_validate(
        {"state": state, "vehicle_id": "car", "source": "feed", "specs": specs, **more}
    )
    return Agent(config, feed, "feed")


def test_what_waits_is_sent_and_the_drive_begins_when_they_speak(tmp_path: Path) -> None:
    state = tmp_path / "state"
    waiting = driven_with_many_clips(state).queued_clips
    assert waiting >= 3

    async def run() -> None:
        simulator, feed = ReceiverSimulator(), sensors()
        async with simulator.serve() as url:
            agent = agent_over(feed, state, cloud=url)
            running = asyncio.ensure_future(agent.run(stay=True))
            while sum(held.committed for held in simulator.held.values()) < waiting:
                assert not running.done()
                await asyncio.sleep(0)
            silent = agent.report(finished=False)
            assert not silent.samples and agent._drive.driven_s == 0.0
            assert silent.not_recording == "no sensor has spoken yet"
            # No watchdog counts it: starting anew would break off what is being sent.
            assert agent._drive.beat.activity == "pausing"
            speak(feed, seconds=8)
            while sum(agent.report(finished=False).samples.values()) < 400:
                assert not running.done()
                await asyncio.sleep(0)
            assert agent._drive.driven_s == pytest.approx(8.0, abs=0.1)
            agent._leave("the test is over")
            report = await running
        assert not report.not_recording and not report.rejected
        assert len(report.clips) >= 2

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_stop_ends_it_before_they_ever_spoke(tmp_path: Path) -> None:
    state = tmp_path / "state"
    driven_with_many_clips(state)

    async def run() -> None:
        agent = agent_over(sensors(), state)
        asyncio.get_running_loop().call_soon(agent._leave, "the test is over")
        report = await agent.run(stay=True)
        assert report.finished and not report.samples

    asyncio.run(asyncio.wait_for(run(), 60))


def test_budgets_run_on_today_s_time_meanwhile(tmp_path: Path) -> None:
    state = tmp_path / "state"
    driven_with_many_clips(state)
    feed = sensors()
    agent = agent_over(feed, state)
    assert agent._drive.ledger.budget_day() == CLOCK.utc_ns() // NS_PER_DAY
    feed.stop()


class Paced:
    """A source that plays by a clock: its second sample comes when the agent runs."""

    def __init__(self, runs: threading.Event) -> None:
        self._runs = runs
        self.came_in_time = False

    def describe(self) -> SourceDescription:
        return sensors().describe()

    def samples(self) -> Iterator[Sample]:
        yield SignalSample("ego.speed_mps", NS_PER_S, 10.0)
        self.came_in_time = self._runs.wait(20)
        yield SignalSample("ego.speed_mps", NS_PER_S + PERIOD_NS, 10.0)


def test_one_sample_is_asked_for_and_no_more_before_the_agent_runs(tmp_path: Path) -> None:
    runs = threading.Event()
    source = Paced(runs)
    config = AgentConfig.model_validate({"state": tmp_path, "vehicle_id": "car"})

    async def run() -> None:
        agent = Agent(config, source, "paced")
        asyncio.get_running_loop().call_soon(runs.set)
        report = await agent.run(stay=False)
        assert sum(report.samples.values()) == 2

    asyncio.run(run())
    assert source.came_in_time
