"""The stock tus-js-client under Node uploads the agent's clip to the real service, unchanged.

Delivery is told to each vehicle apart, so a fresh vehicle for each test sees `absent` before
and `committed` after, whatever other tests have sent.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cloud_ingest.cutting_proxy import cutting
from tests.cloud_ingest.emulated_link import ROAD, SHORT_ROAD, over
from tests.interop.programs import Drive, clean_environment, find_program
from tests.interop.vehicle import Session, enrolled, offset, settled_offset, vehicle_key

pytestmark = pytest.mark.interop

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "tus_upload.mjs"
CHUNK_BYTES = 3_000_000


@pytest.fixture(scope="module")
def node() -> str:
    if not (FOLDER / "node_modules" / "tus-js-client").is_dir():
        pytest.skip("tus-js-client is not installed (make interop)")
    return find_program("node", "from nodejs.org or the system's packages, 18 or newer")


@pytest.fixture
def http(laptop_cloud: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=laptop_cloud, timeout=60) as client:
        yield client


@pytest.fixture
def session(http: httpx.Client, tmp_path: Path) -> Session:
    return enrolled(http, vehicle_key(tmp_path / "vehicle.key"))


def upload(node: str, session: Session, drive: Drive, **asked: Any) -> dict[str, Any]:
    """Run the script once; what it told. Fails when Node itself fails."""
    sent = {
        "endpoint": f"{str(session.http.base_url).rstrip('/')}/v1/tus",
        "token": session.token,
        "file": str(drive.clip),
    } | asked
    done = subprocess.run(
        [node, str(SCRIPT), json.dumps(sent)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False,
        env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def methods(told: dict[str, Any]) -> list[str]:
    return [request["method"] for request in told["requests"]]


def assert_delivered(session: Session, drive: Drive, told: dict[str, Any]) -> None:
    assert told["outcome"] == "success", told
    status = session.status(drive.clip_id)
    assert (status.state, status.size_bytes) == ("committed", drive.clip.stat().st_size)
    answer = session.http.get(f"/clips/{drive.clip_id}.mcap").raise_for_status()
    assert answer.content == drive.clip.read_bytes()


def test_the_clips_own_vehicle_sends_it_and_a_search_finds_it(
    node: str, http: httpx.Client, sim_drive: Drive
) -> None:
    session = enrolled(http, vehicle_key(sim_drive.state / "vehicle.key"))
    told = upload(node, session, sim_drive)
    assert methods(told) == ["POST", "PATCH"]
    assert_delivered(session, sim_drive, told)
    found = http.get("/v1/clips", params={"where": f"vehicle_id = '{session.vehicle_id}'"})
    assert [row["clip_id"] for row in found.json()["clips"]] == [sim_drive.clip_id]


@pytest.mark.parametrize("creation_body", [False, True])
@pytest.mark.parametrize("chunk_size", [None, CHUNK_BYTES])
def test_whole_and_in_chunks(
    node: str, session: Session, sim_drive: Drive, chunk_size: int | None, creation_body: bool
) -> None:
    assert session.status(sim_drive.clip_id).state == "absent"
    asked: dict[str, Any] = {"creationBody": creation_body}
    if chunk_size is not None:
        asked["chunkSize"] = chunk_size
    told = upload(node, session, sim_drive, **asked)
    size = sim_drive.clip.stat().st_size
    bodies = 1 if chunk_size is None else -(-size // chunk_size)
    assert methods(told) == ["POST"] + ["PATCH"] * (bodies - creation_body)
    assert told["requests"][-1]["offset"] == size
    assert_delivered(session, sim_drive, told)


def assert_resumed(told: dict[str, Any], url: str, from_bytes: int) -> None:
    """It found the one upload that it knew of, asked for the offset, and sent the rest."""
    assert (told["previous"], told["url"]) == (1, url)
    first, *rest = told["requests"]
    assert first == {"method": "HEAD", "status": 200, "offset": from_bytes}
    assert {request["method"] for request in rest} == {"PATCH"}


def test_a_killed_client_finds_its_previous_upload_and_goes_on(
    node: str, session: Session, sim_drive: Drive, tmp_path: Path
) -> None:
    asked = {"urlStore": str(tmp_path / "urls.json"), "chunkSize": CHUNK_BYTES}
    died = upload(node, session, sim_drive, dieAfterBytes=2 * CHUNK_BYTES, **asked)
    assert (died["outcome"], died["previous"]) == ("died", 0)
    assert session.status(sim_drive.clip_id).state == "absent"
    resumed = upload(node, session, sim_drive, **asked)
    assert_resumed(resumed, died["url"], 2 * CHUNK_BYTES)
    assert_delivered(session, sim_drive, resumed)


def test_a_body_cut_in_its_middle_goes_on_in_another_process(
    node: str, session: Session, sim_drive: Drive, tmp_path: Path
) -> None:
    cut_bytes = 5_000_000
    # The client may or may not use one connection for both of its requests.
    with cutting(str(session.http.base_url), [cut_bytes, cut_bytes]) as proxy:
        asked = {"urlStore": str(tmp_path / "urls.json"), "endpoint": f"{proxy.url}/v1/tus"}
        broken = upload(node, session, sim_drive, retry=False, **asked)
        assert (broken["outcome"], proxy.cuts) == ("error", 1)
        held = settled_offset(session, broken["url"])
        assert 0 < held <= cut_bytes
        proxy.budgets.clear()
        resumed = upload(node, session, sim_drive, **asked)
        assert_resumed(resumed, broken["url"], held)
    assert_delivered(session, sim_drive, resumed)


def test_resumes_by_a_stored_url_alone(node: str, session: Session, sim_drive: Drive) -> None:
    died = upload(node, session, sim_drive, chunkSize=CHUNK_BYTES, dieAfterBytes=2 * CHUNK_BYTES)
    held = offset(session, died["url"])
    assert held == 2 * CHUNK_BYTES
    resumed = upload(node, session, sim_drive, uploadUrl=died["url"])
    assert methods(resumed) == ["HEAD", "PATCH"]
    assert resumed["requests"][0]["offset"] == held
    assert_delivered(session, sim_drive, resumed)


@pytest.mark.parametrize("parallel", [2, 5])
def test_partial_uploads_are_joined(
    node: str, session: Session, sim_drive: Drive, parallel: int
) -> None:
    told = upload(node, session, sim_drive, parallel=parallel)
    assert methods(told).count("POST") == parallel + 1
    assert_delivered(session, sim_drive, told)


@pytest.mark.parametrize("parallel", [None, 3])
def test_a_bad_road(node: str, session: Session, sim_drive: Drive, parallel: int | None) -> None:
    asked: dict[str, Any] = {"chunkSize": 250_000, "retry": 50}
    if parallel is not None:
        asked["parallel"] = parallel
    with over(str(session.http.base_url), SHORT_ROAD) as link:
        told = upload(node, session, sim_drive, endpoint=f"{link.url}/v1/tus", **asked)
        assert link.cuts > 0
    assert_delivered(session, sim_drive, told)


@pytest.mark.soak
@pytest.mark.parametrize("parallel", [None, 3])
def test_the_whole_bad_road(
    node: str, session: Session, sim_drive: Drive, parallel: int | None
) -> None:
    asked: dict[str, Any] = {"chunkSize": 250_000, "retry": 50}
    if parallel is not None:
        asked["parallel"] = parallel
    with over(str(session.http.base_url), ROAD) as link:
        told = upload(node, session, sim_drive, endpoint=f"{link.url}/v1/tus", **asked)
        assert link.cuts > 0
    assert_delivered(session, sim_drive, told)


def test_a_wrong_token_is_one_clean_refusal(
    node: str, session: Session, sim_drive: Drive, tmp_path: Path
) -> None:
    urls = tmp_path / "urls.json"
    told = upload(node, session, sim_drive, token="not-a-token", urlStore=str(urls))
    assert (told["outcome"], told["status"]) == ("error", 401)
    assert methods(told) == ["POST"], "a client that is not let in must not try again and again"
    problem = json.loads(told["body"])
    assert problem["error"] and "token" in problem["message"]
    assert told["url"] is None
    assert session.status(sim_drive.clip_id).state == "absent"


def test_another_vehicles_upload_cannot_be_resumed(
    node: str, session: Session, http: httpx.Client, sim_drive: Drive, tmp_path: Path
) -> None:
    died = upload(node, session, sim_drive, chunkSize=CHUNK_BYTES, dieAfterBytes=CHUNK_BYTES)
    held = offset(session, died["url"])
    other = enrolled(http, vehicle_key(tmp_path / "other.key"))
    told = upload(node, other, sim_drive, uploadUrl=died["url"])
    # tus-js-client meets a 404 with an upload of its own, as tus says; the first one is intact.
    assert told["requests"][0] == {"method": "HEAD", "status": 404, "offset": None}
    assert told["url"] != died["url"]
    assert_delivered(other, sim_drive, told)
    assert offset(session, died["url"]) == held
