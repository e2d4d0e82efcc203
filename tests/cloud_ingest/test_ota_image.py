"""The image repository over HTTP: a stock client, Range, access, renewal, replicas."""

from __future__ import annotations

import concurrent.futures
import hashlib
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.ngclient import Updater

from cloud_ingest.fleet_schema import ota_metadata
from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
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

METADATA = "/v1/ota/image/metadata"
PATH = "triggers/brake/1/spec.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The laptop's own keys."""
    return tmp_path / "cloud" / "ota"


@pytest.fixture
def ann(cloud: RunningServer, folder: Path) -> Person:
    return Person(cloud.url, folder / "offline")


@pytest.fixture
def stock(cloud: RunningServer, folder: Path, http: httpx.Client, tmp_path: Path) -> StockClient:
    root = (folder / "trust" / "image.root.json").read_bytes()
    return StockClient(cloud.url, tmp_path / "stock", root, http)


def target_url(path: str, content: bytes) -> str:
    folder, _, name = path.rpartition("/")
    return f"/v1/ota/image/targets/{folder}/{hashlib.sha256(content).hexdigest()}.{name}"


def test_a_stock_client_gets_what_people_publish(
    ann: Person, stock: StockClient, tmp_path: Path
) -> None:
    path = write_spec(tmp_path)
    assert stock.download(PATH) is None
    ann.publish(path)
    assert stock.download(PATH) == path.read_bytes()
    content = bytes(range(251)) * 13_001
    ann.publish_model(write_model(tmp_path, content))
    assert stock.download("models/eyes/1/model.onnx") == content
    ann.withdraw()
    assert stock.download(PATH) is None
    assert stock.download("models/eyes/1/model.onnx") == content


def test_its_own_fetcher_works_too(ann: Person, stock: StockClient, tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    ann.publish(path)
    (tmp_path / "plain").mkdir()
    updater = Updater(
        str(tmp_path / "plain"),
        f"{ann.url}/v1/ota/image/metadata/",
        str(tmp_path),
        f"{ann.url}/v1/ota/image/targets/",
        bootstrap=stock.root,
    )
    found = updater.get_targetinfo(PATH)
    assert found is not None
    assert Path(updater.download_target(found)).read_bytes() == path.read_bytes()


def test_nothing_new_costs_a_root_probe_and_a_timestamp(
    ann: Person, stock: StockClient, tmp_path: Path
) -> None:
    ann.publish(write_spec(tmp_path))
    stock.refreshed()
    stock.refreshed()
    assert stock.fetcher.names == ["2.root.json", "timestamp.json"]


def test_ranges_and_tags(ann: Person, http: httpx.Client, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    ann.publish_model(write_model(tmp_path, content))
    url = target_url("models/eyes/1/model.onnx", content)
    whole = http.get(url)
    assert whole.content == content
    etag = whole.headers["ETag"]
    assert etag == f'"{hashlib.sha256(content).hexdigest()}"'
    for asked, start, end in (
        ("bytes=0-0", 0, 1), ("bytes=1048575-1048576", 1_048_575, 1_048_577),
        ("bytes=2500000-", 2_500_000, 2_560_000), ("bytes=-5", 2_559_995, 2_560_000),
        ("bytes=2559999-9999999", 2_559_999, 2_560_000),
    ):  # fmt: skip
        part = http.get(url, headers={"Range": asked, "If-Range": etag})
        assert (part.status_code, part.content) == (206, content[start:end])
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(content)}"
        assert part.headers["Content-Length"] == str(end - start)
    beyond = http.get(url, headers={"Range": "bytes=2560000-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */2560000")
    changed = http.get(url, headers={"Range": "bytes=0-0", "If-Range": '"other"'})
    assert (changed.status_code, len(changed.content)) == (200, len(content))
    assert http.get(url, headers={"If-None-Match": etag}).status_code == 304
    head = http.head(url)
    assert (head.headers["Content-Length"], head.content) == (str(len(content)), b"")


def test_only_what_is_published_is_there(ann: Person, http: httpx.Client, tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    ann.publish(path)
    content = path.read_bytes()
    url = target_url(PATH, content)
    assert http.get(url).content == content
    other = b"stored, not published"
    digest = hashlib.sha256(other).hexdigest()
    http.put(f"/v1/ota/files/{digest}", content=other)
    for wrong in (
        target_url(PATH, other),
        target_url("triggers/brake/2/spec.yaml", content),
        url.replace("brake", "..%2fbrake"),
        "/v1/ota/image/targets/" + PATH,
        "/v1/ota/image/targets/",
        f"{METADATA}/root.json",
        f"{METADATA}/0.root.json",
        f"{METADATA}/9.root.json",
        f"{METADATA}/1.other.json",
        f"{METADATA}/1.timestamp.json",
        f"{METADATA}/99999999999999.root.json",
    ):
        answer = http.get(wrong)
        assert answer.status_code == 404, wrong
        assert answer.json()["error"] in {"absent", "not_found"}, wrong
    ann.withdraw()
    assert http.get(url).status_code == 404


def test_vehicles_and_operators_read_and_nobody_else(
    start_cloud: StartCloud, tmp_path: Path
) -> None:
    token = "an operator's secret"
    laptop = start_cloud()
    with http_of(laptop.url) as http:
        vehicle = Vehicle(http)
        vehicle.enrol()
    server = start_cloud(operator_token=token, allow_demo_keys=True)
    with http_of(server.url) as http:
        vehicle = Vehicle(http, key=vehicle.key)
        assert vehicle.authenticate().status_code == 200
        url = f"{METADATA}/timestamp.json"
        assert http.get(url).status_code == 401
        for wrong in ("nonsense", vehicle.token[:-4] + "AAAA"):
            assert http.get(url, headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
        assert http.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert http.get(url, headers=vehicle.bearer).status_code == 200


def test_snapshot_and_timestamp_are_signed_anew_in_their_second_half(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock})
    seen = []
    with http_of(server.url) as http:
        for hours in (0, 11.9, 12.1, 12.2, 24.3, 84.1, 84.2, 24 * 30):
            clock.set_mono_ns(int(hours / 24 * NS_PER_DAY))
            timestamp = http.get(f"{METADATA}/timestamp.json").content
            snapshot = signed_part(timestamp)["meta"]["snapshot.json"]
            content = http.get(f"{METADATA}/{snapshot['version']}.snapshot.json").content
            assert snapshot["length"] == len(content)
            assert snapshot["hashes"] == {"sha256": hashlib.sha256(content).hexdigest()}
            seen.append((signed_part(timestamp)["version"], snapshot["version"]))
    assert seen == [(1, 1), (1, 1), (2, 1), (2, 1), (3, 1), (4, 2), (4, 2), (5, 3)]
    with tables.connect() as connection:
        held = sa.select(ota_metadata.c.role, ota_metadata.c.version).order_by(ota_metadata.c.role)
        rows = [tuple(row) for row in connection.execute(held) if row.role[:2] in {"sn", "ti"}]
    assert rows == [("snapshot", 3), ("timestamp", 5)], "old ones are forgotten"


def test_replicas_that_sign_at_once_keep_versions_apart(
    start_cloud: StartCloud, folder: Path, tmp_path: Path
) -> None:
    clock = VirtualClock()
    replicas = [start_cloud({"clock": clock}) for _ in range(2)]
    people = [Person(each.url, folder / "offline", clock=clock) for each in replicas]
    specs = [write_spec(tmp_path, f"brake{index}") for index in range(6)]

    def publish(index: int) -> None:
        person = people[index % 2]
        person.client.publish_spec(specs[index], person.key())

    def timestamp(index: int) -> bytes:
        with http_of(replicas[index % 2].url) as http:
            return http.get(f"{METADATA}/timestamp.json").raise_for_status().content

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(publish, range(6)))
        clock.set_mono_ns(NS_PER_DAY // 2 + NS_PER_S)
        found = set(pool.map(timestamp, range(6)))
    assert len(people[0].client.releases()) == 6
    (newest,) = found
    version = signed_part(newest)["version"]
    assert version == 1 + 6 + 1, "one for each change, and one renewal"


def test_without_keys_updates_are_absent_and_the_rest_works(start_cloud: StartCloud) -> None:
    token = "an operator's secret"
    server = start_cloud(operator_token=token)
    with http_of(server.url, token) as http:
        assert http.get("/healthz").status_code == 200
        assert http.get("/v1/clips").status_code == 200
        for path in (f"{METADATA}/timestamp.json", "/v1/releases", "/v1/ota/image/roles/root"):
            answer = http.get(path)
            assert answer.status_code == 404
            assert "longtail cloud keys init" in answer.json()["message"]


def test_metadata_of_another_ceremony_is_no_update(
    stock: StockClient, tmp_path: Path, http: httpx.Client
) -> None:
    from cloud_ingest.ota.ceremony import Plan, hold_ceremony
    from contracts.clock import SystemClock

    foreign = hold_ceremony(tmp_path / "foreign", Plan(), SystemClock())
    other = StockClient(
        stock.url, tmp_path / "other", (foreign.trust / "image.root.json").read_bytes(), http
    )
    with pytest.raises((RepositoryError, DownloadHTTPError)):
        other.refreshed()
