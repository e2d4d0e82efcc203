"""A live drive on a machine that is told the time only after it has begun: its clips say so."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, ClockQuality, SystemClock
from contracts.samples import Sample
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.ports import SensorSource
from edge_agent.sources.registry import open_source
from edge_agent.supervisor import drive_source
from kernels.clip.reader import read_manifest
from tests.edge_agent.agent_drives import OFTEN, Act, Interrupted

UNKNOWN = ClockQuality(synchronised=False, source="system")
KNOWN = ClockQuality(synchronised=True, source="system")


class Live(Interrupted):
    """A source that waits for the world once the drive is over."""

    def __init__(self, source: SensorSource, acts: dict[float, Act]) -> None:
        super().__init__(source, acts)
        self._stopped = threading.Event()

    def samples(self) -> Iterator[Sample]:
        yield from super().samples()
        self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()


def test_clips_tell_by_how_much_the_drive_s_time_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "often.yaml").write_text(OFTEN)
    source = "sim:seed=7,duration_s=12,camera=0,lidar=0"
    config = AgentConfig.model_validate(
        {"state": tmp_path / "state", "source": source, "specs": (tmp_path / "often.yaml",)}
    )
    told = [UNKNOWN]
    monkeypatch.setattr(drive_source, "machine_clock_quality", lambda: told[-1])
    synchronised: Act = lambda _: told.append(KNOWN)  # noqa: E731
    ended: Act = lambda _: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    live = Live(open_source(source), {7.0: synchronised, 11.9: ended})

    async def run() -> None:
        live.agent = Agent(config, live, source)
        await live.agent.run(stay=False)

    asyncio.run(run())
    clips = sorted((tmp_path / "state" / "spool" / "clips").glob("*.mcap"))
    manifests = sorted(
        (read_manifest(path) for path in clips), key=lambda each: each.event.start_mono_ns
    )
    assert [each.clock for each in manifests[:2]] == [UNKNOWN] * 2
    last = manifests[-1].clock
    clock = SystemClock()
    off_ns = live.describe().utc_minus_mono_ns - (clock.utc_ns() - clock.mono_ns())
    assert last.synchronised
    assert last.offset_ns == pytest.approx(off_ns, abs=NS_PER_S)
