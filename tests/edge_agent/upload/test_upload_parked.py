"""What a parked vehicle stays awake for, and what it sends beside a clip that nobody takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S
from contracts.errors import RefusedError
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.ports import Link
from edge_agent.power.step import PowerLimits, PowerReading
from edge_agent.power.task import PowerTask
from edge_agent.sources.registry import open_source
from edge_agent.spool import Entry
from edge_agent.upload.links_gate import GatedLinks
from edge_agent.upload.uploader import SOON_NS
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import (
    LARGE,
    SMALL,
    WIFI,
    JumpingClock,
    Rig,
    add_clip,
    clip_bytes,
    deadline,
    record,
    run,
)

CELLULAR = Link("cellular")
SIM = "sim:duration_s=5,lidar=0"


def later(vehicle: Rig, duration_ns: int = SOON_NS) -> None:
    vehicle.clock.set_mono_ns(vehicle.clock.mono_ns() + duration_ns)


def a_log(vehicle: Rig, content: bytes = b"a log") -> None:
    logs = vehicle.folder / "signals"
    logs.mkdir()
    (logs / "drive.ltsl").write_bytes(content)
    vehicle.uploader.send_logs_of(logs, lambda: None)


@pytest.mark.parametrize("letter", ["b", "f"])
def test_logs_go_while_a_refused_clip_waits(tmp_path: Path, letter: str) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(1, SMALL))
        a_log(vehicle)
        await vehicle.receiver.authenticate(renew=False)
        simulator.script, simulator.faulty = letter * 9, ("POST",)
        report = await vehicle.uploader.drain()
        assert [clip_id for clip_id, _ in report.kept] == [entry.clip_id]
        assert simulator.logs == [b"a log"]
        # The clip is asked about once an hour: nothing to stay awake for.
        assert vehicle.uploader.may_send_more()
        later(vehicle)
        assert not vehicle.uploader.may_send_more()
        assert vehicle.uploader.has_waiting()

    run(tmp_path, ReceiverSimulator(), body)


def test_a_clip_breaks_off_a_log(tmp_path: Path) -> None:
    log = clip_bytes(2, LARGE)

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        a_log(vehicle, log)
        kept: list[Entry] = []
        logs_before_the_clip: list[int] = []

        def meanwhile() -> None:
            if not kept:
                kept.append(add_clip(vehicle.spool, clip_bytes(1, SMALL), priority="low"))
            elif kept[0].clip_id in simulator.held and not logs_before_the_clip:
                logs_before_the_clip.append(len(simulator.logs))

        simulator.on_body_chunk = meanwhile
        report = await vehicle.uploader.drain()
        assert report.uploaded == (kept[0].clip_id,)
        assert logs_before_the_clip == [0]
        assert simulator.logs == [log]

    run(tmp_path, ReceiverSimulator(), body)


def test_logs_keep_to_their_own_link_while_clips_wait(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        add_clip(vehicle.spool, clip_bytes(1, SMALL), cellular="forbidden")
        a_log(vehicle)
        await vehicle.uploader.drain(deadline(vehicle))
        assert simulator.logs == []

    run(tmp_path, ReceiverSimulator(), body, link=CELLULAR)


def test_a_vehicle_that_is_not_taken_does_not_stay_awake(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(1, SMALL))
        vehicle.ledger.outbox.put(record(1))
        simulator.enrolment_token = "good"
        with pytest.raises(RefusedError):
            await vehicle.uploader.enrol("bad")
        assert vehicle.uploader.may_send_more()
        later(vehicle)
        assert not vehicle.uploader.may_send_more()
        assert vehicle.uploader.has_waiting()
        await vehicle.uploader.enrol("good")
        assert vehicle.uploader.may_send_more()
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,) and report.events_sent == 1

    run(tmp_path, ReceiverSimulator(), body)


def test_nothing_at_all_is_nothing_to_wait_for(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        assert not vehicle.uploader.may_send_more()
        add_clip(vehicle.spool, clip_bytes(1, SMALL))
        vehicle.ledger.outbox.put(record(1))
        a_log(vehicle)
        later(vehicle, 10 * SOON_NS)
        assert vehicle.uploader.may_send_more()
        await vehicle.uploader.drain()
        assert not vehicle.uploader.may_send_more()

    run(tmp_path, ReceiverSimulator(), body)


@pytest.mark.parametrize("link", [CELLULAR, Link("wifi", metered=True), Link("none")])
@pytest.mark.parametrize("what", ["clip", "log"])
def test_what_the_link_does_not_take_is_waited_for_until_links_have_settled(
    tmp_path: Path, link: Link, what: str
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        if what == "clip":
            add_clip(vehicle.spool, clip_bytes(1, SMALL), cellular="forbidden")
        else:
            a_log(vehicle)
        vehicle.link.change(link)
        for _ in range(2):
            assert vehicle.uploader.may_send_more()
            later(vehicle, SOON_NS - 1)
            assert vehicle.uploader.may_send_more()
            vehicle.link.change(WIFI)
            assert vehicle.uploader.may_send_more()
            vehicle.link.change(link)
        assert vehicle.uploader.may_send_more()
        later(vehicle)
        assert not vehicle.uploader.may_send_more()
        vehicle.link.change(WIFI)
        assert vehicle.uploader.may_send_more()

    run(tmp_path, ReceiverSimulator(), body)


@pytest.mark.parametrize(("cap_bytes", "expected"), [(10**8, True), (0, False)])
def test_records_are_waited_for_while_the_caps_allow(
    tmp_path: Path, cap_bytes: int, expected: bool
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        vehicle.ledger.outbox.put(record(1))
        vehicle.link.change(CELLULAR)
        vehicle.uploader.may_send_more()
        later(vehicle)
        assert vehicle.uploader.may_send_more() == expected

    run(tmp_path, ReceiverSimulator(), body, bytes_per_day=cap_bytes)


def test_a_short_wait_is_waited_for_and_a_long_one_is_not(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        add_clip(vehicle.spool, clip_bytes(1, SMALL))
        await vehicle.receiver.authenticate(renew=False)
        simulator.script, simulator.faulty = "S", ("POST",)
        await vehicle.uploader.drain()
        later(vehicle, NS_PER_S)
        assert vehicle.uploader.may_send_more()

    run(tmp_path, ReceiverSimulator(), body)


def test_a_parked_vehicle_sleeps_when_the_link_takes_nothing(tmp_path: Path) -> None:
    """Clips that cellular does not carry, and no wifi: it lingers, and does not sit out the
    deadline.
    """

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        add_clip(vehicle.spool, clip_bytes(1, SMALL), cellular="forbidden")
        links = GatedLinks(vehicle.link, vehicle.meter.total_bytes)
        limits = PowerLimits(key_off_ns=0)
        task = PowerTask(
            Off(), limits, vehicle.clock, Still(), links,
            lambda: not vehicle.uploader.may_send_more(), vehicle.uploader.wake, None,
        )  # fmt: skip
        await task.look()
        await task.look()
        begin_ns = vehicle.clock.mono_ns()
        while task.state.phase == "parked":
            await task.look()
            later(vehicle, NS_PER_S)
        assert task.state.ended == "all_sent"
        assert vehicle.clock.mono_ns() - begin_ns <= limits.linger_ns + 3 * NS_PER_S

    run(tmp_path, ReceiverSimulator(), body, link=CELLULAR)


class Off:
    def read(self) -> PowerReading:
        return PowerReading(ignition=False)

    def close(self) -> None: ...


class Still:
    def park(self) -> None: ...

    def resume(self) -> None: ...

    def flush(self) -> None: ...


def test_an_agent_stays_awake_for_what_heat_holds_back_and_for_nothing_in_vain(
    tmp_path: Path,
) -> None:
    async def go() -> None:
        clock = JumpingClock()
        config = AgentConfig.model_validate({
            "state": tmp_path, "vehicle_id": "car", "source": SIM,
            "cloud": "http://127.0.0.1:9", "link": {"kind": "cellular"},
        })  # fmt: skip
        agent = Agent(config, open_source(SIM), SIM, clock)
        agent._cloud = agent._connect()
        assert agent._cloud is not None
        assert agent._is_all_sent()
        add_clip(agent._drive.spool, clip_bytes(1, SMALL), cellular="forbidden")
        assert not agent._is_all_sent()
        clock.set_mono_ns(clock.mono_ns() + SOON_NS)
        agent._links.shut = "hot"
        assert not agent._is_all_sent()
        agent._links.shut = ""
        assert agent._is_all_sent()
        await agent._cloud.close()
        agent._drive.close(in_order=True)

    asyncio.run(go())
