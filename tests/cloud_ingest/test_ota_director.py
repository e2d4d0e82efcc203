"""The director: each vehicle its own word, signed when it changes, and once for replicas."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from securesystemslib.signer import Signature
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root

from cloud_ingest.fleet_schema import assignments
from cloud_ingest.service import Service
from contracts.clock import NS_PER_DAY, VirtualClock
from contracts.ota import NOTE_FIELD, TIME_CONTEXT, DirectorNote, SignedTime, TimeStatement
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.ota_support import (
    Person,
    StockClient,
    http_of,
    signed_part,
    write_model,
    write_spec,
)
from tests.cloud_ingest.support import RunningServer, Vehicle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cloud" / "ota"


@pytest.fixture
def ann(cloud: RunningServer, folder: Path) -> Person:
    return Person(cloud.url, folder / "offline")


@pytest.fixture
def stock(vehicle: Vehicle, cloud: RunningServer, folder: Path, tmp_path: Path) -> StockClient:
    """`car-1`'s client of its own director repository."""
    return client_of(vehicle, cloud.url, folder, tmp_path)


def client_of(vehicle: Vehicle, url: str, folder: Path, tmp_path: Path) -> StockClient:
    root = (folder / "trust" / "director.root.json").read_bytes()
    name = vehicle.vehicle_id
    return StockClient(url, tmp_path / name, root, vehicle.http, vehicle.token, name)


Assign = Callable[..., None]


@pytest.fixture
def assign(tables: sa.Engine) -> Assign:
    """Order slots for `car-1`, as the fleet's half does: whole, under the next counter."""

    def order(slots: dict[str, dict[str, Any]], killed: tuple[str, ...] = ()) -> None:
        with tables.begin() as connection:
            change = sa.update(assignments).where(assignments.c.vehicle_id == "car-1")
            values: dict[str, Any] = {"slots": slots, "killed": list(killed)}
            values["counter"] = assignments.c.counter + 1
            assert connection.execute(change.values(values)).rowcount == 1

    return order


def held(name: str, version: int = 1, kind: str = "trigger", attempt: int = 1) -> dict[str, Any]:
    return {"kind": kind, "name": name, "version": version, "attempt": attempt}


def note_of(signed: Any) -> DirectorNote:
    return DirectorNote.model_validate(signed.unrecognized_fields[NOTE_FIELD])


def test_a_vehicle_without_orders_holds_nothing(stock: StockClient) -> None:
    signed = stock.targets()
    assert signed.targets == {}
    assert note_of(signed) == DirectorNote(vehicle_id="car-1", release_counter=1)


def test_files_are_named_as_the_image_repository_names_them(
    stock: StockClient, ann: Person, assign: Assign, tmp_path: Path, folder: Path
) -> None:
    stock.refreshed()
    spec = write_spec(tmp_path)
    content = b"a model" * 1000
    model = write_model(tmp_path, content)
    ann.publish(spec)
    ann.publish_model(model)
    slots = {"trigger:brake": held("brake", attempt=2), "model@shadow": held("eyes", 1, "model")}
    assign(slots, ("swerve", "jerk"))
    signed = stock.targets()
    assert note_of(signed) == DirectorNote(
        vehicle_id="car-1", release_counter=2, killed=("jerk", "swerve")
    )
    notes = {path: target.custom for path, target in signed.targets.items()}
    assert notes == {
        "triggers/brake/1/spec.yaml": {"slot": "trigger:brake", "attempt": 2},
        "models/eyes/1/manifest.yaml": {"slot": "model@shadow", "attempt": 1},
        "models/eyes/1/model.onnx": {"slot": "model@shadow", "attempt": 1},
    }
    root = (folder / "trust" / "image.root.json").read_bytes()
    image = StockClient(stock.url, tmp_path / "image", root, stock.http, stock.token).refreshed()
    for path, target in signed.targets.items():
        found = image.get_targetinfo(path)
        assert found is not None
        assert (target.length, target.hashes) == (found.length, found.hashes)
    updater = stock.refreshed()
    info = updater.get_targetinfo("models/eyes/1/model.onnx")
    assert info is not None
    assert Path(updater.download_target(info)).read_bytes() == content


def test_nothing_new_costs_a_root_probe_and_a_timestamp_and_signs_nothing(
    stock: StockClient, tables: sa.Engine
) -> None:
    stock.refreshed()
    assert stock.fetcher.names == [
        "2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json",
    ]  # fmt: skip
    with tables.connect() as connection:
        before = connection.execute(sa.select(assignments)).one()
    stock.refreshed()
    assert stock.fetcher.names == ["2.root.json", "timestamp.json"]
    with tables.connect() as connection:
        assert connection.execute(sa.select(assignments)).one() == before


def test_a_vehicle_reads_its_own_word_alone(
    stock: StockClient, other_vehicle: Vehicle, http: httpx.Client
) -> None:
    stock.refreshed()
    for file in ("timestamp.json", "1.targets.json", "1.root.json"):
        url = f"/v1/ota/director/car-1/metadata/{file}"
        assert http.get(url, headers=other_vehicle.bearer).status_code == 403
        assert http.get(url, headers={"Authorization": "Bearer nonsense"}).status_code == 401
        assert http.get(url).status_code == 200, "the operator's own machine"
    mine = http.get("/v1/ota/director/car-2/metadata/timestamp.json", headers=other_vehicle.bearer)
    assert mine.status_code == 200
    for path in ("nobody/metadata/timestamp.json", "car-1/metadata/9.targets.json",
                 "car-1/metadata/1.triggers.json", "car-1/metadata/targets.json"):  # fmt: skip
        assert http.get(f"/v1/ota/director/{path}").status_code == 404
    assert http.get("/v1/ota/director/%20/metadata/timestamp.json").status_code == 400


def test_two_vehicles_share_root_and_nothing_else(
    vehicle: Vehicle, other_vehicle: Vehicle, cloud: RunningServer, folder: Path, tmp_path: Path
) -> None:
    first = client_of(vehicle, cloud.url, folder, tmp_path).targets()
    second = client_of(other_vehicle, cloud.url, folder, tmp_path).targets()
    assert note_of(first).vehicle_id == "car-1"
    assert note_of(second).vehicle_id == "car-2"


def test_a_release_in_both_modes_is_active_alone(
    stock: StockClient, ann: Person, assign: Assign, tmp_path: Path
) -> None:
    stock.refreshed()
    ann.publish(write_spec(tmp_path))
    assign({"trigger:brake@shadow": held("brake"), "trigger:brake": held("brake")})
    (target,) = stock.targets().targets.values()
    assert target.custom["slot"] == "trigger:brake"


def test_what_is_withdrawn_is_left_out_under_a_higher_counter(
    stock: StockClient, ann: Person, assign: Assign, tmp_path: Path
) -> None:
    stock.refreshed()
    spec = write_spec(tmp_path)
    ann.publish(spec)
    assign({"trigger:brake": held("brake")})
    assert note_of(stock.targets()).release_counter == 2
    ann.withdraw()
    signed = stock.targets()
    assert (signed.targets, note_of(signed).release_counter) == ({}, 3)
    ann.publish(spec)
    signed = stock.targets()
    assert (len(signed.targets), note_of(signed).release_counter) == (1, 4)


def test_a_counter_never_stands_over_two_contents(
    stock: StockClient, ann: Person, tables: sa.Engine, assign: Assign, tmp_path: Path
) -> None:
    stock.refreshed()
    ann.publish(write_spec(tmp_path))
    assign({"trigger:brake": held("brake")})
    stock.refreshed()
    with tables.begin() as connection:  # what nobody should do: other slots, the same counter
        due = {"slots": {}, "renew_utc": sa.func.now()}
        connection.execute(sa.update(assignments).values(due))
    signed = stock.targets()
    assert (signed.targets, note_of(signed).release_counter) == ({}, 3)


def test_renewal_signs_what_is_due_and_keeps_the_counter(start_cloud: StartCloud) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock})
    seen = []
    with http_of(server.url) as http:
        Vehicle(http).enrol()
        base = "/v1/ota/director/car-1/metadata"
        for hours in (0, 11.9, 12.1, 12.2, 84.1, 84.2):
            clock.set_mono_ns(int(hours / 24 * NS_PER_DAY))
            timestamp = signed_part(http.get(f"{base}/timestamp.json").content)
            snapshot = timestamp["meta"]["snapshot.json"]["version"]
            content = http.get(f"{base}/{snapshot}.snapshot.json").raise_for_status().content
            targets = signed_part(content)["meta"]["targets.json"]["version"]
            held_ = signed_part(http.get(f"{base}/{targets}.targets.json").content)
            counter = held_[NOTE_FIELD]["release_counter"]
            seen.append((timestamp["version"], snapshot, targets, counter))
    assert seen == [
        (1, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1), (2, 1, 1, 1), (3, 2, 2, 1), (3, 2, 2, 1),
    ]  # fmt: skip


def test_replicas_sign_once(
    start_cloud: StartCloud, tables: sa.Engine, folder: Path, tmp_path: Path
) -> None:
    replicas = [start_cloud() for _ in range(2)]
    with http_of(replicas[0].url) as http:
        Vehicle(http).enrol()

    def timestamp(index: int) -> bytes:
        with http_of(replicas[index % 2].url) as http:
            url = "/v1/ota/director/car-1/metadata/timestamp.json"
            return http.get(url).raise_for_status().content

    # A service makes its routes' schemas at its first request; two in one process, which only a
    # test has, must not do so at the same time.
    for replica in replicas:
        with http_of(replica.url) as http:
            http.get("/v1/ota/director/car-1/metadata/1.root.json")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(timestamp, range(6)))) == 1
        with tables.begin() as connection:
            connection.execute(sa.update(assignments).values(counter=7))
        (found,) = set(pool.map(timestamp, range(6)))
    assert signed_part(found)["version"] == 2


def test_a_revoked_vehicle_gets_no_word(
    stock: StockClient, tables: sa.Engine, vehicle: Vehicle
) -> None:
    stock.refreshed()
    with tables.begin() as connection:
        connection.execute(sa.text("UPDATE vehicles SET revoked_utc = now()"))
    with pytest.raises(DownloadHTTPError) as raised:
        stock.refreshed()
    assert raised.value.status_code == 401


def test_the_time_is_signed_by_the_directors_timestamp_key(
    cloud: RunningServer, folder: Path
) -> None:
    service: Service = cloud.app.state.service
    nonce = "a nonce of this question"
    answer = cloud.run(service.ota.signed_time("car-1", nonce))
    assert isinstance(answer, SignedTime)
    root: Metadata[Root] = Metadata.from_file(str(folder / "trust" / "director.root.json"))
    assert answer.keyid in root.signed.roles["timestamp"].keyids
    key = root.signed.get_key(answer.keyid)
    content = TIME_CONTEXT + answer.statement.encode()
    key.verify_signature(Signature(answer.keyid, answer.signature), content)
    statement = TimeStatement.model_validate_json(answer.statement)
    assert (statement.vehicle_id, statement.nonce) == ("car-1", nonce)
    assert abs(statement.utc_ns - service.clock.utc_ns()) < 60 * 10**9
    assert json.loads(answer.statement).keys() == {
        "vehicle_id", "nonce", "utc_ns", "fleet_scenes",
    }  # fmt: skip
