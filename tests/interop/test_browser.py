"""A web viewer's page in Chromium reads a clip by range from another origin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.interop.browser import dump_result, page_server
from tests.interop.programs import Drive, run_agent, serving_cloud
from tests.interop.vehicle import enrolment_token

pytestmark = pytest.mark.interop

PAGE = Path(__file__).with_name("viewer_page.html")
MAGIC = list(b"\x89MCAP0\r\n")
OPERATOR_TOKEN = "an operator's token for tests"
BLOCKED = {"outcome": "blocked", "name": "TypeError", "reached": "opaque"}
"""The server answered, and the browser kept the answer from the page."""
VIEWER_HOST, STRANGER_HOST = "viewer.test", "stranger.test"
NAMES = ", ".join(
    (
        f"MAP {VIEWER_HOST} 127.0.0.1", f"MAP {STRANGER_HOST} 127.0.0.1",
        "EXCLUDE 127.0.0.1", "EXCLUDE localhost", "MAP * ~NOTFOUND",
    )
)  # fmt: skip
"""All that the browser can resolve."""


@pytest.fixture(scope="module")
def page_port() -> Iterator[int]:
    with page_server(PAGE) as port:
        yield port


@pytest.fixture(scope="module")
def open_cloud(
    page_port: int, sim_drive: Drive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A cloud with tokens that holds the drive's clips, and knows one web viewer by its origin."""
    folder = tmp_path_factory.mktemp("open")
    settings = {
        "LONGTAIL_OPERATOR_TOKEN": OPERATOR_TOKEN,
        "LONGTAIL_CORS_ORIGINS": json.dumps([f"http://{VIEWER_HOST}:{page_port}"]),
    }
    with serving_cloud(**settings) as url, httpx.Client(base_url=url) as http:
        bring_home(sim_drive, folder / "state", url, enrolment_token(http, OPERATOR_TOKEN))
        yield url


def bring_home(drive: Drive, state: Path, url: str, *token: str) -> None:
    """The agent sends the drive's spool, from a copy of its state."""
    shutil.copytree(drive.state, state)
    tokens = ("--token", *token) if token else ()
    run_agent(state, "sim:seed=8,duration_s=5,camera=0,lidar=0", "--cloud", url, *tokens)


def look(host: str, page_port: int, clip_url: str, profile: Path) -> dict[str, Any]:
    url = f"http://{host}:{page_port}/?clip={quote(clip_url, safe='')}"
    return dump_result(url, profile, f"--host-resolver-rules={NAMES}")


def assert_read(told: dict[str, Any], drive: Drive) -> None:
    """The page saw every byte that it asked for, and every header that it needs."""
    assert told["outcome"] == "read", told
    size = drive.clip.stat().st_size
    etag = f'"{drive.clip_id}"'
    whole = {
        "content-range": None, "content-length": str(size), "accept-ranges": "bytes",
        "etag": etag, "content-type": "application/octet-stream",
    }  # fmt: skip
    assert told["head"] == {"status": 200, "headers": whole}
    part = {"content-length": "8"}
    first = whole | part | {"content-range": f"bytes 0-7/{size}"}
    assert told["start"] == {"status": 206, "headers": first, "bytes": MAGIC}
    last = whole | part | {"content-range": f"bytes {size - 8}-{size - 1}/{size}"}
    assert told["end"] == {"status": 206, "headers": last, "bytes": MAGIC}
    assert told["same"]["status"] == 206
    assert bytes(told["same"]["bytes"]) == drive.clip.read_bytes()[8:16]
    assert told["beyond"]["status"] == 416
    assert told["beyond"]["headers"]["content-range"] == f"bytes */{size}"


def signed_link(cloud: str, clip_id: str) -> str:
    detail = httpx.get(
        f"{cloud}/v1/clips/{clip_id}", headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    )
    return str(detail.raise_for_status().json()["mcap_url"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_this_machine_opens_a_clip_of_the_laptop(
    laptop_cloud: str, page_port: int, sim_drive: Drive, tmp_path: Path, host: str
) -> None:
    bring_home(sim_drive, tmp_path / "state", laptop_cloud)
    clip_url = f"{laptop_cloud}/clips/{sim_drive.clip_id}.mcap"
    assert_read(look(host, page_port, clip_url, tmp_path / "profile"), sim_drive)


def test_a_named_viewer_opens_a_signed_link(
    open_cloud: str, page_port: int, sim_drive: Drive, tmp_path: Path
) -> None:
    link = signed_link(open_cloud, sim_drive.clip_id)
    assert_read(look(VIEWER_HOST, page_port, link, tmp_path / "profile"), sim_drive)


def test_a_strangers_page_reads_nothing(
    open_cloud: str, page_port: int, sim_drive: Drive, tmp_path: Path
) -> None:
    """Even with a link that holds: the browser keeps the answer from a page that is not named."""
    link = signed_link(open_cloud, sim_drive.clip_id)
    told = look(STRANGER_HOST, page_port, link, tmp_path / "profile")
    assert told == BLOCKED


def test_a_strangers_page_reads_nothing_of_the_laptop(
    laptop_cloud: str, page_port: int, sim_drive: Drive, tmp_path: Path
) -> None:
    """Neither by asking, nor by pointing a name of its own at this machine."""
    for base in (laptop_cloud, laptop_cloud.replace("127.0.0.1", STRANGER_HOST)):
        clip_url = f"{base}/clips/{sim_drive.clip_id}.mcap"
        told = look(STRANGER_HOST, page_port, clip_url, tmp_path / "profile")
        assert told == BLOCKED
