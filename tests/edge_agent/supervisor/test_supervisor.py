"""Failures injected into each row of the supervisor's table, on virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.clock import NS_PER_S, ClockQuality, VirtualClock
from contracts.errors import CorruptError, InputError, RefusedError, TransientError
from contracts.samples import Sample, SignalSample
from edge_agent.app import Agent
from edge_agent.clips.packer import Packer
from edge_agent.config import AgentConfig
from edge_agent.drive.drive import Drive
from edge_agent.health.status import AgentReport
from edge_agent.perception.reopening import ReopeningSession
from edge_agent.ports import SensorSource, SourceDescription
from edge_agent.sources.registry import open_source
from edge_agent.supervisor.intake import FAILURES_IN_A_ROW
from edge_agent.supervisor.source import supervised_samples
from edge_agent.supervisor.supervisor import RestartBook, RestartPolicy, Restarts, Task, supervise
from tests.edge_agent.agent_drives import PUBLISHED, driven
from tests.edge_agent.clips.test_packer import Vehicle, image, job, jpeg

SIM = "sim:duration_s=20,lidar=0"


def test_waits_double_up_to_the_longest_and_old_failures_are_forgotten() -> None:
    book = RestartBook(RestartPolicy(1.0, 8.0, limit=7, within_s=100.0))
    assert [book.failed(t * NS_PER_S) for t in range(6)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert book.failed(6 * NS_PER_S) is None
    assert book.failed(1000 * NS_PER_S) == 1.0


def test_a_task_without_a_limit_goes_on_for_ever() -> None:
    book = RestartBook(RestartPolicy(limit=None))
    assert {book.failed(n) for n in range(1, 5000)} == {1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0}


def supervised(
    *runs: tuple[str, Callable[[], Awaitable[None]]], seconds: float
) -> tuple[Restarts, VirtualClock]:
    clock = VirtualClock()
    restarts = Restarts(clock)

    async def story() -> None:
        tasks = supervise([Task(name, run) for name, run in runs], clock, restarts)
        for _ in range(10):
            await asyncio.sleep(0)
        for _ in range(round(seconds)):
            await clock.advance_ns(NS_PER_S)
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(story())
    return restarts, clock


def test_a_crash_of_one_task_restarts_it_and_no_other() -> None:
    begun = {"upload": 0, "health": 0}

    async def upload() -> None:
        begun["upload"] += 1
        if begun["upload"] < 4:
            raise ValueError("broken")
        await asyncio.Event().wait()

    async def health() -> None:
        begun["health"] += 1
        await asyncio.Event().wait()

    restarts, _ = supervised(("upload", upload), ("health", health), seconds=20)
    assert begun == {"upload": 4, "health": 1}
    assert restarts.counts == {"upload": 3}
    assert restarts.ended == ""


def test_too_many_crashes_end_the_daemon_with_its_reason() -> None:
    async def ota() -> None:
        raise KeyError("slot")

    restarts, _ = supervised(("ota", ota), seconds=600)
    assert restarts.counts == {"ota": 10}
    assert restarts.ended == "ota failed 10 times in 30 min, last: KeyError: 'slot'"


def test_a_refusal_ends_the_task_alone() -> None:
    async def upload() -> None:
        raise RefusedError("not one of ours")

    restarts, _ = supervised(("upload", upload), seconds=60)
    assert restarts.counts == {}
    assert restarts.ended == ""


def test_a_stop_does_not_wait_for_a_restart() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    async def story() -> None:
        clock, stop = VirtualClock(), asyncio.Event()
        (task,) = supervise([Task("ota", broken)], clock, Restarts(clock), stop)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        stop.set()
        await task  # on a clock that stands still

    asyncio.run(asyncio.wait_for(story(), 10))


def test_the_end_is_told_once() -> None:
    told: list[str] = []
    restarts = Restarts(VirtualClock())
    restarts.on_end = lambda: told.append(restarts.ended)
    restarts.end("first")
    restarts.end("second")
    assert told == ["first"]


# The source ----------------------------------------------------------------------------------


class Flaky:
    """A source that follows a script: a number of samples, then what it raises (None: it ends)."""

    def __init__(self, *script: tuple[int, Exception | None]) -> None:
        self._script = list(script)
        self._at_ns = 0
        self.opened = 0

    def describe(self) -> SourceDescription:
        return SourceDescription("d", "b", 0, ClockQuality(synchronised=True))

    def samples(self) -> Iterator[Sample]:
        self.opened += 1
        count, error = self._script.pop(0) if self._script else (0, OSError("unplugged"))
        for _ in range(count):
            self._at_ns += 10_000_000
            yield SignalSample("ego.speed_mps", self._at_ns, 1.0)
        if error is not None:
            raise error


class LiveFlaky(Flaky):
    def stop(self) -> None:
        raise AssertionError("nobody stops this one")


def read(source: SensorSource) -> tuple[int, list[str], list[float], Restarts]:
    """Samples, what was told, and how long it was waited, on time that passes in the waits."""
    clock = VirtualClock()
    restarts, told, waits = Restarts(clock), list[str](), list[float]()

    def wait(seconds: float) -> bool:
        if seconds:
            waits.append(seconds)
            clock.set_mono_ns(clock.mono_ns() + round(seconds * NS_PER_S))
        return False

    count = sum(1 for _ in supervised_samples(source, restarts, wait, told.append))
    return count, told, waits, restarts


def test_a_live_source_is_opened_again_after_failures_and_ends() -> None:
    source = LiveFlaky(
        (3, OSError("usb")), (0, CorruptError("torn")), (5, None), (2, RuntimeError("driver")),
        *[(1, None)] * 2,
    )  # fmt: skip
    count, told, waits, restarts = read(source)
    assert count == 12
    assert told[:3] == ["OSError: usb", "torn", "RuntimeError: driver"]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    # From here on it fails for good: the daemon ends, after about half an hour of tries.
    assert restarts.counts["source"] == 60 == source.opened
    assert restarts.ended.startswith("source failed 60 times in 30 min, last: OSError: unplugged")
    assert 1500 < sum(waits) < 1800


def test_a_recording_that_breaks_off_ends_once() -> None:
    source = Flaky((3, CorruptError("torn")), (3, None))
    assert read(source)[:2] == (3, ["torn"])
    assert source.opened == 1
    with pytest.raises(InputError, match="no such"):
        read(Flaky((0, InputError("no such folder"))))
    with pytest.raises(ZeroDivisionError):
        read(Flaky((3, ZeroDivisionError())))


# The drive -----------------------------------------------------------------------------------


def whole(tmp_path: Path) -> AgentReport:
    return driven(tmp_path / "whole", SIM, {})[0]


def fail_on(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, which: Callable[[int], bool]
) -> list[int]:
    """Make a method raise on some of its calls; the list counts them."""
    calls = [0]
    original: Any = getattr(owner, name)

    def failing(self: Any, *given: Any, **named: Any) -> Any:
        calls[0] += 1
        if which(calls[0]):
            raise ValueError(f"injected into {name}")
        return original(self, *given, **named)

    monkeypatch.setattr(owner, name, failing)
    return calls


def test_a_failure_on_one_sample_costs_that_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = whole(tmp_path)
    with monkeypatch.context() as patch:
        fail_on(patch, Drive, "_take", lambda n: n in (100, 101, 5000))
        report, _ = driven(tmp_path / "torn", SIM, {})
    assert sum(before.samples.values()) - sum(report.samples.values()) == 3
    assert report.not_recorded == {"failure": 3}
    assert report.restarts == {"drive": 3}
    assert report.ended == ""
    assert {c.event for c in report.clips} == {c.event for c in before.clips}


def test_a_tick_that_fails_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        calls = fail_on(patch, Drive, "_evaluate", lambda n: n == 50)
        report, _ = driven(tmp_path / "torn", SIM, {})
    assert report.not_recorded == {"failure": 1}
    assert calls[0] == pytest.approx(20 * 50, abs=3)


def test_a_drive_that_takes_nothing_any_more_ends_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "broken"
    fail_on(monkeypatch, Drive, "_take", lambda n: n > 300)
    with pytest.raises(TransientError, match="200 samples in a row failed, last: ValueError"):
        driven(state, SIM, {})
    left = AgentReport.model_validate_json((state / "status.json").read_bytes())
    assert left.finished
    assert left.ended.startswith("200 samples in a row failed")
    assert left.not_recorded == {"failure": FAILURES_IN_A_ROW}
    monkeypatch.undo()
    again, _ = driven(state, SIM, {})  # started anew it works, and tells the cloud of the end
    assert (again.counters.starts, again.counters.unclean_starts) == (2, 1)


def test_a_clip_that_cannot_be_packed_is_lost_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vehicle = Vehicle(tmp_path, quota_bytes=10**8)
    fail_on(monkeypatch, Packer, "_pack", lambda n: n in (1, 3))
    fail_on(monkeypatch, Packer, "lose", lambda n: n == 2)  # nor may telling of it end the task
    for number in range(4):
        vehicle.packer.submit(job(), [image(10.0 + number / 10, jpeg())])
    vehicle.packer.finish()
    assert len(vehicle.packed) == 2
    assert vehicle.packer.counts == {"packed": 2, "lost": 1}


# The model -----------------------------------------------------------------------------------


class Network:
    """A session that runs until it is broken; breaking is for good."""

    def __init__(self) -> None:
        self.broken = False

    def get_inputs(self) -> list[Any]:
        return []

    def get_outputs(self) -> list[Any]:
        return []

    def run(self, names: list[str], feed: Any) -> list[NDArray[np.float32]]:
        if self.broken:
            raise RuntimeError("the device was reset")
        return [np.zeros(1, np.float32)]


def test_a_model_session_that_keeps_failing_is_opened_again() -> None:
    clock, opened, reopened = VirtualClock(), list[Network](), [0]

    def open_it() -> Network:
        if len(opened) == 2:
            opened.append(Network())
            raise InputError("no memory now")
        opened.append(Network())
        return opened[-1]

    session = ReopeningSession(open_it, clock, lambda: reopened.__setitem__(0, reopened[0] + 1))

    def tries(count: int) -> list[bool]:
        outcomes = []
        for _ in range(count):
            try:
                session.run([], {})
                outcomes.append(True)
            except (RuntimeError, InputError):
                outcomes.append(False)
        return outcomes

    assert tries(2) == [True, True]
    opened[0].broken = True
    assert tries(4) == [False, False, False, True]  # three in a row, then another session
    opened[1].broken = True
    assert tries(10) == [False] * 10  # not twice within a second
    assert reopened[0] == 1
    clock.set_mono_ns(2 * NS_PER_S)
    assert tries(10) == [False] * 10  # it does not open, and is left alone again
    assert reopened[0] == 2
    clock.set_mono_ns(4 * NS_PER_S)
    assert tries(2) == [True, True]
    assert len(opened) == 4


def test_a_model_that_fails_costs_frames_and_comes_back(tmp_path: Path) -> None:
    """Through a whole agent: sessions break at their 20th run, each is opened anew."""
    from edge_agent.cli import BUNDLED_MODEL
    from edge_agent.perception.sessions import open_session
    from edge_agent.ports import Session

    class Wearing:
        def __init__(self, session: Session) -> None:
            self._session = session
            self._runs = 0

        def get_inputs(self) -> Any:
            return self._session.get_inputs()

        def get_outputs(self) -> Any:
            return self._session.get_outputs()

        def run(self, names: list[str], feed: Any) -> list[NDArray[np.float32]]:
            self._runs += 1
            if self._runs > 20:
                raise RuntimeError("the device was reset")
            return self._session.run(names, feed)

    clock = VirtualClock()

    class Frozen(VirtualClock):
        """Moves on by a second whenever the drive reads it: the waits between sessions pass, and
        no watch over the drive's thread sees it stand still on a slow machine.
        """

        def mono_ns(self) -> int:
            if threading.current_thread() is not threading.main_thread():
                self.set_mono_ns(super().mono_ns() + NS_PER_S)
            return super().mono_ns()

        async def sleep_ns(self, duration_ns: int) -> None:
            await asyncio.sleep(0.01)

    config = AgentConfig.model_validate(
        {"state": tmp_path, "source": SIM, "specs": (PUBLISHED,), "model": BUNDLED_MODEL}
    )

    async def run() -> AgentReport:
        agent = Agent(
            config, open_source(SIM), SIM, Frozen(clock.mono_ns()),
            opener=lambda content, place: Wearing(open_session(content, place)),
        )  # fmt: skip
        return await agent.run(stay=False)

    report = asyncio.run(run())
    assert report.restarts["model"] >= 5
    failed = sum(n for name, n in report.rejected.items() if "cannot be used" in name)
    assert failed == 3 * report.restarts["model"] or failed == 3 * report.restarts["model"] + 3
    assert report.timing is not None
    assert report.timing.frames + failed == report.samples["ImageSample"]
    assert report.ended == ""
