"""Vehicles of a simulated fleet take orders over the air, and their planners drive by them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.samples import PoseSample
from edge_agent.perception.manifests import read_manifest
from sim_fleet.classes import Kind
from sim_fleet.drivers.ports import Moment, Perceived
from sim_fleet.drivers.student import RunningPerceiver
from sim_fleet.fleet import FleetOptions, FleetReport, run_fleet
from sim_fleet.fleet.conductor import plan_fleet
from sim_fleet.fleet.tour import AWAKE_S, plan_tour, with_wakes
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource
from tests.cloud_ingest.ota_support import Person
from tests.edge_agent.bev_models import MadeBevModel, cuboid_seen, write_tiny
from tests.road.conftest import serving
from tests.road.updates_rig import CLOUD, Office, finished
from tests.sim_fleet.test_tour import tour


def test_a_vehicle_wakes_for_orders_where_bytes_cost_nothing() -> None:
    spec = tour({"scenario": "everyday-city", "seeds": [1, 6], "seconds": 10})
    (plan,) = plan_tour(spec, 1, 3, day=2)
    waking = with_wakes(plan)
    assert [t.index for t in waking.trips] == list(range(2000, 2000 + len(waking.trips)))
    assert waking.trips[0].drive_s == 0 and waking.trips[-1].drive_s == 0
    driven = [trip for trip in waking.trips if trip.drive_s > 0]
    assert [t.drive for t in driven] == [t.drive for t in plan.trips if t.drive_s > 0]
    for trip, after in zip(waking.trips, waking.trips[1:], strict=False):
        assert trip.end_s + trip.awake_s < after.start_s
        if after.drive_s == 0 and after is not waking.trips[-1]:
            assert trip.then == after.then != "street"
    assert {t.awake_s for t in waking.trips if t.drive_s == 0} == {AWAKE_S}
    assert all(t.start_s > 2 * 86_400.0 for t in waking.trips)


def test_the_planner_sees_by_whatever_runs_now() -> None:
    models = {
        "old": MadeBevModel("old", lambda _: [cuboid_seen("car")]),
        "new": MadeBevModel("new", lambda _: [cuboid_seen("cyclist")]),
    }
    for model in models.values():
        model._trial = False  # nobody tries it first, as an updater would
    now: list[str] = ["old", "old", "new", ""]
    asked = iter(now)
    running = RunningPerceiver(lambda: models.get(next(asked)))
    seen: list[list[int]] = []

    class Told:
        wants_samples = True

        def perceive(self, moment: Moment) -> Perceived:
            found = running.perceive(moment)
            seen.append(found.kind.tolist())
            return found

    options = DriveOptions(load_scenario("everyday-city"), 1, "light", 0.4, perceiver=Told())
    samples = list(SimFleetSource(options).samples())
    assert seen == [[Kind.CAR], [Kind.CAR], [Kind.CYCLIST], []]
    poses = [s.mono_ns for s in samples if isinstance(s, PoseSample)]
    # The new model is told of what was driven before it came: it knows how the ego moves.
    assert models["new"].at_ns == [poses[10]] and np.isfinite(models["new"].present[0]).all()


def test_orders_need_somebody_who_gives_them(tmp_path: Path) -> None:
    two = tour({"scenario": "cut-in", "seeds": [1, 2]})
    options = FleetOptions(tmp_path / "out", vehicles=1, tour=two, trust=tmp_path)
    with pytest.raises(InputError, match="whose orders"):
        run_fleet(options)
    assert len(plan_fleet(options)[0].trips) > len(
        plan_fleet(replace(options, trust=None))[0].trips
    )
    with pytest.raises(InputError, match="no fleet of the day before"):
        run_fleet(FleetOptions(tmp_path / "out", tour=two, day=1))
    with pytest.raises(InputError, match="a later day is a tour"):
        run_fleet(FleetOptions(tmp_path / "out", day=1))


@pytest.fixture
def out() -> Iterator[Path]:
    """A folder that PostgreSQL can reach when root runs the tests; pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix="longtail-fleet-") as folder:
        yield Path(folder)


@pytest.mark.soak
def test_a_model_that_is_rolled_out_drives_the_next_day(out: Path) -> None:
    old, new = write_tiny(out / "old", 0), write_tiny(out / "new", 1)
    manifests = [path.with_suffix(".manifest.yaml") for path in (old, new)]
    digests = [read_manifest(path).sha256 for path in manifests]
    with serving(out / "own", **CLOUD) as (url, _):
        work = Office(url, out / "own", out)
        options = FleetOptions(
            out / "run", vehicles=1, model=old, url=url, trust=work.trust, workers=1,
            tour=tour({"scenario": "cut-in", "seeds": [1, 1]}),
        )  # fmt: skip
        first = run_fleet(options)
        assert first.holds and first.vehicles[0].models == (digests[0],)
        check_in = work.check_in("sim-001")
        assert check_in is not None and [m.file_sha256 for m in check_in.models] == digests[:1]
        Person(url, work.keys / "offline").publish_model((new, manifests[1]))
        rollout = work.roll_out(read_manifest(manifests[1]).name, 1, "model")
        second = run_fleet(
            replace(options, day=1, tour=tour({"scenario": "cut-in", "seeds": [2, 1]}))
        )
        check_second_day(second, digests[1])
        told = work.check_in("sim-001")
        assert told is not None and [m.file_sha256 for m in told.models] == digests[1:]
        asyncio.run(finished(work, rollout.rollout_id))


def check_second_day(report: FleetReport, digest: str) -> None:
    assert [(each.name, each.problems) for each in report.invariants if not each.holds] == []
    (vehicle,) = report.vehicles
    # It is taken up while the vehicle wakes, before the trip: that is driven by the new model.
    assert vehicle.models == (digest,)
    assert vehicle.trips == 1 and vehicle.driven_s == 3.0 and vehicle.starts == 3
