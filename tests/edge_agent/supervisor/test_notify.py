"""Telling systemd, over a real datagram socket; the watchdog is fed only while things move."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from edge_agent.sources.registry import open_source
from edge_agent.supervisor.notify import Notifier
from edge_agent.supervisor.watchdog import DriveBeat, Progress, Watchdog
from tests.edge_agent.agent_drives import PUBLISHED

PERIOD_NS = 60 * NS_PER_S


class Manager:
    """The service manager's end."""

    def __init__(self, address: str | bytes) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self._lines: list[str] = []

    def read(self) -> None:
        """Take what has come: the kernel keeps only some datagrams."""
        while True:
            try:
                self._lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return

    def told(self) -> list[str]:
        """All lines since the last call."""
        self.read()
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def notifier(tmp_path: Path, **more: str) -> Notifier:
    return Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "notify"), **more})


def test_a_life_is_told_in_order(tmp_path: Path, manager: Manager) -> None:
    agent = notifier(tmp_path)
    agent.ready("car over sim:")
    agent.alive()
    agent.stopping("key off:\ndeadline")
    assert manager.told() == [
        "READY=1", "STATUS=car over sim:", "WATCHDOG=1", "STOPPING=1",
        "STATUS=key off: deadline",
    ]  # fmt: skip


def test_an_abstract_socket_is_spoken_to() -> None:
    name = f"longtail-test-{os.getpid()}"
    manager = Manager(b"\0" + name.encode())
    Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}"}).alive()
    assert manager.told() == ["WATCHDOG=1"]
    manager.close()


def test_nobody_listens(tmp_path: Path) -> None:
    silent = Notifier.from_environment({"WATCHDOG_USEC": "1000000"})
    silent.ready("x")
    assert not silent.is_heard
    assert silent.watchdog_ns is None
    gone = notifier(tmp_path)
    gone.ready("x")  # no socket there: told to the log, and no error
    assert Notifier.from_environment({"NOTIFY_SOCKET": "tcp:1"}).is_heard is False


def test_a_manager_that_does_not_read_holds_nobody(tmp_path: Path, manager: Manager) -> None:
    agent = notifier(tmp_path)
    for _ in range(5000):
        agent.alive()
    assert "WATCHDOG=1" in manager.told()


def test_the_watchdog_is_for_this_process_alone(tmp_path: Path) -> None:
    mine = notifier(tmp_path, WATCHDOG_USEC="60000000", WATCHDOG_PID=str(os.getpid()))
    assert mine.watchdog_ns == PERIOD_NS
    assert notifier(tmp_path, WATCHDOG_USEC="60000000", WATCHDOG_PID="1").watchdog_ns is None
    assert notifier(tmp_path, WATCHDOG_USEC="soon").watchdog_ns is None
    assert notifier(tmp_path, WATCHDOG_USEC="0").watchdog_ns is None


class Daemon:
    """A watchdog on virtual time, whose loop goes round each second."""

    def __init__(self, tmp_path: Path, manager: Manager) -> None:
        self._manager = manager
        self.clock = VirtualClock()
        self.beat = DriveBeat()
        self.rounds = 0
        agent = notifier(tmp_path)
        self.watchdog = Watchdog(
            agent, PERIOD_NS, 60 * NS_PER_S, self.beat, lambda: self.rounds, self.clock
        )

    async def live(self, seconds: int, *, drive: bool = True, loop: bool = True) -> None:
        for _ in range(seconds):
            if drive:
                self.beat.now("working")
                self.beat.now("waiting")
            self.rounds += loop
            await self.clock.advance_ns(NS_PER_S)
            self._manager.read()


def watched(tmp_path: Path, manager: Manager, story: object) -> None:
    async def run() -> None:
        daemon = Daemon(tmp_path, manager)
        feeding = asyncio.create_task(daemon.watchdog.run())
        await asyncio.sleep(0)
        await story(daemon)  # type: ignore[operator]
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)

    asyncio.run(run())


def test_it_is_fed_four_times_a_period_while_both_sides_move(
    tmp_path: Path, manager: Manager
) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.live(600)
        assert manager.told() == ["WATCHDOG=1"] * 41

    watched(tmp_path, manager, story)


def test_a_drive_that_hangs_on_a_sample_starves_it(tmp_path: Path, manager: Manager) -> None:
    """A real thread that never comes back from its sample."""

    async def story(daemon: Daemon) -> None:
        await daemon.live(30)
        manager.told()
        hang, began = threading.Event(), threading.Event()

        def drive() -> None:
            daemon.beat.now("working")
            began.set()
            hang.wait()
            daemon.beat.now("waiting")

        thread = threading.Thread(target=drive)
        thread.start()
        began.wait()
        await daemon.live(30, drive=False)  # half a period is patience
        assert "WATCHDOG=1" in manager.told()
        await daemon.live(20, drive=False)
        told = manager.told()
        await daemon.live(600, drive=False)
        told = [line for line in told if line != "WATCHDOG=1"] + manager.told()
        assert "WATCHDOG=1" not in told
        assert [line[:30] for line in told] == ["STATUS=watchdog not fed: the d"]
        hang.set()
        thread.join()
        await daemon.live(30)
        assert "WATCHDOG=1" in manager.told()

    watched(tmp_path, manager, story)


def test_tasks_of_the_loop_that_stand_still_starve_it(tmp_path: Path, manager: Manager) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.live(60)
        await daemon.live(40, loop=False)
        manager.told()
        await daemon.live(600, loop=False)
        assert "WATCHDOG=1" not in manager.told()
        assert "event loop" in daemon.watchdog.problem

    watched(tmp_path, manager, story)


@pytest.mark.parametrize(
    ("activity", "after_s", "problem"),
    [
        ("working", 29, ""),
        ("working", 31, "hangs on one sample"),
        ("waiting", 59, ""),
        ("waiting", 61, "source is silent"),
        ("pausing", 100_000, ""),
        ("over", 100_000, ""),
    ],
)
def test_what_counts_as_progress(activity: str, after_s: int, problem: str) -> None:
    progress = Progress(30 * NS_PER_S, 60 * NS_PER_S)
    beat = DriveBeat(activity, 7)  # type: ignore[arg-type]
    assert progress.problem(0, beat, 0) == ""
    found = progress.problem(after_s * NS_PER_S, beat, 1)
    assert problem in found
    assert bool(found) == bool(problem)


def test_a_whole_agent_tells_its_life(tmp_path: Path, manager: Manager) -> None:
    """Ready when it drives, fed meanwhile, stopping at its end; a taken port ends nothing."""
    port = socket.socket()
    port.bind(("127.0.0.1", 0))
    port.listen()
    config = AgentConfig.model_validate({
        "state": tmp_path / "state", "vehicle_id": "car", "specs": (PUBLISHED,),
        "metrics": {"port": port.getsockname()[1]},
    })  # fmt: skip
    source = "sim:duration_s=15,lidar=0,camera=0"
    agent_side = notifier(tmp_path, WATCHDOG_USEC="200000")

    async def run() -> AgentReport:
        agent = Agent(config, open_source(source), source, notifier=agent_side)
        running = asyncio.ensure_future(agent.run(stay=True))
        lines: list[str] = []
        while not {"READY=1", "WATCHDOG=1"} <= set(lines):
            await asyncio.sleep(0.001)
            lines += manager.told()
        assert lines[:2] == ["WATCHDOG=1", "READY=1"] or lines[0] == "READY=1"
        while agent._restarts.counts["metrics"] == 0:
            await asyncio.sleep(0.001)
            manager.read()
        agent._leave("key off")
        return await running

    report = asyncio.run(asyncio.wait_for(run(), 60))
    assert "STOPPING=1" in manager.told()
    assert report.restarts["metrics"] >= 1
    assert report.ended == ""
    port.close()
