"""Metrics of a whole agent, scraped while it lives; and the dashboard that is drawn from them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.errors import InputError
from edge_agent.app import Agent
from edge_agent.config import AgentConfig, load_config
from edge_agent.drive.timing import DurationHistogram
from edge_agent.health.metrics import METRICS, PREFIX, Row
from edge_agent.health.metrics_server import MetricsServer, exposition
from edge_agent.power.step import PowerReading
from edge_agent.sources.registry import open_source
from tests.edge_agent.agent_drives import PUBLISHED

DASHBOARD = Path(__file__).resolve().parents[3] / "deploy" / "grafana" / "agent.json"
SIM = "sim:duration_s=20,lidar=0"
Families = dict[str, dict[tuple[tuple[str, str], ...], float]]


def parsed(text: str) -> Families:
    """Every sample: name to labels to value."""
    found: Families = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return found


def typed(text: str) -> dict[str, str]:
    return {family.name: family.type for family in text_string_to_metric_families(text)}


class Supply:
    """The ignition stays on."""

    def read(self) -> PowerReading:
        return PowerReading(True, 12.5, 40.0)

    def close(self) -> None:
        return None


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an agent tells after its drive, while it stays; everything that can be is on."""
    config = AgentConfig.model_validate({
        "state": tmp_path_factory.mktemp("agent"), "source": SIM, "specs": (PUBLISHED,),
        "vehicle_id": "car", "ring": "4MB", "metrics": {"port": 0},
        "cloud": "http://127.0.0.1:9", "upload": {"cellular_bytes_per_day": "5MB"},
        "redaction": {"masks": {"/camera/front": [[0, 0.5, 1, 1]]}},
        "link": {"kind": "cellular"},
    })  # fmt: skip

    async def run() -> str:
        agent = Agent(config, open_source(SIM), SIM, power=Supply())
        running = asyncio.ensure_future(agent.run(stay=True))
        while agent._drive.beat.activity != "over" or not agent._drive.packer.is_idle:
            await asyncio.sleep(0.01)
            assert not running.done()
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{agent.metrics.port}/metrics"
            async with session.get(url) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"].startswith("text/plain; version=")
                text = await answer.text()
        agent._leave("the test is over")
        report = await running
        assert report.samples["ImageSample"] == 201
        return text

    return asyncio.run(asyncio.wait_for(run(), 60))


def value(found: Families, name: str, **labels: str) -> float:
    return found[PREFIX + name][tuple(sorted(labels.items()))]


def test_what_happened_is_counted(scrape: str) -> None:
    found = parsed(scrape)
    assert value(found, "samples_total", type="ImageSample") == 201
    assert value(found, "frame_seconds_count") == 201
    assert value(found, "frame_seconds_bucket", le="+Inf") == 201
    assert value(found, "recording", reason="") == 1
    fires = found[PREFIX + "trigger_fires_total"]
    assert fires[(("kind", "hard_brake"), ("trigger", "hard-brake"))] >= 1
    suppressed = found[PREFIX + "trigger_suppressed_total"]
    assert any(dict(labels)["reason"] == "cooldown" for labels in suppressed)
    assert value(found, "clips_total", result="packed") >= 1
    assert value(found, "images_redacted_total", result="redacted") > 10
    assert 0 < value(found, "ring_bytes") <= value(found, "ring_capacity_bytes") == 4e6
    assert value(found, "ring_evicted_total") > 0
    assert 0 < value(found, "ring_reach_seconds") < 20
    depth = sum(found[PREFIX + "queue_bytes"].values())
    assert depth == value(found, "spool_bytes") > 0
    assert value(found, "link", link="cellular") == 1
    assert value(found, "link", link="wifi") == 0
    left = value(found, "cellular_left_bytes", period="day")
    assert left == 5e6 - value(found, "cellular_bytes", period="day")
    assert value(found, "clock_synchronised") == 1
    assert value(found, "power_phase", phase="driving") == 1
    assert value(found, "power_supply_volts") == 12.5
    assert value(found, "ota_rejected") == 0
    assert found["process_resident_memory_bytes"][()] > 1e6


def test_every_row_has_the_labels_of_its_metric(scrape: str) -> None:
    found, kinds = parsed(scrape), typed(scrape)
    for metric in METRICS.values():
        assert kinds[PREFIX + metric.name] == metric.kind, metric.name
        suffix = {"counter": "_total", "histogram": "_count", "gauge": ""}[metric.kind]
        for labels in found.get(PREFIX + metric.name + suffix, {}):
            assert {name for name, _ in labels} == set(metric.labels)


def queries() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


_NAME = re.compile(r"\b((?:longtail_agent|process)_\w+)(\{[^}]*\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")


def test_the_dashboard_asks_for_what_there_is(scrape: str) -> None:
    """Each name is exposed, and each label that is grouped or matched by is that metric's."""
    kinds = typed(scrape)
    exposed: dict[str, set[str]] = {}
    for metric in METRICS.values():
        name, labels = PREFIX + metric.name, set(metric.labels)
        assert name in kinds
        match metric.kind:
            case "counter":
                exposed[f"{name}_total"] = labels
            case "gauge":
                exposed[name] = labels
            case "histogram":
                exposed[f"{name}_bucket"] = labels | {"le"}
                exposed[f"{name}_count"] = exposed[f"{name}_sum"] = labels
    process = {name: set[str]() for name in parsed(scrape) if name.startswith("process_")}
    seen = set()
    for query in queries():
        used = _NAME.findall(query)
        assert used, query
        grouped = {label.strip() for found in _BY.findall(query) for label in found.split(",")}
        for name, matchers in used:
            known = {**exposed, **process}.get(name)
            assert known is not None, f"{name} in {query}"
            asked = set(re.findall(r"(\w+)=~?\"", matchers)) - {"instance"}
            assert asked <= known, query
            assert grouped <= known, query
            seen.add(name)
    families = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in seen}
    told = {PREFIX + name for name in METRICS}
    assert told - families == set(), "metrics that no panel shows"


def test_legends_and_panels_are_sound() -> None:
    board = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) >= 20
    for panel in board["panels"]:
        spot = panel["gridPos"]
        assert spot["x"] + spot["w"] <= 24
        for target in panel["targets"]:
            labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = {w.strip() for f in _BY.findall(target["expr"]) for w in f.split(",")}
            if grouped:
                assert labels <= grouped, target
            else:
                names = [n for n, _ in _NAME.findall(target["expr"])]
                metric = METRICS.get(names[0].removeprefix(PREFIX).removesuffix("_total"))
                assert labels <= set(metric.labels if metric else ()), target


def test_histograms_count_up_to_their_bounds() -> None:
    counted = DurationHistogram()
    for ms in (1, 1.1, 50, 50.001, 5000):
        counted.add(round(ms * 1e6))
    text, _ = exposition([Row("frame_seconds", (), counted)])
    found = parsed(text.decode())
    assert value(found, "frame_seconds_bucket", le="0.001") == 1
    assert value(found, "frame_seconds_bucket", le="0.002") == 2
    assert value(found, "frame_seconds_bucket", le="0.05") == 3
    assert value(found, "frame_seconds_bucket", le="0.075") == 4
    assert value(found, "frame_seconds_bucket", le="1") == 4
    assert value(found, "frame_seconds_count") == 5
    assert value(found, "frame_seconds_sum") == pytest.approx(5.102101)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.org"])
def test_metrics_are_served_to_this_machine_alone(host: str) -> None:
    with pytest.raises(InputError, match=r"metrics\.host"):
        load_config(None, {"metrics": {"port": 1, "host": host}})
    assert load_config(None, {"metrics": {"port": 1, "host": "::1"}}).metrics.host == "::1"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(InputError, match=r"longtail\[metrics\]"):
        exposition([])


def test_only_the_one_path_answers() -> None:
    async def run() -> None:
        server = MetricsServer("127.0.0.1", 0, list)
        serving = asyncio.create_task(server.run())
        while server.port is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        async with aiohttp.ClientSession() as session:
            for path, status in (("/metrics", 200), ("/", 404), ("/metrics/../etc", 404)):
                async with session.get(f"http://127.0.0.1:{server.port}{path}") as answer:
                    assert answer.status == status
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(run())
