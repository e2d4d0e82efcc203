"""A stop ends what is under way within seconds, however slow the link, and costs nothing sent."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from contracts.ids import PART_BYTES
from edge_agent import cloud_side
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.ports import Link
from edge_agent.sources.registry import open_source
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import LARGE, Rig, add_clip, clip_bytes, deadline, record, run

SIM = "sim:duration_s=5,lidar=0"
METERED = Link("wifi", metered=True)


@pytest.mark.parametrize("link", [Link("wifi"), METERED])
@pytest.mark.parametrize("drains", [False, True])
def test_a_stop_breaks_off_the_part_and_it_goes_on_later(
    tmp_path: Path, link: Link, drains: bool
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        content = clip_bytes(1, LARGE)
        entry = add_clip(vehicle.spool, content)
        stop, at_once = asyncio.Event(), asyncio.Event()

        def on_chunk() -> None:
            if simulator.body_bytes > PART_BYTES + 100_000:
                at_once.set()

        simulator.on_body_chunk = on_chunk
        if drains:
            report = await vehicle.uploader.drain(deadline(vehicle), at_once)
            assert report.kept == ((entry.clip_id, "stopping"),)
        else:
            await vehicle.uploader.run(stop, at_once)
        assert len(simulator.held[entry.clip_id].content) == PART_BYTES
        assert simulator.body_bytes < 2 * PART_BYTES
        assert vehicle.spool.queue() == (entry,)
        simulator.on_body_chunk = lambda: None
        await vehicle.restart()
        assert (await vehicle.uploader.drain()).uploaded == (entry.clip_id,)
        assert simulator.held[entry.clip_id].content == content

    run(tmp_path, ReceiverSimulator(), body, link=link)


def test_the_end_of_a_drive_lets_the_part_come_to_its_end(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(1, LARGE))
        stop = asyncio.Event()
        simulator.on_body_chunk = stop.set
        await vehicle.uploader.run(stop)
        assert len(simulator.held[entry.clip_id].content) == PART_BYTES

    run(tmp_path, ReceiverSimulator(), body)


def test_a_stop_breaks_off_a_log(tmp_path: Path) -> None:
    logs = tmp_path / "signals"
    logs.mkdir()
    (logs / "drive.ltsl").write_bytes(clip_bytes(1, LARGE))

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        at_once = asyncio.Event()
        simulator.on_body_chunk = at_once.set
        vehicle.uploader.send_logs_of(logs, lambda: None)
        await vehicle.uploader.run(asyncio.Event(), at_once)
        assert simulator.logs == []
        assert [path.name for path in logs.iterdir()] == ["drive.ltsl"]
        simulator.on_body_chunk = lambda: None
        await vehicle.uploader.drain()
        assert simulator.logs == [clip_bytes(1, LARGE)]

    run(tmp_path / "vehicle", ReceiverSimulator(), body)


class Silent(ReceiverSimulator):
    """Takes event records and never answers; `asked` is set with the first."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def _event(self, request: web.Request) -> web.Response:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


def test_a_stop_ends_a_call_that_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_side, "BREAK_OFF_S", 0.05)

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        assert isinstance(simulator, Silent)
        vehicle.ledger.outbox.put(record(1))
        at_once = asyncio.Event()
        sending = vehicle.uploader.run(asyncio.Event(), at_once)
        ending = asyncio.ensure_future(cloud_side._broken_off(at_once, sending))
        await simulator.asked.wait()
        at_once.set()
        await asyncio.wait_for(ending, 4)
        assert vehicle.ledger.outbox.count() == 1
        # What went is charged, and no more than that.
        assert vehicle.ledger.cellular.spent().day_bytes == pytest.approx(
            vehicle.meter.total_bytes(), abs=2000
        )

    run(tmp_path, Silent(), body, link=METERED)


def test_what_fails_before_the_stop_is_told() -> None:
    async def fail() -> None:
        raise ValueError("a defect")

    async def go() -> None:
        with pytest.raises(ValueError, match="a defect"):
            await cloud_side._broken_off(asyncio.Event(), fail())

    asyncio.run(go())


def test_an_agent_that_must_end_waits_for_no_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens and never answers: SIGTERM, or a failure, comes while the vehicle enrols."""
    monkeypatch.setattr(cloud_side, "BREAK_OFF_S", 0.05)

    async def go() -> None:
        reached = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.set()
            with suppress(ConnectionError):
                await reader.read(-1)
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = AgentConfig.model_validate(
            {"state": tmp_path, "vehicle_id": "car", "source": SIM, "cloud": url}
        )
        agent = Agent(config, open_source(SIM), SIM)
        running = asyncio.ensure_future(agent.run(stay=True))
        await reached.wait()
        agent._leave("the test is over")
        report = await asyncio.wait_for(running, 30)
        assert report.finished
        server.close()

    asyncio.run(go())
