"""Puts the updater together from what the agent has.

Everything of it lies in `<state>/ota`: `state.json`, `time_floor.json`, `sequence.json`, the
metadata of both repositories, whole files and half fetched ones. Deleting the folder takes the
vehicle back to its built-in parts, and to its trust anchors.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import structlog

from contracts.clock import Clock
from contracts.errors import LongtailError
from edge_agent.config import OtaConfig
from edge_agent.disk import Disk, RealDisk
from edge_agent.identity import Signer
from edge_agent.ledger import Ledger
from edge_agent.ota.book import OtaBook
from edge_agent.ota.check_in import CheckInCaller
from edge_agent.ota.download import Downloader
from edge_agent.ota.fetcher import OtaHttp
from edge_agent.ota.files import FileStore
from edge_agent.ota.fleet_scenes import FleetSceneList
from edge_agent.ota.lineup import LineupKeeper
from edge_agent.ota.manifest import Figures, Sequence, VehicleFacts
from edge_agent.ota.ports import Runtime
from edge_agent.ota.refresh import NoRefresher, Refresher
from edge_agent.ota.repositories import Repositories, TrustAnchors
from edge_agent.ota.staging import Stager
from edge_agent.ota.status import NoUpdater
from edge_agent.ota.step import SoakRules
from edge_agent.ota.trusted_time import TrustedTime
from edge_agent.ota.updater import Updater
from edge_agent.ports import LinkMonitor, SessionOpener
from edge_agent.spool import Spool
from edge_agent.upload.charge import Charger
from edge_agent.upload.receiver import Receiver
from edge_agent.upload.transport import Transport

log = structlog.get_logger(__name__)


def open_updater(
    config: OtaConfig,
    state: Path,
    *,
    signer: Signer,
    transport: Transport | None,
    runtime: Runtime,
    ledger: Ledger,
    spool: Spool,
    links: LinkMonitor,
    facts: VehicleFacts,
    floor_free_bytes: int,
    clock: Clock,
    rng: random.Random,
    disk: Disk | None = None,
    opener: SessionOpener | None = None,
) -> Updater | NoUpdater:
    """The updater, or one that does nothing and says why there is none.

    Without trust anchors it checks in all the same, and takes nothing up.

    Args:
        state: the agent's state folder.
        transport: the updater's own, with a meter of its own; None without a cloud. It is closed
            by `Updater.close`.
        clock: the machine's, not a recording's.
        floor_free_bytes: disk that files are never fetched into.
        opener: opens the networks of released models, in place of the usual one.
    """
    if transport is None:
        return NoUpdater("no updates: there is no cloud")
    used = disk or RealDisk()
    folder = state / "ota"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        repositories, reason = _trusted(config, folder, signer.vehicle_id)
        # Without trust nothing is taken up; what was taken up before does not run, and stays.
        kept = folder if repositories is not None else folder / "without-trust"
        kept.mkdir(exist_ok=True)
        files = FileStore(kept, used)
    except (LongtailError, OSError) as error:
        # A vehicle drives on without updates rather than not at all.
        log.error("ota_off", reason=str(error))
        return NoUpdater(str(error), transport)
    rules = SoakRules(config.soak_driving_spec, config.soak_driving_model)
    book = OtaBook(kept / "state.json", used, clock, rules)
    time = TrustedTime(folder / "time_floor.json", used, clock)
    receiver = Receiver(transport, signer, clock, rng)
    charger = Charger(ledger, links, transport.meter, facts.cellular)
    http = OtaHttp(transport, receiver, charger, links, clock, rng, asyncio.Lock())
    lineup = LineupKeeper(book, files, runtime, opener)
    stager = Stager(book, files, Downloader(http, files, floor_free_bytes), lineup, links)
    caller = CheckInCaller(
        signer=signer,
        facts=facts,
        clock=clock,
        http=http,
        runtime=runtime,
        book=book,
        figures=Figures(ledger, spool, state, facts),
        sequence=Sequence(folder / "sequence.json", used),
        time=time,
        repositories=repositories,
    )
    refresher: Refresher | NoRefresher = NoRefresher()
    if repositories is not None:
        refresher = Refresher(signer.vehicle_id, http, repositories, book, lineup, time)
    return Updater(
        config, clock, links, rng, transport, runtime, book, time, lineup, stager, refresher,
        caller, reason, FleetSceneList(state / "fleet-scenes.json", used, http, links),
    )  # fmt: skip


def _trusted(config: OtaConfig, folder: Path, vehicle_id: str) -> tuple[Repositories | None, str]:
    """Both repositories, or None and why there are no updates; the vehicle drives on."""
    if config.trust is None:
        return None, "no updates: ota.trust names no folder with the trust anchors"
    try:
        anchors = TrustAnchors.load(
            config.trust.expanduser(), allow_demo_keys=config.allow_demo_keys
        )
        found = Repositories(folder, anchors, vehicle_id, allow_demo_keys=config.allow_demo_keys)
    except (LongtailError, OSError) as error:
        log.error("ota_off", reason=str(error))
        return None, f"no updates: {error}"
    return found, ""
