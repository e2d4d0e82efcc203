"""A turn's candidate in the shadow of a real service's fleet: sent there, counted, waited for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from client.fleet import FleetClient
from contracts.check_in import ShadowModel
from contracts.errors import InputError
from contracts.ota import ReleaseId
from offline.gates.evidence import ShadowEvidence
from offline.pipeline.cloud import Releases
from offline.pipeline.stages.evaluate import policy_of
from offline.pipeline.stages.shadow import _of_the_fleet
from offline.pipeline.stages.train import MODEL
from offline.pipeline.work import Waiting, Work
from tests.cloud_ingest.fleet_support import OpenFleet, SimulatedFleet, open_fleet, publish
from tests.models.test_zoo import ZOO
from tests.offline.pipeline.loops import spec_of, turn_of
from tests.offline.pipeline.test_stages import work_of

__all__ = ["open_fleet"]
CANDIDATE, ACTIVE, OTHER = "c" * 64, "a" * 64, "b" * 64


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    found = open_fleet(5)
    publish(found.tables, ReleaseId("model", "student-s", 1))
    found.check_in_all()
    return found


def turn_at(fleet: SimulatedFleet, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A turn that has trained; its model is published already."""
    (folder / "train" / MODEL).mkdir(parents=True)
    for name in ("student-s.manifest.yaml", "student-s.onnx"):
        shutil.copyfile(ZOO / name, folder / "train" / MODEL / name)
    monkeypatch.setattr(Releases, "publish_model", lambda self, manifest: "")
    spec = spec_of(folder / "files", rollout={
        "to": "cloud", "url": fleet.server.url, "key": "models.pem", "spec_key": "specs.pem",
    })  # fmt: skip
    turn = turn_of(folder).model_copy(update={"spec": spec})
    return work_of(folder, turn, needs={"train": folder / "train"})


def tells(fleet: SimulatedFleet, name: str, counted: ShadowModel) -> None:
    fleet.vehicles[name].check_in(shadow_model=counted)


def test_a_candidate_is_judged_by_what_its_vehicles_counted(
    fleet: SimulatedFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = turn_at(fleet, tmp_path, monkeypatch)
    nobody = Waiting("no vehicle has run the candidate in shadow yet")
    assert _of_the_fleet(work, CANDIDATE, ACTIVE) == nobody
    (row,) = FleetClient(fleet.server.url, "ann").rollouts()
    assert (row.name, row.shadow, row.phase) == ("student-s", True, "running")
    rule = policy_of(work).shadow
    each = ShadowModel(
        digest=CANDIDATE, active_digest=ACTIVE, frames=rule.min_frames, agreed=rule.min_objects,
        only_active=3, failed_frames=1,
    )  # fmt: skip
    tells(fleet, "v00", each)
    assert _of_the_fleet(work, CANDIDATE, ACTIVE) == Waiting(
        f"{rule.min_frames + 1} of {rule.min_frames} frames were seen in shadow, on 1 of "
        f"{rule.min_vehicles} vehicles"
    )
    tells(fleet, "v01", each.model_copy(update={"digest": OTHER}))
    tells(fleet, "v02", each.model_copy(update={"active_digest": OTHER}))
    tells(fleet, "v03", each)
    fleet.vehicles["v04"].check_in()
    found = _of_the_fleet(work, CANDIDATE, ACTIVE)
    assert isinstance(found, ShadowEvidence)
    assert (found.vehicles, found.agreed) == (2, 2 * rule.min_objects)
    assert (found.crashes, found.only_active) == (2, 6)
    # One rollout, however often it is asked.
    assert len(FleetClient(fleet.server.url, "ann").rollouts()) == 1


def test_shadow_counts_come_by_the_page_and_not_of_who_is_refused(fleet: SimulatedFleet) -> None:
    counted = ShadowModel(digest=CANDIDATE, active_digest=ACTIVE, frames=7)
    for name in ("v00", "v02", "v04"):
        tells(fleet, name, counted)
    client = FleetClient(fleet.server.url, "ann")
    assert [(each.vehicle_id, each.counted.frames) for each in client.shadow(CANDIDATE)] == [
        ("v00", 7), ("v02", 7), ("v04", 7),
    ]  # fmt: skip
    asked = {"digest": CANDIDATE, "limit": 2}
    first = fleet.http.get("/v1/fleet/shadow", params=asked).json()
    assert [row["vehicle_id"] for row in first["rows"]] == ["v00", "v02"]
    second = fleet.http.get("/v1/fleet/shadow", params=asked | {"cursor": first["cursor"]}).json()
    assert [row["vehicle_id"] for row in second["rows"]] == ["v04"] and second["cursor"] is None
    client.revoke("v02", "stolen")
    assert [each.vehicle_id for each in client.shadow(CANDIDATE)] == ["v00", "v04"]
    assert not list(client.shadow(OTHER))
    with pytest.raises(InputError, match="digest"):
        list(client.shadow("no digest"))
