"""Link classes through NetworkManager, against a fake one on a private bus."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import InputError
from contracts.ids import PART_BYTES
from edge_agent.health.doctor_machine import network_manager
from edge_agent.ports import Link
from edge_agent.upload import WireMeter
from edge_agent.upload.links_gate import GatedLinks
from edge_agent.upload.links_networkmanager import (
    NetworkManagerLink,
    NetworkState,
    changed,
    link_of,
)
from tests.edge_agent.fake_bus import (
    DAEMON,
    FakeNetworkManager,
    PrivateBus,
    daemon_bus,
    private_bus,
)
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import FAST, Rig, add_clip, clip_bytes, run

IN_PIECES = replace(FAST, bytes_per_s=200_000)
"""Shaped, on time that jumps: a part goes in 160 pieces, with a turn of the loop between them."""
WIFI, ETHERNET, GSM = "802-11-wireless", "802-3-ethernet", "gsm"
NONE = Link("none")


@pytest.mark.parametrize(
    ("kind", "metered", "connectivity", "state", "link"),
    [
        (WIFI, 4, 4, 70, Link("wifi")),
        (WIFI, 2, 4, 70, Link("wifi")),
        (WIFI, 1, 4, 70, Link("wifi", True)),
        (WIFI, 3, 4, 70, Link("wifi", True)),
        (WIFI, 0, 4, 70, Link("wifi", True)),  # an unknown cost is a cost
        (ETHERNET, 4, 4, 70, Link("ethernet")),
        ("vlan", 4, 4, 70, Link("ethernet")),
        (GSM, 2, 4, 70, Link("cellular", True)),  # cellular never is free
        ("bluetooth", 4, 4, 70, Link("cellular", True)),
        ("wireguard", 4, 4, 70, Link("cellular", True)),  # what it runs over is not told
        (WIFI, 4, 3, 70, NONE),  # limited
        (WIFI, 4, 2, 70, NONE),  # a hotel's login page
        (WIFI, 4, 1, 70, NONE),
        (WIFI, 4, 0, 70, Link("wifi")),  # checks are switched off: the state tells
        (WIFI, 4, 0, 60, NONE),
        ("", 0, 4, 70, NONE),
    ],
)
def test_what_the_properties_mean(
    kind: str, metered: int, connectivity: int, state: int, link: Link
) -> None:
    assert link_of(NetworkState(state, connectivity, kind, metered)) == link


def test_changes_are_taken_one_by_one_and_nonsense_is_left_out() -> None:
    before = NetworkState(70, 4, WIFI, 4)
    assert changed(before, {"Metered": ("u", 1)}) == NetworkState(70, 4, WIFI, 1)
    assert changed(before, {"Metered": ("s", "yes"), "Devices": ("ao", [])}) == before
    assert changed(before, {"PrimaryConnectionType": ("u", 7)}).connection_type == ""


Story = Callable[[FakeNetworkManager, NetworkManagerLink, VirtualClock, PrivateBus | None],
                 Awaitable[None]]  # fmt: skip
BUSES = [
    "in-process",
    pytest.param(
        "dbus-daemon",
        marks=pytest.mark.skipif(DAEMON is None, reason="Debian's dbus-daemon is not installed"),
    ),
]


def on_bus(which: str, folder: Path, story: Story) -> None:
    async def go() -> None:
        opened = private_bus(folder) if which == "in-process" else daemon_bus(folder)
        async with opened as (address, bus):
            clock = VirtualClock()
            manager = FakeNetworkManager(address)
            await manager.start()
            link = NetworkManagerLink(address, clock)
            following = asyncio.create_task(link.run())
            try:
                await story(manager, link, clock, bus)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                if manager._connection is not None:
                    await manager.stop()
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(go(), 60))


async def becomes(link: NetworkManagerLink, wanted: Link) -> None:
    while link.link() != wanted:  # noqa: ASYNC110 - of another task's doing
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("which", BUSES)
def test_the_link_follows_its_signals(which: str, tmp_path: Path) -> None:
    async def story(
        manager: FakeNetworkManager, link: NetworkManagerLink, clock: VirtualClock,
        bus: PrivateBus | None,
    ) -> None:  # fmt: skip
        told: list[Link] = []
        link.on_change = lambda: told.append(link.link())
        assert link.link() == NONE and link.problem
        await becomes(link, Link("wifi"))
        assert link.problem == ""
        await manager.change(Metered=1)
        await becomes(link, Link("wifi", True))
        await manager.change(Connectivity=3)
        await becomes(link, NONE)
        await manager.change(PrimaryConnectionType=GSM, Connectivity=4)
        await becomes(link, Link("cellular", True))
        await manager.change(PrimaryConnectionType=ETHERNET, Metered=4)
        await becomes(link, Link("ethernet"))
        assert told == [Link("wifi"), Link("wifi", True), NONE, Link("cellular", True),
                        Link("ethernet")]  # fmt: skip
        assert manager.asked == 1

    on_bus(which, tmp_path, story)


@pytest.mark.parametrize("which", BUSES)
def test_networkmanager_goes_away_and_comes_back(which: str, tmp_path: Path) -> None:
    async def story(
        manager: FakeNetworkManager, link: NetworkManagerLink, clock: VirtualClock,
        bus: PrivateBus | None,
    ) -> None:  # fmt: skip
        await becomes(link, Link("wifi"))
        await manager.stop()
        await becomes(link, NONE)
        assert link.problem == "NetworkManager is away"
        manager.properties["Metered"] = ("u", 1)
        await manager.start()
        await becomes(link, Link("wifi", True))
        assert link.problem == ""

    on_bus(which, tmp_path, story)


def test_a_bus_that_hangs_up_is_asked_again(tmp_path: Path) -> None:
    async def story(
        manager: FakeNetworkManager, link: NetworkManagerLink, clock: VirtualClock,
        bus: PrivateBus | None,
    ) -> None:  # fmt: skip
        await becomes(link, Link("wifi"))
        assert bus is not None
        bus.kick()
        await becomes(link, NONE)
        assert link.problem.startswith("D-Bus is away")
        await manager.stop()
        await manager.start()
        await clock.advance_ns(2 * NS_PER_S)
        await becomes(link, Link("wifi"))

    on_bus("in-process", tmp_path, story)


def test_without_a_bus_there_is_no_link_and_the_task_goes_on(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        link = NetworkManagerLink(f"unix:path={tmp_path}/nothing", clock)
        following = asyncio.create_task(link.run())
        for _ in range(50):
            await clock.advance_ns(NS_PER_S)
            await asyncio.sleep(0.001)
        assert not following.done()
        assert link.link() == NONE
        assert "No such file" in link.problem
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(go())


def test_a_manager_that_was_never_there_is_told(tmp_path: Path) -> None:
    async def story(
        manager: FakeNetworkManager, link: NetworkManagerLink, clock: VirtualClock,
        bus: PrivateBus | None,
    ) -> None:  # fmt: skip
        await becomes(link, Link("wifi"))
        await manager.stop()
        other = NetworkManagerLink(manager._address, clock)
        following = asyncio.create_task(other.run())
        while other.problem == "not asked yet":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert "does not answer" in other.problem
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    on_bus("in-process", tmp_path, story)


def test_a_link_that_turns_metered_stops_the_upload_at_once(tmp_path: Path) -> None:
    """From the signal on the bus to the part on the wire."""

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        async with private_bus(tmp_path) as (address, _):
            manager = FakeNetworkManager(address)
            await manager.start()
            network = NetworkManagerLink(address, vehicle.clock)
            network.on_change = lambda: vehicle.uploader.wake()
            following = asyncio.create_task(network.run())
            await becomes(network, Link("wifi"))
            vehicle.link = GatedLinks(network, WireMeter().total_bytes)  # type: ignore[assignment]
            vehicle.transport_limits = IN_PIECES
            await vehicle.restart()
            entry = add_clip(vehicle.spool, clip_bytes(7, 2 * PART_BYTES + 5), cellular="forbidden")
            turns: list[asyncio.Task[None]] = []

            def on_chunk() -> None:
                if simulator.body_bytes > PART_BYTES + 100_000 and not turns:
                    turns.append(asyncio.ensure_future(manager.change(Metered=1)))

            simulator.on_body_chunk = on_chunk
            report = await vehicle.uploader.drain()
            assert report.uploaded == ()
            assert report.kept[0][1] in ("link_metered", "cellular_forbidden")
            assert len(simulator.held[entry.clip_id].content) == PART_BYTES
            assert simulator.body_bytes < 2 * PART_BYTES
            await manager.change(Metered=4)
            await becomes(network, Link("wifi"))
            report = await vehicle.uploader.drain()
            assert report.uploaded == (entry.clip_id,)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await manager.stop()

    run(tmp_path, ReceiverSimulator(), body)


def test_the_doctor_asks_it(tmp_path: Path) -> None:
    found = network_manager(f"unix:path={tmp_path}/nothing", patience_s=0.1)
    assert not isinstance(found, str)
    assert "cannot be asked" in found.detail and "start it" in found.advice


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jeepney", None)
    with pytest.raises(InputError, match=r"longtail\[dbus\]"):
        NetworkManagerLink("system", VirtualClock())
