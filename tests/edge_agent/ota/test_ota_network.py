"""The updater and the network: downloads that go on, links that cost, budgets that end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_agent.ota.download import Downloader
from edge_agent.ota.state import HeldFile
from edge_agent.ports import Link
from tests.edge_agent.ota_rig import (
    OtaRig,
    digest_of,
    network,
    play,
    trigger,
)
from tests.edge_agent.upload_rig import WIFI

CELLULAR = Link("cellular", metered=True)
PLENTY = {"bytes_per_day": 10**8, "bytes_per_month": 10**9}


def test_a_cut_download_goes_on_where_it_was(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        order = network()
        size = len(order.contents[1])
        rig.give(order)
        rig.cloud.cut_after_bytes = len(order.contents[0]) + size // 2
        await rig.round()
        assert rig.running == {"model": digest_of(order)}
        assert rig.cloud.target_bytes == sum(len(content) for content in order.contents)

    play(tmp_path, scene)


def test_a_download_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        order = network()
        size = len(order.contents[1])
        rig.give(order)
        rig.cloud.script, rig.cloud.faulty = "", ("GET",)
        rig.cloud.cut_after_bytes = len(order.contents[0]) + size // 2
        await rig.updater.poll_once()
        rig.cloud.script = "rr" + "E" * 30  # the cut, and then a server that fails
        await rig.updater.stage_once()
        assert rig.running == {}
        partial = list((rig.state_folder / "partial").iterdir())
        assert [path.stat().st_size for path in partial] == [size // 2]
        assert "model: " in rig.note
        rig.cloud.script = ""
        await rig.restart()
        await rig.round()
        assert rig.running == {"model": digest_of(order)}
        assert rig.cloud.target_bytes == sum(len(content) for content in order.contents)

    play(tmp_path, scene)


def test_a_changed_partial_file_is_noticed(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        order = trigger("brake")
        folder = rig.state_folder / "partial"
        (folder / digest_of(order)).write_bytes(b"#" * 20)
        rig.give(order)
        await rig.updater.poll_once()
        (folder / digest_of(order)).write_bytes(b"#" * 20)
        await rig.updater.stage_once()
        assert rig.running == {}
        assert "not what was signed" in rig.note
        assert list(folder.iterdir()) == []
        await rig.round()
        assert rig.running

    play(tmp_path, scene)


def test_a_server_without_ranges_will_do(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.cloud.without_ranges = True
        rig.give(trigger("brake"), network())
        await rig.round()
        assert set(rig.running) == {"trigger:brake", "model"}

    play(tmp_path, scene)


def test_models_wait_for_a_free_link_and_specs_are_charged(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(trigger("brake"), network())
        await rig.round()
        assert rig.running == {"trigger:brake": digest_of(trigger("brake"))}
        assert "model: waits for an unmetered link" in rig.note
        held = {one.slot: one.reason for one in rig.updater.status().held}
        assert held["model"] == "waits for an unmetered link"
        spent = rig.ledger.cellular.spent().day_bytes
        # What came in counts as well as what went out.
        received = sum(len(content) for content in rig.cloud.director.served.values())
        assert spent > received
        assert spent == pytest.approx(rig.meter.total_bytes(), rel=0.2)
        assert rig.updater.poll_interval_ns == rig.config.metered_poll
        rig.link.change(WIFI)
        await rig.updater.watch_once()
        await rig.round()
        assert "model" in rig.running
        assert rig.updater.poll_interval_ns == rig.config.poll
        assert rig.ledger.cellular.spent().day_bytes <= spent + 10_000

    play(tmp_path, scene, link=CELLULAR, **PLENTY)


def test_a_link_that_turns_metered_stops_a_model_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.ota.download.PIECE_BYTES", 100)

    async def scene(rig: OtaRig) -> None:
        order = network()
        size = sum(len(content) for content in order.contents)
        rig.give(order)
        rig.cloud.on_target = lambda: (
            rig.link.change(CELLULAR) if rig.cloud.target_bytes > size // 2 else None
        )
        await rig.round()
        assert rig.running == {}
        assert size // 2 < rig.cloud.target_bytes < size // 2 + 200
        assert "model: " in rig.note
        await rig.round()
        assert "waits for an unmetered link" in rig.note
        rig.cloud.on_target = lambda: None
        rig.link.change(WIFI)
        await rig.round()
        assert rig.running == {"model": digest_of(order)}
        assert rig.cloud.target_bytes <= size + 200

    play(tmp_path, scene, **PLENTY)


def test_an_order_that_changes_meanwhile_is_not_fetched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.ota.download.PIECE_BYTES", 20)

    begun, polled = asyncio.Event(), asyncio.Event()
    fetch_piece = Downloader._fetch_piece

    async def held_back(downloader: Downloader, file: HeldFile) -> None:
        if begun.is_set():
            await polled.wait()
        await fetch_piece(downloader, file)
        begun.set()

    monkeypatch.setattr(Downloader, "_fetch_piece", held_back)

    async def scene(rig: OtaRig) -> None:
        order = network()
        rig.give(order)
        await rig.updater.poll_once()
        rig.give(trigger("brake"))
        staging = asyncio.create_task(rig.updater.stage_once())
        await begun.wait()
        await rig.updater.poll_once()
        polled.set()
        await staging
        assert rig.cloud.target_bytes < sum(len(content) for content in order.contents)
        await rig.round()
        assert set(rig.running) == {"trigger:brake"}
        assert list((rig.state_folder / "partial").iterdir()) == []

    play(tmp_path, scene)


def test_endless_metadata_is_broken_off_at_the_allowance(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await rig.round()
        spent = rig.ledger.cellular.spent().day_bytes
        rig.cloud.doctored["director/2.root.json"] = b" " * 500_000
        rig.cloud.announced = 10**6
        await rig.updater.poll_once()
        assert "director: " in rig.note
        assert rig.ledger.cellular.spent().day_bytes - spent < 1_000_000
        assert rig.ledger.cellular.spent().day_bytes <= rig.limits.bytes_per_day

    play(tmp_path, scene, link=CELLULAR, bytes_per_day=1_000_000, bytes_per_month=10**9)


def test_a_spent_cellular_budget_stops_check_ins_and_nothing_else(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(trigger("brake"))
        await rig.round()
        assert rig.running
        rig.ledger.cellular.debit(10**8)
        before = len(rig.cloud.check_ins)
        await rig.round()
        assert len(rig.cloud.check_ins) == before
        assert "cellular_budget" in rig.note
        assert rig.running

    play(tmp_path, scene, link=CELLULAR, **PLENTY)
