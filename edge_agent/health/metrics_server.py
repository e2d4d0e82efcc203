"""Metrics over HTTP: Prometheus' text format, on the loopback alone.

The exposition is prometheus-client's (the extra `metrics`), the server aiohttp's, which the agent
has anyway. Only loopback addresses are served: what a vehicle counts is no business of a network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog
from aiohttp import web

from contracts.errors import InputError
from edge_agent.drive.timing import DurationHistogram
from edge_agent.health.metrics import METRICS, PREFIX, Metric, Row

PATH = "/metrics"

log = structlog.get_logger(__name__)


class _Collector:
    """Turns rows into prometheus-client's families, one scrape at a time."""

    def __init__(self, core: Any, rows: Iterable[Row]) -> None:
        self._core = core
        self._rows = rows

    def collect(self) -> Iterator[Any]:
        families = {name: self._family(metric) for name, metric in METRICS.items()}
        for row in self._rows:
            if isinstance(row.value, DurationHistogram):
                families[row.name].add_metric(row.labels, *_buckets(row.value))
            else:
                families[row.name].add_metric(row.labels, float(row.value))
        yield from families.values()

    def _family(self, metric: Metric) -> Any:
        kinds = {
            "counter": self._core.CounterMetricFamily,
            "gauge": self._core.GaugeMetricFamily,
            "histogram": self._core.HistogramMetricFamily,
        }
        return kinds[metric.kind](PREFIX + metric.name, metric.help, labels=metric.labels)


def _buckets(counted: DurationHistogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound in seconds, and the sum in seconds."""
    total, buckets = 0, []
    bounds = [f"{bound / 1e3:g}" for bound in counted.BOUNDS_MS] + ["+Inf"]
    for bound, count in zip(bounds, list(counted.counts), strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets, counted.sum_ns / 1e9


def exposition(rows: Iterable[Row]) -> tuple[bytes, str]:
    """The text and its content type, the process's own figures included.

    Raises `InputError` when prometheus-client is not installed.
    """
    try:
        import prometheus_client as prometheus
        from prometheus_client import core
    except ImportError as error:
        raise InputError(
            "needs prometheus_client: pip install 'longtail[metrics]'", "metrics"
        ) from error
    registry = prometheus.CollectorRegistry()
    registry.register(_Collector(core, rows))
    prometheus.ProcessCollector(registry=registry)
    return prometheus.generate_latest(registry), prometheus.CONTENT_TYPE_LATEST


class MetricsServer:
    """The task that answers scrapes.

    Args:
        host, port: where to listen, a loopback address (`MetricsConfig` sees to it); port 0
            takes a free one.
        rows: reads the agent, off the event loop.

    Attributes:
        port: where it truly listens, None before.
    """

    def __init__(self, host: str, port: int, rows: Callable[[], Iterable[Row]]) -> None:
        self._host = host
        self._wanted_port = port
        self._rows = rows
        self._one = asyncio.Lock()
        self.port: int | None = None

    async def run(self) -> None:
        """Serve until cancelled. Raises `OSError` when the port is taken."""
        served = web.Application()
        served.router.add_get(PATH, self._answer)
        runner = web.AppRunner(served, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._wanted_port)
            await site.start()
            self.port = int(runner.addresses[0][1])
            log.info("metrics", url=f"http://{self._host}:{self.port}{PATH}")
            await asyncio.Event().wait()
        finally:
            self.port = None
            await runner.cleanup()

    async def _answer(self, _: web.Request) -> web.Response:
        async with self._one:
            text, content_type = await asyncio.to_thread(lambda: exposition(self._rows()))
        return web.Response(body=text, headers={"Content-Type": content_type})
