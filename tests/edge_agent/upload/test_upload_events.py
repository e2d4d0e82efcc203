"""The outbox on its way: what is told of its depth, and what each refusal of a record means."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from contracts.clock import NS_PER_S
from contracts.upload import EventRecord
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.ports import Link
from edge_agent.sources.registry import open_source
from edge_agent.upload.again import ATTEMPTS
from edge_agent.upload.events import RETRY_S, UNCLEAR_S
from tests.edge_agent.receiver_simulator import ReceiverSimulator, drop, problem
from tests.edge_agent.upload_rig import SMALL, Rig, add_clip, clip_bytes, deadline, record, run

SIM = "sim:duration_s=5,lidar=0"
MANY = 150


def test_status_and_metrics_tell_how_many_records_wait(tmp_path: Path) -> None:
    config = AgentConfig.model_validate(
        {"state": tmp_path, "vehicle_id": "car", "source": SIM, "metrics": {"port": 0}}
    )
    agent = Agent(config, open_source(SIM), SIM)
    for number in range(MANY):
        agent._drive.ledger.outbox.put(record(number))
    readings = agent._metrics_server(0)._rows
    told = {row.name: row.value for row in readings() if row.name == "queue_events"}
    assert (agent.report(finished=False).waiting_events, told) == (MANY, {"queue_events": MANY})
    agent._drive.close(in_order=True)


def test_a_drain_tells_how_many_records_it_left(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        for number in range(MANY):
            vehicle.ledger.outbox.put(record(number))
        vehicle.link.change(Link("none"))
        assert (await vehicle.uploader.drain()).events_kept == MANY

    run(tmp_path, ReceiverSimulator(), body)


class Choosy(ReceiverSimulator):
    """Refuses the records of some events: in the service's words, or in a proxy's."""

    def __init__(self, status: int, starts: tuple[int, ...], own_words: bool = True) -> None:
        super().__init__()
        self.status, self.starts, self.own_words = status, starts, own_words
        self.asked: list[int] = []

    async def _event(self, request: web.Request) -> web.Response:
        told = EventRecord.model_validate_json(await request.read())
        self.asked.append(told.event.start_mono_ns)
        if told.event.start_mono_ns not in self.starts:
            return await super()._event(request)
        if self.own_words and self.status >= 400:
            return problem(self.status, "scripted")
        return web.Response(status=self.status, text="<html>no</html>")


def fill(vehicle: Rig, count: int) -> None:
    for number in range(count):
        vehicle.ledger.outbox.put(record(number))


@pytest.mark.parametrize("status", [400, 403, 409, 410, 413, 415, 422])
def test_a_record_that_is_refused_is_set_aside_and_the_others_go(
    tmp_path: Path, status: int
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        fill(vehicle, 3)
        report = await vehicle.uploader.drain()
        assert (report.events_sent, report.events_kept) == (2, 0)
        ((_, reason),) = vehicle.ledger.outbox.refused()
        assert reason == f"{status} scripted: scripted"

    run(tmp_path, Choosy(status, (0,)), body)


@pytest.mark.parametrize(
    ("status", "own_words"), [(404, True), (412, True), (418, True), (302, False), (403, False)]
)
def test_an_unclear_refusal_holds_up_no_other_record_and_is_tried_again(
    tmp_path: Path, status: int, own_words: bool
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        assert isinstance(simulator, Choosy)
        fill(vehicle, 4)
        report = await vehicle.uploader.drain()
        assert (report.events_sent, report.events_kept) == (3, 1)
        assert simulator.asked == [0, 1, 2, 3]
        assert vehicle.ledger.outbox.refused() == ()
        simulator.starts = ()
        await vehicle.uploader.drain(vehicle.clock.mono_ns() + int(UNCLEAR_S - 1) * NS_PER_S)
        assert len(simulator.asked) == 4
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert (report.events_sent, report.events_kept) == (1, 0)

    run(tmp_path, Choosy(status, (0,), own_words), body)


def test_many_records_that_are_refused_hold_up_the_others_for_a_while_only(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        fill(vehicle, 7)
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert (report.events_sent, report.events_kept) == (2, 5)
        assert vehicle.ledger.outbox.refused() == ()

    run(tmp_path, Choosy(404, (0, 1, 2, 3, 4)), body)


def test_a_server_that_takes_no_record_is_asked_seldom_and_gets_clips(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        assert isinstance(simulator, Choosy)
        fill(vehicle, 50)
        entry = add_clip(vehicle.spool, clip_bytes(1, SMALL))
        report = await vehicle.uploader.drain(deadline(vehicle, 0.5))
        assert (report.uploaded, report.events_kept) == ((entry.clip_id,), 50)
        assert len(simulator.asked) <= 2 * (1800 / UNCLEAR_S + 1)
        assert vehicle.ledger.outbox.refused() == ()

    run(tmp_path, Choosy(404, tuple(range(50))), body)


class Silent(ReceiverSimulator):
    """Breaks off the first connections over which records come."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def _event(self, request: web.Request) -> web.Response:
        self.times -= 1
        return drop(request) if self.times >= 0 else await super()._event(request)


@pytest.mark.parametrize("with_a_clip", [True, False])
def test_records_wait_for_a_silent_server_no_longer_than_it_is_silent(
    tmp_path: Path, with_a_clip: bool
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        fill(vehicle, 3)
        if with_a_clip:
            add_clip(vehicle.spool, clip_bytes(1, SMALL))
        before_ns = vehicle.clock.mono_ns()
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert (report.events_sent, report.events_kept) == (3, 0)
        waited_s = (vehicle.clock.mono_ns() - before_ns) / NS_PER_S
        assert (waited_s < RETRY_S) == with_a_clip

    run(tmp_path, Silent(ATTEMPTS), body)


def test_a_vehicle_whose_new_token_does_not_hold_either_sends_nothing(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        assert isinstance(simulator, Choosy)
        fill(vehicle, 2)
        add_clip(vehicle.spool, clip_bytes(1, SMALL))
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + int(RETRY_S) * 2 * NS_PER_S)
        assert (report.uploaded, report.events_kept, simulator.asked) == ((), 2, [0, 0])

    run(tmp_path, Choosy(401, (0, 1)), body)
