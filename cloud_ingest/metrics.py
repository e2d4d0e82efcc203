"""The service's metrics for Prometheus: requests as they are answered, depths when somebody asks.

Each process counts its own requests and is scraped alone; depths come from the database, so every
replica tells the same. A route's label is its template: no id of a clip or a vehicle becomes a
label. The dashboard in `deploy/grafana` uses these names; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_ingest.auth.policy import Viewer
from cloud_ingest.database import to_time
from cloud_ingest.fleet.rollout_book import ENDED
from cloud_ingest.fleet_schema import rollouts
from cloud_ingest.pressure import UNFINISHED_BYTES
from cloud_ingest.schema import OPEN, outbox, uploads, vehicles
from cloud_ingest.service import Service, service_of
from cloud_ingest.steps_schema import step_runs, webhook_deliveries
from contracts import SOFTWARE_VERSION
from contracts.clock import NS_PER_S

PREFIX = "longtail_cloud_"
CONTACT_NS = 3600 * NS_PER_S
"""A vehicle that was heard of within this time counts as in contact."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_UNKNOWN = "none"

GAUGES = {
    "clips": "Clips in the catalog by state; of very many the database's estimate.",
    "uploads_open": "Uploads that have begun and not ended.",
    "outbox_entries": "Commits that what comes after them has not taken up yet.",
    "vehicles": "Vehicles that are enrolled and not revoked, and of them those in contact.",
    "rollouts_live": "Rollouts that have not ended.",
    "load": "How near this replica is to its limits, each depth as a share of its limit.",
    "body_bytes": "Bytes of bodies that this process holds between socket and store.",
    "advised_bytes_per_s": "The rate that vehicles are advised; 0: as fast as they may.",
    "buffer_bytes": "Bytes of uploads that have not ended.",
    "step_runs_waiting": "Clips whose steps after the commit have not ended.",
    "webhooks_owed": "Deliveries to webhooks that nobody has taken yet.",
    "loops": "Loops of this process beside its requests: 1 for one that lives, 0 for one down.",
    "database_connections": "Connections of this process to the database, by what they do.",
}


class RequestMetrics:
    """Counts of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            f"{PREFIX}requests", "Requests answered.", ("method", "route", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            f"{PREFIX}request_seconds", "From a request's head to its answer's end.",
            ("method", "route"), registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.received = Counter(
            f"{PREFIX}received_bytes", "Bytes of requests' bodies.", ("route",),
            registry=self.registry,
        )  # fmt: skip


class MeasuredRequests:
    """The ASGI layer that counts."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin_s, received, status = perf_counter(), 0, 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, counted, noted)
        finally:
            # What fails after its beginning, or before any answer, is the caller's 500 or gone.
            route, method = getattr(scope.get("route"), "path", _UNKNOWN), scope["method"]
            self._metrics.requests.labels(method, route, str(status or 499)).inc()
            self._metrics.seconds.labels(method, route).observe(perf_counter() - begin_s)
            if received:
                self._metrics.received.labels(route).inc(received)


async def gauges(service: Service) -> list[GaugeMetricFamily]:
    """Depths as the database knows them now, and what this process is at."""
    since = to_time(max(0, service.clock.utc_ns() - CONTACT_NS))
    is_in = vehicles.c.revoked_utc.is_(None)
    async with service.engine.connect() as connection:
        states = (await connection.execute(_CLIPS)).all()
        (row,) = await connection.execute(
            sa.select(
                _count(uploads, uploads.c.state == OPEN), _count(outbox),
                _count(vehicles, is_in),
                _count(vehicles, is_in, vehicles.c.last_contact_utc >= since),
                _count(rollouts, rollouts.c.phase.not_in(ENDED)),
                _count(step_runs, step_runs.c.state == OPEN),
                _count(webhook_deliveries, webhook_deliveries.c.state == "open"),
                UNFINISHED_BYTES,
            )
        )  # fmt: skip
    opened, waiting, enrolled, in_contact, live, runs, owed, buffered = row
    pressure, pool = service.receiver.pressure, service.engine.pool
    loops = service.background.states()
    busy = getattr(pool, "checkedout", lambda: 0)()
    idle = getattr(pool, "checkedin", lambda: 0)()
    return list(_families({
        "clips": ("state", {row.state: float(row.clips) for row in states}),
        "uploads_open": ("", {"": float(opened)}),
        "outbox_entries": ("", {"": float(waiting)}),
        "vehicles": ("state", {"enrolled": float(enrolled), "in contact": float(in_contact)}),
        "rollouts_live": ("", {"": float(live)}),
        "load": ("of", await pressure.depths()),
        "body_bytes": ("", {"": float(pressure.held_bytes)}),
        "advised_bytes_per_s": ("", {"": await pressure.advice() or 0.0}),
        "buffer_bytes": ("", {"": float(buffered)}),
        "step_runs_waiting": ("", {"": float(runs)}),
        "webhooks_owed": ("", {"": float(owed)}),
        "loops": ("loop", {name: float(is_up) for name, is_up in loops.items()}),
        "database_connections": ("state", {"busy": float(busy), "idle": float(idle)}),
    }))  # fmt: skip


_MANY = 200_000
"""Beyond so many rows they are estimated, since counting reads them all."""
_CLIPS = sa.text(f"""
    SELECT state, clips FROM (
        SELECT state, count(*) AS clips FROM clips
        WHERE (SELECT reltuples FROM pg_class WHERE oid = 'clips'::regclass) < {_MANY}
        GROUP BY state
        UNION ALL
        SELECT value, freq * reltuples FROM pg_class, pg_stats s,
            unnest(s.most_common_vals::text::text[], s.most_common_freqs) AS common (value, freq)
        WHERE oid = 'clips'::regclass AND reltuples >= {_MANY}
            AND s.tablename = 'clips' AND s.attname = 'state'
    ) AS counted
""")


def _count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(table).where(*conditions).scalar_subquery()


def _families(
    values: dict[str, tuple[str, dict[str, float]]],
) -> Iterator[GaugeMetricFamily]:
    for name, (label, by_value) in values.items():
        family = GaugeMetricFamily(PREFIX + name, GAUGES[name], labels=[label] if label else [])
        for value, number in by_value.items():
            family.add_metric([value] if label else [], number)
        yield family
    info = GaugeMetricFamily(f"{PREFIX}info", "What runs; always 1.", labels=["version"])
    info.add_metric([SOFTWARE_VERSION], 1.0)
    yield info


def _counters(service: Service) -> Iterator[Metric]:
    """What this process has counted beside its requests."""
    failures = CounterMetricFamily(
        f"{PREFIX}loop_failures", "Failures after which a loop or chore has gone on.",
        labels=["loop"],
    )  # fmt: skip
    for name, count in sorted(service.background.failures.items()):
        failures.add_metric([name], count)
    yield failures
    steps = CounterMetricFamily(
        f"{PREFIX}steps_ended", "Steps after a commit by how they ended.", labels=["step", "state"]
    )
    for (step, state), count in sorted(service.after.runner.ended.items()):
        steps.add_metric([step, state], count)
    yield steps


class _Once:
    """Families that were read already, as a registry's collector."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


router = APIRouter(tags=["service"])


@router.get(
    "/metrics", summary="Metrics in Prometheus' text format", dependencies=[Viewer],
    response_class=Response, responses={200: {"content": {"text/plain": {}}}},
)  # fmt: skip
async def metrics(request: Request) -> Response:
    service = service_of(request)
    depths = CollectorRegistry()
    depths.register(_Once(await gauges(service)))
    depths.register(_Once(list(_counters(service))))
    own: RequestMetrics = request.app.state.request_metrics
    content = generate_latest(own.registry) + generate_latest(depths)
    return Response(content, media_type=CONTENT_TYPE_LATEST)
