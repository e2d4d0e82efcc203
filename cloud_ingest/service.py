"""All parts of one running service, put together in `app` and reached by the routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.ports import ObjectStore
from cloud_ingest.settings import Settings
from contracts.clock import Clock

if TYPE_CHECKING:
    from cloud_ingest.auth.people import People
    from cloud_ingest.auth.tokens import TokenSigner
    from cloud_ingest.auth.vehicles import Vehicles
    from cloud_ingest.background import Background
    from cloud_ingest.catalog import Catalog
    from cloud_ingest.commit import Committer
    from cloud_ingest.event_book import EventBook
    from cloud_ingest.fleet.desk import FleetDesk
    from cloud_ingest.mining.desk import Mining
    from cloud_ingest.ota.ota import Ota
    from cloud_ingest.receiver import Receiver
    from cloud_ingest.signal_logs import SignalLogs
    from cloud_ingest.steps.after import AfterCommit


@dataclass(frozen=True, slots=True)
class Service:
    settings: Settings
    clock: Clock
    engine: AsyncEngine
    objects: ObjectStore
    signer: TokenSigner
    vehicles: Vehicles
    people: People
    receiver: Receiver
    committer: Committer
    catalog: Catalog
    mining: Mining
    events: EventBook
    ota: Ota
    fleet: FleetDesk
    signal_logs: SignalLogs
    after: AfterCommit
    background: Background


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    return cast(Service, request.app.state.service)


def base_url(request: Request) -> str:
    """Where clients reach the service, without a slash at the end."""
    public = service_of(request).settings.public_url
    return (public or str(request.base_url)).rstrip("/")
