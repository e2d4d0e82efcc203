"""The composition root: chooses the adapters and puts the service together.

`serve` runs it with the embedded database; tests and other servers give it a database URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

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
    metrics,
    problems,
    readiness,
    signal_logs_routes,
    uploads_routes,
)
from cloud_ingest.auth import people_routes
from cloud_ingest.auth import routes as auth_routes
from cloud_ingest.auth.people import People
from cloud_ingest.auth.tokens import TokenSigner, new_key
from cloud_ingest.auth.vehicles import Vehicles
from cloud_ingest.background import Background, Loop
from cloud_ingest.bodies import BoundedBodies
from cloud_ingest.catalog import Catalog
from cloud_ingest.collector import Collector
from cloud_ingest.commit import Committer
from cloud_ingest.completion import Completer
from cloud_ingest.database import close_engine, open_engine, to_time
from cloud_ingest.ended import EndedClips
from cloud_ingest.erasure import routes as erasure_routes
from cloud_ingest.event_book import EventBook
from cloud_ingest.fleet import routes as fleet_routes
from cloud_ingest.fleet.desk import open_fleet_desk
from cloud_ingest.metrics import MeasuredRequests, RequestMetrics
from cloud_ingest.mining import routes as mining_routes
from cloud_ingest.mining.picture_encoder import PictureEncoder
from cloud_ingest.mining.start import open_mining, picture_encoder, text_encoders
from cloud_ingest.mining.text_ports import TextEncoder
from cloud_ingest.ota import routes as ota_routes
from cloud_ingest.ota.start import open_ota
from cloud_ingest.piece_book import PieceBook
from cloud_ingest.ports import ManifestReader, ObjectStore, PartStore, Wanted
from cloud_ingest.pressure import Pressure
from cloud_ingest.receiver import Receiver
from cloud_ingest.scenes import routes as scenes_routes
from cloud_ingest.schema import server_keys
from cloud_ingest.service import Service, service_of
from cloud_ingest.settings import Settings
from cloud_ingest.signal_logs import SignalLogs
from cloud_ingest.span_book import SpanBook
from cloud_ingest.steps import routes as steps_routes
from cloud_ingest.steps.after import open_after_commit
from cloud_ingest.steps.on_ray import RayDriver, encoding_by, ray_driver
from cloud_ingest.stores.opening import (
    open_cold_objects,
    open_log_objects,
    open_objects,
    open_parts,
)
from cloud_ingest.tiers import routes as tiers_routes
from cloud_ingest.tiers.store import TieredObjects
from cloud_ingest.tus import routes as tus_routes
from cloud_ingest.upload_book import UploadBook
from cloud_ingest.vehicle_day import VehicleDay
from cloud_ingest.webhooks import routes as webhooks_routes
from contracts import SOFTWARE_VERSION
from contracts.clock import Clock, SystemClock
from contracts.errors import InputError, LongtailError

_EXPOSED = [
    "Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size",
    "Tus-Checksum-Algorithm", "Upload-Offset", "Upload-Length", "Upload-Metadata",
    "Upload-Expires", "Upload-Concat", "ETag", "Content-Range", "Accept-Ranges", "Content-Length",
]  # fmt: skip
_ROUTES = (
    auth_routes,
    people_routes,
    metrics,
    readiness,
    uploads_routes,
    tus_routes,
    events_routes,
    clips_routes,
    embeddings_routes,
    mining_routes,
    ota_routes,
    fleet_routes,
    signal_logs_routes,
    steps_routes,
    scenes_routes,
    tiers_routes,
    erasure_routes,
    webhooks_routes,
)
_LOCAL_PAGES = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Adapters:
    """What was chosen for one service, before its event loop runs."""

    database_url: str
    clock: Clock
    reader: ManifestReader
    objects: ObjectStore
    parts: PartStore
    wanted: Wanted | None
    encoders: tuple[TextEncoder, ...]
    by_picture: PictureEncoder | None
    ray: RayDriver | None


def create_app(
    settings: Settings,
    database_url: str | None = None,
    *,
    clock: Clock | None = None,
    reader: ManifestReader | None = None,
    parts: PartStore | None = None,
    objects: ObjectStore | None = None,
    wanted: Wanted | None = None,
    encoders: tuple[TextEncoder, ...] | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: see there.
        database_url: a migrated database; `settings.database_url` when None.
        clock, reader, parts, objects, wanted, encoders: other adapters than the default ones.

    Raises `InputError` when no database is named.
    """
    if database_url is None:
        if settings.database_url is None:
            raise InputError("no database is named", "DATABASE_URL")
        database_url = settings.database_url.get_secret_value()
    chosen_objects = objects or open_objects(settings)
    adapters = _Adapters(
        database_url=database_url,
        clock=clock or SystemClock(),
        reader=reader or clip_manifest_reader(),
        objects=chosen_objects,
        parts=parts or open_parts(settings, chosen_objects),
        wanted=wanted,
        encoders=text_encoders(settings) if encoders is None else encoders,
        by_picture=picture_encoder(settings),
        ray=ray_driver(settings),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                await _open(app, settings, adapters, stack)
            except LongtailError as error:
                app.state.start_error = error  # it tells why there is no service
                raise
            if settings.is_laptop:
                _log.warning("laptop mode: this machine's user needs no token", host=settings.host)
            yield

    app = FastAPI(
        title="Longtail cloud",
        version=SOFTWARE_VERSION,
        summary="Receives clips from vehicles, keeps them, and finds them again.",
        lifespan=lifespan,
    )
    problems.install(app)
    app.add_middleware(BoundedBodies)
    app.state.request_metrics = RequestMetrics()
    app.add_middleware(MeasuredRequests, metrics=app.state.request_metrics)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_origin_regex=_LOCAL_PAGES,
        allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    for module in _ROUTES:
        app.include_router(module.router)
    app.add_api_route("/healthz", healthz, tags=["service"], summary="Whether the service works")
    return app


async def _open(
    app: FastAPI, settings: Settings, adapters: _Adapters, stack: AsyncExitStack
) -> None:
    """Put the service together in the running loop.

    `stack` closes it: loops first, then completions, what they used, and the database last; each
    whatever becomes of the others.
    """
    clock, by_picture = adapters.clock, adapters.by_picture
    engine = open_engine(adapters.database_url)
    stack.push_async_callback(close_engine, engine)
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(settings.store_threads, thread_name_prefix="store")
    )
    signer = TokenSigner(await _server_key(engine, clock), clock)
    await asyncio.to_thread(adapters.parts.own, signer.service_id)
    background = Background(clock)
    # What was set aside may lie in the cold tier when it is read again.
    tiers = TieredObjects(adapters.objects, open_cold_objects(settings))
    committer = Committer(engine, tiers, adapters.reader, clock)
    day = VehicleDay(engine, clock, settings.vehicle_bytes_per_day)
    book = UploadBook(engine, clock, settings.upload_expiry_s, settings.max_open_uploads, day)
    catalog = Catalog(engine)
    mining = open_mining(
        engine, clock, settings.folder / "mining", catalog, adapters.encoders, by_picture
    )
    stack.push_async_callback(mining.close)
    pictures = None
    if by_picture is not None:
        pictures = encoding_by(adapters.ray, mining.pictures, by_picture)
    after = open_after_commit(
        engine, clock, settings, adapters.objects, pictures, mining.captioner, adapters.ray,
        background.failed,
    )  # fmt: skip
    stack.push_async_callback(after.close)
    pieces = PieceBook(engine)
    completer = Completer(book, pieces, adapters.parts, committer, background.failed)
    stack.push_async_callback(completer.close)
    receiver = Receiver(
        book,
        SpanBook(engine, settings.max_spans),
        pieces,
        adapters.parts,
        completer,
        settings,
        Pressure(engine, clock, settings, adapters.parts.free_bytes),
        day,
        adapters.wanted or after.scenes,
    )
    vehicles = Vehicles(engine, clock)
    ota = await open_ota(engine, settings, clock)
    fleet = open_fleet_desk(engine, clock, settings, vehicles, ota, after.scene_lists)
    app.state.service = Service(
        settings=settings,
        clock=clock,
        engine=engine,
        objects=after.objects,
        signer=signer,
        vehicles=vehicles,
        people=People(engine, clock),
        receiver=receiver,
        committer=committer,
        catalog=catalog,
        mining=mining,
        events=EventBook(engine, clock),
        ota=ota,
        fleet=fleet,
        signal_logs=SignalLogs(
            engine, open_log_objects(settings), settings.folder / "incoming", clock
        ),
        after=after,
        background=background,
    )
    app.state.collector = Collector(
        engine, adapters.parts, completer, EndedClips(engine, tiers, clock), clock,
        background.failed,
    )  # fmt: skip
    loops: dict[str, Loop] = {
        "collector": app.state.collector.run,
        "rollouts": fleet.monitor.run,
        **after.loops(),
        **mining.loops(is_captioning=after.works),
    }
    stack.push_async_callback(background.close)
    for name, run in loops.items():
        background.start(name, run)


async def healthz(request: Request) -> dict[str, str]:
    """Answers when the database does."""
    async with service_of(request).engine.connect() as connection:
        await connection.execute(sa.select(1))
    return {"status": "ok", "version": SOFTWARE_VERSION}


def clip_manifest_reader() -> ManifestReader:
    """The reader of Longtail's own clips."""
    from kernels.clip.reader import read_manifest

    return read_manifest


async def _server_key(engine: AsyncEngine, clock: Clock) -> dict[str, str]:
    """The key of all replicas; the first one to start makes it."""
    fresh = {"name": "tokens", "key_jwk": new_key(), "created_utc": to_time(clock.utc_ns())}
    async with engine.begin() as connection:
        await connection.execute(insert(server_keys).values(fresh).on_conflict_do_nothing())
        query = sa.select(server_keys.c.key_jwk).where(server_keys.c.name == "tokens")
        key: dict[str, str] = (await connection.execute(query)).scalar_one()
    return key
