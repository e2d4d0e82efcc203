"""The load: real identities against a real receiver, and every acknowledgement looked up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cloud_ingest.schema import clips, events
from contracts.errors import InputError
from sim_fleet.cli import app
from sim_fleet.scale.events import Kind
from sim_fleet.scale.load.exact import differences
from sim_fleet.scale.load.report import Acknowledged
from sim_fleet.scale.load.run import LoadOptions, run_load
from sim_fleet.scale.rates import ScaleRates, changed
from sim_fleet.scale.stream import StreamOptions
from tests.cloud_ingest.conftest import (  # noqa: F401
    StartCloud,
    database_url,
    postgres,
    start_cloud,
    tables,
)
from tests.cloud_ingest.conftest import cloud as cloud  # noqa: PLC0414
from tests.cloud_ingest.support import RunningServer

BUSY = StreamOptions(vehicles=3000, hours=1.0, seed=2, start_h=17.0, batch_s=60)


def test_what_is_acknowledged_is_in_the_database_once(
    cloud: RunningServer,
    database_url: str,  # noqa: F811
    tables: sa.Engine,  # noqa: F811
) -> None:
    rates = changed(ScaleRates(), moments__emergency__per_driving_hour=20.0)
    options = LoadOptions(
        cloud.url, connections=4, seconds=60.0, events=240, clip_bytes=2000,
        database_url=database_url,
    )  # fmt: skip
    report = run_load(rates, BUSY, options)
    assert report.is_exact, report.differences
    assert not report.refused
    assert report.events >= 240 and sum(report.acknowledged.values()) == report.events
    told = report.acknowledged
    assert told["check_in"] > 20 and told["event"] > 20 and told["done"] > 5
    assert told["create"] == told["offset"] == told["part"] == told["done"]
    with tables.connect() as connection:
        count = {t: connection.execute(sa.select(sa.func.count()).select_from(t)).scalar_one()
                 for t in (events, clips)}  # fmt: skip
    assert count == {events: told["event"], clips: told["done"]}


def test_a_missing_or_doubled_row_is_found(cloud: RunningServer, database_url: str) -> None:  # noqa: F811
    name = "scale-1-0000"
    told = Acknowledged(records=[(name, "key", "jerk")], clips=[(name, "0" * 64)])
    told.check_ins[name] = 1, "{}"
    found = differences(database_url, "scale-1", told)
    assert len(found) == 5 and all("1 of 1 not once" in each for each in found)
    assert differences(database_url, "scale-1", Acknowledged()) == ()


def test_a_refusal_is_counted_and_never_acknowledged(
    start_cloud: StartCloud,  # noqa: F811
    database_url: str,  # noqa: F811
    tables: sa.Engine,  # noqa: F811
) -> None:
    told = Acknowledged()
    told.refuse(Kind.EVENT, 503, "transient")
    told.refuse(Kind.EVENT, None, "no answer")
    assert sum(told.refused.values()) == 2 and not told.counts
    full = start_cloud(max_clip_bytes=100)
    options = LoadOptions(full.url, 4, 60.0, 300, clip_bytes=2000, database_url=database_url)
    rates = changed(ScaleRates(), moments__emergency__per_driving_hour=20.0)
    report = run_load(rates, BUSY, options)
    assert report.is_exact and "done" not in report.acknowledged
    assert [kind for kind in report.refused if kind.startswith("create: 413")]
    with tables.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(clips)).scalar_one() == 0


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"url": "http://example.org"}, "load"),
        ({"url": "file:///etc"}, "load"),
        ({"url": "http://127.0.0.1:1"}, "database_url"),
        ({"url": "own", "connections": 0}, "connections"),
        ({"url": "own", "seconds": 0.0}, "seconds"),
        ({"url": "own", "rate": 1.0, "speed_up": 1.0}, "speed_up"),
        ({"url": "own", "clip_bytes": 1}, "clip_bytes"),
    ],
)
def test_wrong_options_are_told(changes: dict[str, object], place: str) -> None:
    with pytest.raises(InputError) as caught:
        LoadOptions(**changes)  # type: ignore[arg-type]
    assert caught.value.place == place


def test_the_command_writes_a_plan(tmp_path: Path) -> None:
    arguments = ["scale", "--vehicles", "50", "--hours", "2", "--warm-up-hours", "0", "--json",
                 "--no-sensitivity", "--start-hour", "17",
                 "--out", str(tmp_path / "plan")]  # fmt: skip
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    plan = json.loads(told.stdout)
    assert plan["vehicles"] == 50 and plan["load"]["events_per_day"] > 0
    assert {each.name for each in (tmp_path / "plan").iterdir()} == {
        "plan.json", "plan.png", "rates.yaml"
    }  # fmt: skip
    again = ["scale", "--vehicles", "50", "--hours", "2", "--warm-up-hours", "0", "--json",
             "--no-sensitivity", "--start-hour", "17",
             "--rates", str(tmp_path / "plan" / "rates.yaml")]  # fmt: skip
    assert json.loads(CliRunner().invoke(app, again).stdout) == plan
    plain = [each for each in again if each != "--json"]
    assert "busiest minute" in CliRunner().invoke(app, plain).stdout
