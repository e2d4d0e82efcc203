"""Power: the step as a table, the readings, the task, and uploads that it stops."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import InputError
from contracts.ids import PART_BYTES
from edge_agent.ports import Link
from edge_agent.power.sources import FilePower, ScriptedPower, parse_reading
from edge_agent.power.step import PowerLimits, PowerReading, PowerState, step
from edge_agent.power.task import PowerTask
from edge_agent.upload import FixedLink
from edge_agent.upload.links_gate import GatedLinks
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import FAST, Rig, add_clip, clip_bytes, run

IN_PIECES = replace(FAST, bytes_per_s=200_000)
"""Shaped, on time that jumps: a part goes in 160 pieces, with a turn of the loop between them."""
ON, OFF = PowerReading(ignition=True), PowerReading(ignition=False)
LIMITS = PowerLimits()


def run_script(
    *script: tuple[float, PowerReading], limits: PowerLimits = LIMITS, sent_at: float = 1e9
) -> list[tuple[float, str, str]]:
    """Each change of phase or shut, with its second."""
    state, changes, before = PowerState(), list[tuple[float, str, str]](), ("driving", "")
    readings = sorted(script, key=lambda row: row[0])
    second = 0.0
    while second <= readings[-1][0] + 4000:
        past = [reading for at_s, reading in readings if at_s <= second]
        reading = past[-1] if past else ON
        state = step(state, reading, limits, round(second * NS_PER_S), second >= sent_at)
        if (state.phase, state.shut) != before:
            before = (state.phase, state.shut)
            changes.append((second, *before))
        second += 0.5
    return changes


def test_key_off_uploads_until_the_deadline() -> None:
    assert run_script((100, OFF)) == [(105, "parked", ""), (1905, "ended", "deadline")]


def test_a_vehicle_with_nothing_to_send_sleeps_at_once() -> None:
    assert run_script((100, OFF), sent_at=400) == [(105, "parked", ""), (400, "ended", "all_sent")]
    # But not before it has had the time to ask for updates.
    assert run_script((100, OFF), sent_at=0) == [(105, "parked", ""), (225, "ended", "all_sent")]


def test_a_flapping_ignition_drives_on() -> None:
    flaps = [(100 + n, OFF if n % 2 else ON) for n in range(61)]
    assert run_script(*flaps, (200, ON)) == []
    longer = [(100 + 7 * n, ON if n % 2 else OFF) for n in range(6)]
    found = run_script(*longer, (200, ON))
    assert [phase for _, phase, _ in found] == ["parked", "driving"] * 3


def test_ignition_resumes_driving_in_any_phase() -> None:
    assert run_script((100, OFF), (150, ON)) == [(105, "parked", ""), (150, "driving", "")]
    found = run_script((100, OFF), (5000, ON))
    assert found == [
        (105, "parked", ""), (1905, "ended", "deadline"), (5000, "driving", ""),
    ]  # fmt: skip


def test_a_low_supply_ends_a_parked_vehicle_and_never_a_drive() -> None:
    def volts(ignition: bool, supply_v: float) -> PowerReading:
        return PowerReading(ignition, supply_v)

    found = run_script((0, volts(True, 13)), (50, volts(True, 11)), (80, volts(True, 13)))
    assert found == [(60, "driving", "supply_low"), (80, "driving", "")]
    # A starter pulls it down for less than the limit.
    assert run_script((0, volts(True, 8)), (9, volts(True, 13))) == []
    found = run_script((100, volts(False, 12.5)), (200, volts(False, 11.7)))
    assert found == [(105, "parked", ""), (210, "ended", "supply_low")]


def test_heat_shuts_sending_until_it_is_cool() -> None:
    degrees = [(0, 80.0), (10, 86.0), (20, 80.0), (30, 74.0), (40, 80.0)]
    script = [(at_s, PowerReading(True, None, value)) for at_s, value in degrees]
    assert run_script(*script) == [(10, "driving", "hot"), (30, "driving", "")]


def test_what_is_unknown_changes_nothing() -> None:
    assert run_script((100, PowerReading(problem="no file"))) == []
    # Parked, then unknown: the deadline holds all the same.
    found = run_script((100, OFF), (200, PowerReading()))
    assert found == [(105, "parked", ""), (1905, "ended", "deadline")]
    # Off, unknown, off again: parked once it is known to have been off for long enough.
    found = run_script((100, OFF), (102, PowerReading()), (140, OFF))
    assert found[0] == (140, "parked", "")


readings = st.builds(
    PowerReading, st.sampled_from([True, False, None]), st.none() | st.floats(6, 15),
    st.none() | st.floats(-20, 120),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(readings, st.integers(1, 600), st.booleans()), max_size=40))
def test_whatever_comes_recording_follows_the_key(
    script: list[tuple[PowerReading, int, bool]],
) -> None:
    state, now_ns = PowerState(), 0
    for reading, seconds, sent in script:
        now_ns += seconds * NS_PER_S
        state = step(state, reading, LIMITS, now_ns, sent)
        if reading.ignition:
            assert state.records and not state.ended
        assert (state.phase == "ended") == bool(state.ended)
        assert state.phase != "ended" or state.shut
        assert state.records == (state.phase == "driving")


# Readings ------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "power.toml"
    source = FilePower(path)
    assert source.read().ignition is None
    assert "No such file" in source.read().problem
    path.write_text("ignition = true\nsupply_v = 12.6\n")
    assert source.read() == PowerReading(True, 12.6)
    path.write_text("ignition = false\ntemperature_c = 41\n")
    assert source.read() == PowerReading(False, None, 41.0)


@pytest.mark.parametrize(
    "text", ["ignition = 1", "ignition = 'on'", "volts = 12", "supply_v = true", "supply_v = nan",
             "supply_v = 'much'", "ignition"],
)  # fmt: skip
def test_what_is_no_reading_is_told_with_its_key(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        parse_reading(text, "power.toml")
    path = tmp_path / "power.toml"
    path.write_text(text)
    found = FilePower(path).read()
    assert found.ignition is None and found.problem


# The task ------------------------------------------------------------------------------------


class Drive:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def park(self) -> None:
        self.calls.append("park")

    def resume(self) -> None:
        self.calls.append("resume")

    def flush(self) -> None:
        self.calls.append("flush")


def test_the_task_carries_out_each_change_once() -> None:
    clock, drive, ends, wakes = VirtualClock(), Drive(), list[str](), list[int]()
    links = GatedLinks(FixedLink(Link("wifi")), lambda: 0)
    script = [(0.0, ON), (10.0, OFF), (60.0, ON), (100.0, OFF)]
    task = PowerTask(
        ScriptedPower(clock, script), PowerLimits(deadline_ns=100 * NS_PER_S), clock, drive,
        links, lambda: False, lambda: wakes.append(1), ends.append,
    )  # fmt: skip

    async def story() -> list[tuple[int, str]]:
        seen = []
        for second in range(300):
            clock.set_mono_ns(second * NS_PER_S)
            await task.look()
            seen.append((second, links.link().kind))
        return seen

    seen = asyncio.run(story())
    assert drive.calls == ["park", "resume", "park", "flush"]
    assert ends == ["deadline"]
    assert [kind for second, kind in seen if second < 205] == ["wifi"] * 205
    assert [kind for second, kind in seen if second >= 205] == ["none"] * 95
    assert len(wakes) == 4


# Uploads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "why"),
    [
        (PowerReading(False, 10.0), "supply_low"),
        (PowerReading(False, 13.0, 99.0), "hot"),
        (PowerReading(False, 13.0), "deadline"),
    ],
)
def test_what_power_forbids_stops_in_mid_part_and_is_kept(
    tmp_path: Path, then: PowerReading, why: str
) -> None:
    """The garage: parked on wifi, a part under way. What is finished stays with the receiver."""

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        inner = FixedLink(Link("wifi"))
        links = GatedLinks(inner, lambda: vehicle.meter.total_bytes())
        vehicle.link = links  # type: ignore[assignment]
        vehicle.transport_limits = IN_PIECES
        await vehicle.restart()
        entry = add_clip(vehicle.spool, clip_bytes(41, 2 * PART_BYTES + 5), safety=True)
        reading = [OFF]

        class Source:
            def read(self) -> PowerReading:
                return reading[0]

            def close(self) -> None:
                return None

        limits = PowerLimits(key_off_ns=0, floor_ns=0, deadline_ns=5000 * NS_PER_S)
        task = PowerTask(
            Source(), limits, vehicle.clock, Drive(), links,
            lambda: not vehicle.spool.queue(), vehicle.uploader.wake, None,
        )  # fmt: skip
        await task.look()
        looks: list[asyncio.Task[None]] = []

        def on_chunk() -> None:
            if simulator.body_bytes > PART_BYTES + 100_000 and not looks:
                reading[0] = then
                late_ns = 6000 * NS_PER_S if why == "deadline" else 0
                vehicle.clock.set_mono_ns(vehicle.clock.mono_ns() + late_ns)
                looks.append(asyncio.ensure_future(task.look()))

        simulator.on_body_chunk = on_chunk
        report = await vehicle.uploader.drain()
        assert report.uploaded == ()
        assert report.kept == ((entry.clip_id, "no_link"),)
        assert len(simulator.held[entry.clip_id].content) == PART_BYTES
        assert simulator.body_bytes < 2 * PART_BYTES
        assert links.shut == why
        # Ignition comes back: the link opens, and the upload goes on where it was.
        reading[0] = PowerReading(True, 13.0, 20.0)
        await task.look()
        assert links.shut == ""
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,)
        sent = links.bytes_by_class()
        assert sent.keys() == {"wifi"}
        # Closing packets may still come, and enrolment was counted before.
        assert sent["wifi"] == pytest.approx(vehicle.meter.total_bytes(), abs=5000)
        inner.change(Link("wifi", metered=True))
        assert links.class_now() == "metered_wifi"
        assert links.bytes_by_class()["metered_wifi"] < 5000

    run(tmp_path, ReceiverSimulator(), body)
