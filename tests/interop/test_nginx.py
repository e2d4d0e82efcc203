"""The cloud behind nginx, as docs/interop.md tells to set it up."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.ids import digest_file
from contracts.upload import UploadAnswer, UploadRequest
from edge_agent.identity import enrol_request
from kernels.clip.reader import read_manifest
from tests.interop.programs import (
    Drive,
    clips_of,
    find_program,
    free_port,
    run_agent,
    serving_cloud,
)
from tests.interop.reverse_proxy import FORWARDING, nginx
from tests.interop.vehicle import (
    TUS,
    Session,
    enrolled,
    enrolment_token,
    post,
    settled_offset,
    vehicle_key,
)

pytestmark = pytest.mark.interop

OPERATOR_TOKEN = "an operator's token for tests"
TORN_BYTES = 5_000_000
"""Less than a part, so that the receiver stores it in one step: when it sees the cut."""
OPERATOR = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}


@dataclass(frozen=True)
class Site:
    """A cloud as it is deployed: tokens set, reached by its public URL, which is nginx's."""

    own_url: str
    public_url: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    port = free_port()
    public = f"http://127.0.0.1:{port}"
    settings = {"PUBLIC_URL": public, "LONGTAIL_OPERATOR_TOKEN": OPERATOR_TOKEN}
    with (
        serving_cloud(**settings) as own,
        nginx(folder / "nginx", port, own) as through,
    ):
        assert through == public
        yield Site(own, public)


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.public_url, timeout=60) as client:
        yield client


@pytest.fixture
def session(http: httpx.Client, tmp_path: Path) -> Session:
    token = enrolment_token(http, OPERATOR_TOKEN)
    return enrolled(http, vehicle_key(tmp_path / "vehicle.key"), token)


def test_the_agents_own_uploader_comes_home(
    http: httpx.Client, site: Site, sim_drive: Drive, tmp_path: Path
) -> None:
    """The spool of the earlier drive goes out with the next one, through the proxy alone."""
    state = tmp_path / "state"
    shutil.copytree(sim_drive.state, state)
    waiting = {clip.stem: clip.stat().st_size for clip in clips_of(state)}
    done = run_agent(
        state, "sim:seed=8,duration_s=5,camera=0,lidar=0", "--cloud", site.public_url,
        "--token", enrolment_token(http, OPERATOR_TOKEN), "--link", "wifi",
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert (report["queued_clips"], report["failed_to_send"]) == (0, False)
    assert report["sent_wire_bytes"] > sum(waiting.values())
    for clip_id, size in waiting.items():
        head = http.head(f"/clips/{clip_id}.mcap", headers=OPERATOR)
        assert (head.status_code, int(head.headers["Content-Length"])) == (200, size)
    content = http.get(f"/clips/{sim_drive.clip_id}.mcap", headers=OPERATOR).content
    assert content == sim_drive.clip.read_bytes()


def test_locations_are_absolute_and_public(session: Session, site: Site, sim_drive: Drive) -> None:
    made = session.http.post("/v1/tus", headers=TUS | session.bearer | {"Upload-Length": "10"})
    assert made.status_code == 201, made.text
    location = made.headers["Location"]
    assert location.startswith(f"{site.public_url}/v1/tus/")
    assert session.http.head(location, headers=TUS | session.bearer).status_code == 200
    # The same by the cloud's own door: a vehicle must not be sent where it cannot reach.
    inner = httpx.post(
        f"{site.own_url}/v1/tus", headers=TUS | session.bearer | {"Upload-Length": "10"}
    )
    assert inner.headers["Location"].startswith(f"{site.public_url}/v1/tus/")
    answer = declare(session, sim_drive)
    assert (answer.upload_url or "").startswith(f"{site.public_url}/v1/tus/")


def test_bytes_before_a_cut_have_arrived(session: Session, sim_drive: Drive) -> None:
    """With request buffering on, nginx would have kept them to itself and thrown them away."""
    answer = declare(session, sim_drive)
    assert answer.upload_url is not None and answer.offset_bytes == 0
    content = sim_drive.clip.read_bytes()
    assert len(content) > TORN_BYTES

    def torn() -> Iterator[bytes]:
        yield content[:TORN_BYTES]
        raise ConnectionAbortedError("the link is gone")

    headers = TUS | session.bearer | {
        "Content-Type": "application/offset+octet-stream", "Content-Length": str(len(content)),
    }  # fmt: skip
    with pytest.raises(ConnectionAbortedError):
        session.http.patch(
            answer.upload_url, content=torn(), headers=headers | {"Upload-Offset": "0"}
        )
    held = settled_offset(session, answer.upload_url)
    assert 0 < held <= TORN_BYTES
    rest = content[held:]
    done = session.http.patch(
        answer.upload_url, content=rest,
        headers=headers | {"Upload-Offset": str(held), "Content-Length": str(len(rest))},
    )  # fmt: skip
    assert done.status_code == 204, done.text
    assert session.status(sim_drive.clip_id).state == "committed"


def test_a_viewers_link_opens_by_range(session: Session, site: Site, sim_drive: Drive) -> None:
    answer = declare(session, sim_drive)
    if answer.answer == "upload":
        send_all(session, answer, sim_drive.clip.read_bytes())
    detail = session.http.get(f"/v1/clips/{sim_drive.clip_id}", headers=OPERATOR)
    link = detail.raise_for_status().json()["mcap_url"]
    assert link.startswith(f"{site.public_url}/clips/{sim_drive.clip_id}.mcap?access=")
    tail = httpx.get(link, headers={"Range": "bytes=-8"})
    size = sim_drive.clip.stat().st_size
    assert tail.status_code == 206
    assert tail.headers["Content-Range"] == f"bytes {size - 8}-{size - 1}/{size}"
    assert tail.content == b"\x89MCAP0\r\n"
    assert httpx.get(link.split("?")[0]).status_code == 401


LAPTOP_CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/v1/clips", None),
    ("POST", "/v1/enrolment-tokens", {}),
    ("GET", f"/clips/{'0' * 64}.mcap", None),
    ("GET", f"/v1/clips/{'0' * 64}", None),
)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(FORWARDING, id="as documented"),
        pytest.param(FORWARDING[1:2], id="forwarded-for alone"),
        pytest.param(("proxy_set_header X-Real-IP $remote_addr;",), id="real-ip alone"),
        pytest.param(('proxy_set_header Forwarded "for=$remote_addr";',), id="forwarded"),
        pytest.param(('proxy_set_header Host "longtail.example";',), id="a public host name"),
    ],
)
def test_laptop_mode_serves_no_proxy(
    laptop_cloud: str, tmp_path: Path, headers: tuple[str, ...]
) -> None:
    """Whoever asks through a proxy may sit anywhere: no operator call, no free enrolment."""
    key = vehicle_key(tmp_path / "vehicle.key")
    with (
        nginx(tmp_path / "nginx", free_port(), laptop_cloud, headers) as proxied,
        httpx.Client(timeout=30) as client,
    ):
        for method, path, body in LAPTOP_CALLS:
            through = client.request(method, proxied + path, json=body)
            assert through.status_code == 403, (path, through.text)
            assert "laptop" in through.json()["message"]
            assert client.request(method, laptop_cloud + path, json=body).status_code in (200, 404)
        with httpx.Client(base_url=proxied) as outside:
            refused = post(outside, "/v1/vehicles", enrol_request(key, None))
        assert (refused.status_code, refused.json()["place"]) == (403, "token")


def declare(session: Session, drive: Drive) -> UploadAnswer:
    """Declare the drive's clip as this vehicle's own event."""
    hasher, manifest = digest_file(drive.clip), read_manifest(drive.clip)
    request = UploadRequest(
        clip_id=hasher.clip_id(),
        size_bytes=hasher.size_bytes,
        part_digests=tuple(digest.hex() for digest in hasher.part_digests()),
        event=manifest.event.model_copy(update={"vehicle_id": session.vehicle_id}),
        window=manifest.actual,
    )
    answer = post(session.http, "/v1/uploads", request, **session.bearer)
    return UploadAnswer.model_validate_json(answer.raise_for_status().content)


def send_all(session: Session, answer: UploadAnswer, content: bytes) -> None:
    sent = session.http.patch(
        answer.upload_url or "", content=content,
        headers=TUS | session.bearer
        | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"},
    )  # fmt: skip
    assert sent.status_code == 204, sent.text


def test_the_deployments_proxy_is_one_that_nginx_takes(tmp_path: Path) -> None:
    ours = Path(__file__).parents[2] / "deploy" / "nginx.conf"
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{ include {ours}; }}\n")
    found = subprocess.run(
        [find_program("nginx", "apt install nginx"), "-t", "-c", str(whole)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
