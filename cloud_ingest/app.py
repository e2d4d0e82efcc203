"""The composition root: chooses the adapters and puts the service together.

`serve` runs it with the embedded database; tests and other servers give it a database URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
import structlog
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest import (
    clips_routes,
    embeddings_routes,
    events_routes,
    problems,
    signal_logs_routes,
    uploads_routes,
)
from cloud_ingest.auth import routes as auth_routes
from cloud_ingest.auth.tokens import TokenSigner, new_key
from cloud_ingest.auth.vehicles import Vehicles
from cloud_ingest.bodies import BoundedBodies
from cloud_ingest.catalog import Catalog
from cloud_ingest.collector import Collector
from cloud_ingest.commit import Committer
from cloud_ingest.database import open_engine, to_time
from cloud_ingest.event_book import EventBook
from cloud_ingest.fleet import routes as fleet_routes
from cloud_ingest.fleet.desk import open_fleet_desk
from cloud_ingest.ota import routes as ota_routes
from cloud_ingest.ota.ota import Ota
from cloud_ingest.ota.start import open_ota
from cloud_ingest.ports import ManifestReader, ObjectStore, PartStore
from cloud_ingest.receiver import Receiver
from cloud_ingest.schema import server_keys
from cloud_ingest.service import Service, service_of
from cloud_ingest.settings import Settings
from cloud_ingest.signal_logs import SignalLogs
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from cloud_ingest.stores.obstore_objects import ObstoreObjects
from cloud_ingest.tus import routes as tus_routes
from cloud_ingest.upload_book import UploadBook
from contracts import SOFTWARE_VERSION
from contracts.clock import Clock, SystemClock
from contracts.errors import InputError, LongtailError

_EXPOSED = [
    "Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size",
    "Tus-Checksum-Algorithm", "Upload-Offset", "Upload-Length", "Upload-Metadata",
    "Upload-Expires", "ETag", "Content-Range", "Accept-Ranges", "Content-Length",
]  # fmt: skip
_LOCAL_PAGES = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_log = structlog.get_logger(__name__)


def create_app(
    settings: Settings,
    database_url: str | None = None,
    *,
    clock: Clock | None = None,
    reader: ManifestReader | None = None,
    parts: PartStore | None = None,
    objects: ObjectStore | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: see there.
        database_url: a migrated database; `settings.database_url` when None.
        clock, reader, parts, objects: other adapters than the default ones.

    Raises `InputError` when no database is named.
    """
    if database_url is None:
        if settings.database_url is None:
            raise InputError("no database is named", "DATABASE_URL")
        database_url = settings.database_url.get_secret_value()
    chosen_parts = parts or LocalParts(settings.folder / "parts", settings.free_bytes_kept)
    chosen_objects = objects or open_objects(settings)
    chosen_clock = clock or SystemClock()
    chosen_reader = reader or clip_manifest_reader()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = open_engine(database_url)
        signer = TokenSigner(await _server_key(engine, chosen_clock), chosen_clock)
        committer = Committer(engine, chosen_objects, chosen_parts, chosen_reader, chosen_clock)
        book = UploadBook(engine, chosen_clock, settings.upload_expiry_s, settings.max_open_uploads)
        receiver = Receiver(book, chosen_parts, committer, settings)
        vehicles = Vehicles(engine, chosen_clock)
        ota = await _open_ota(app, engine, settings, chosen_clock)
        fleet = open_fleet_desk(engine, chosen_clock, settings, vehicles, ota)
        app.state.service = Service(
            settings=settings,
            clock=chosen_clock,
            engine=engine,
            objects=chosen_objects,
            signer=signer,
            vehicles=vehicles,
            receiver=receiver,
            catalog=Catalog(engine),
            events=EventBook(engine, chosen_clock),
            ota=ota,
            fleet=fleet,
            signal_logs=SignalLogs(
                engine, open_log_objects(settings), settings.folder / "incoming", chosen_clock
            ),
        )
        app.state.collector = Collector(engine, chosen_parts, receiver, chosen_clock)
        tasks = [
            asyncio.create_task(app.state.collector.run()),
            asyncio.create_task(fleet.monitor.run()),
        ]
        if settings.is_laptop:
            _log.warning("laptop mode: this machine's user needs no token", host=settings.host)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await engine.dispose()

    app = FastAPI(
        title="Longtail cloud",
        version=SOFTWARE_VERSION,
        summary="Receives clips from vehicles, keeps them, and finds them again.",
        lifespan=lifespan,
    )
    problems.install(app)
    app.add_middleware(BoundedBodies)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_origin_regex=_LOCAL_PAGES,
        allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    for module in (
        auth_routes,
        uploads_routes,
        tus_routes,
        events_routes,
        clips_routes,
        embeddings_routes,
        ota_routes,
        fleet_routes,
        signal_logs_routes,
    ):
        app.include_router(module.router)
    app.add_api_route("/healthz", healthz, tags=["service"], summary="Whether the service works")
    return app


async def healthz(request: Request) -> dict[str, str]:
    """Answers when the database does."""
    async with service_of(request).engine.connect() as connection:
        await connection.execute(sa.select(1))
    return {"status": "ok", "version": SOFTWARE_VERSION}


def clip_manifest_reader() -> ManifestReader:
    """The reader of Longtail's own clips."""
    from kernels.clip.reader import read_manifest

    return read_manifest


def open_objects(settings: Settings) -> ObjectStore:
    """The object store that the settings name; a folder is always the durable local one."""
    url = settings.object_store_url
    if url is None:
        return LocalObjects(settings.folder / "objects")
    if url.startswith("file://"):
        return LocalObjects(Path(unquote(urlsplit(url).path)))
    return ObstoreObjects(url)


def open_log_objects(settings: Settings) -> ObjectStore:
    """Where signal logs lie: beside the clips, apart from them."""
    url = settings.object_store_url
    if url is None:
        return LocalObjects(settings.folder / "signal-logs", ".ltsl")
    if url.startswith("file://"):
        return LocalObjects(Path(unquote(urlsplit(url).path)) / "signal-logs", ".ltsl")
    return ObstoreObjects(url, "signal-logs/", ".ltsl")


async def _open_ota(app: FastAPI, engine: AsyncEngine, settings: Settings, clock: Clock) -> Ota:
    """The updates' half. What forbids it forbids the start: `app.state.start_error` tells why."""
    try:
        return await open_ota(engine, settings, clock)
    except LongtailError as error:
        app.state.start_error = error
        await engine.dispose()
        raise


async def _server_key(engine: AsyncEngine, clock: Clock) -> dict[str, str]:
    """The key of all replicas; the first one to start makes it."""
    fresh = {"name": "tokens", "key_jwk": new_key(), "created_utc": to_time(clock.utc_ns())}
    async with engine.begin() as connection:
        await connection.execute(insert(server_keys).values(fresh).on_conflict_do_nothing())
        query = sa.select(server_keys.c.key_jwk).where(server_keys.c.name == "tokens")
        key: dict[str, str] = (await connection.execute(query)).scalar_one()
    return key
