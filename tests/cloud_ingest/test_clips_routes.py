"""Search pages, details, ranges and what may not be seen."""

from __future__ import annotations

import io

import httpx
import pytest
from mcap.reader import make_reader

from cloud_ingest.problems import RangeError
from cloud_ingest.ranges import Span, parse_range
from contracts.clip import ClipManifest, ClipSummary, ObjectSummary
from contracts.clock import NS_PER_S
from tests.cloud_ingest.support import Vehicle, make_clip, make_manifest

SEEN = {"car": ObjectSummary(frames=3, max_in_frame=1, max_probability=0.9)}


def upload_many(vehicle: Vehicle) -> list[str]:
    """Seven clips; some of equal order, two without a value."""
    decels = [3.0, 1.0, 3.0, None, 2.0, None, 5.0]
    ids = []
    for index, decel in enumerate(decels):
        summary = ClipSummary(weather="clear", max_decel_mps2=decel, detected_objects=SEEN)
        manifest = make_manifest(start_mono_ns=index * 20 * NS_PER_S, summary=summary)
        ids.append(vehicle.upload(make_clip(manifest, 10), manifest))
    return ids


def pages(http: httpx.Client, where: str, limit: int) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = {"where": where, "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        answer = http.get("/v1/clips", params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [clip["clip_id"] for clip in page["clips"]]
        cursor = page["cursor"]
        if cursor is None:
            return found
        assert len(page["clips"]) == limit


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_join_to_the_whole_in_order(http: httpx.Client, vehicle: Vehicle, limit: int) -> None:
    ids = upload_many(vehicle)
    # Newest first without an order of its own.
    assert pages(http, "", limit) == ids[::-1]
    same, absent = sorted([ids[0], ids[2]]), sorted([ids[3], ids[5]])
    rising = [ids[1], ids[4], *same, ids[6], *absent]
    assert pages(http, "ORDER BY max_decel_mps2", limit) == rising
    falling = [ids[6], *same, ids[4], ids[1], *absent]
    assert pages(http, "ORDER BY max_decel_mps2 DESC", limit) == falling
    assert pages(http, "ORDER BY max_decel_mps2 DESC LIMIT 4", limit) == falling[:4]
    example = "weather = 'clear' AND 'car' = ANY(detected_objects) AND max_decel_mps2 > 2"
    assert pages(http, example, limit) == [ids[6], ids[2], ids[0]]


def test_a_strange_cursor_is_refused(http: httpx.Client, vehicle: Vehicle) -> None:
    upload_many(vehicle)
    cursor = http.get("/v1/clips", params={"limit": 1}).json()["cursor"]
    for strange in ("x", "!!!!", cursor[:-4], "W10", "WyIiLG51bGwsMSwyXQ"):
        assert http.get("/v1/clips", params={"cursor": strange}).status_code == 400
    other = http.get("/v1/clips", params={"cursor": cursor, "where": "safety"})
    assert other.json()["message"] == "this cursor belongs to another search"


def test_a_wrong_search_names_the_place(http: httpx.Client) -> None:
    answer = http.get("/v1/clips", params={"where": "safety AND wether = 'x'"})
    assert answer.status_code == 400
    assert answer.json()["place"] == "where, column 12"
    assert "weather" in answer.json()["message"]


def test_show_gives_the_manifest_and_a_link_that_opens(
    http: httpx.Client, vehicle: Vehicle
) -> None:
    manifest = make_manifest(summary=ClipSummary(lat_deg=48.1, lon_deg=11.5))
    content = make_clip(manifest, 5000)
    clip_id = vehicle.upload(content, manifest)
    detail = http.get(f"/v1/clips/{clip_id}").json()
    assert ClipManifest.model_validate(detail["manifest"]) == manifest
    assert detail["clip"]["h3"].startswith("89")
    assert detail["clip"]["start_utc_ns"] == manifest.start_utc_ns
    found = http.get(detail["mcap_url"])
    assert found.content == content
    assert [m.name for m in make_reader(io.BytesIO(found.content)).iter_metadata()] == ["clip"]
    other = make_manifest(start_mono_ns=0)
    other_id = vehicle.upload(make_clip(other), other)
    moved = detail["mcap_url"].replace(clip_id, other_id)
    assert http.get(moved).status_code == 401
    assert http.get("/v1/clips/" + "0" * 64).status_code == 404
    assert http.get("/v1/clips/" + "../" * 3).status_code == 404
    assert http.get("/v1/clips/xyz").status_code == 400


def test_ranges_etag_and_cors(http: httpx.Client, vehicle: Vehicle) -> None:
    manifest = make_manifest()
    content = make_clip(manifest, 700_000)
    clip_id = vehicle.upload(content, manifest)
    url = f"/clips/{clip_id}.mcap"
    whole = http.get(url, headers={"Origin": "https://app.foxglove.dev"})
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["Access-Control-Allow-Origin"] == "https://app.foxglove.dev"
    assert "Content-Range" in whole.headers["Access-Control-Expose-Headers"]
    part = http.get(url, headers={"Range": "bytes=300000-300009"})
    assert (part.status_code, part.content) == (206, content[300_000:300_010])
    assert part.headers["Content-Range"] == f"bytes 300000-300009/{len(content)}"
    tail = http.get(url, headers={"Range": "bytes=-8"})
    assert (tail.status_code, tail.content) == (206, content[-8:])
    beyond = http.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(content)}"
    head = http.head(url)
    assert (head.headers["Content-Length"], head.content) == (str(len(content)), b"")
    etag = head.headers["ETag"]
    assert http.get(url, headers={"If-None-Match": etag}).status_code == 304
    stale = http.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (stale.status_code, len(stale.content)) == (200, len(content))


@pytest.mark.parametrize(
    ("text", "span"),
    [
        (None, None),
        ("bytes=0-", Span(0, 10)),
        ("bytes=9-", Span(9, 1)),
        ("bytes=2-4", Span(2, 3)),
        ("bytes=2-99", Span(2, 8)),
        ("bytes=-3", Span(7, 3)),
        ("bytes=-30", Span(0, 10)),
        ("bytes=4-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=0-1", None),
    ],
)
def test_range_texts(text: str | None, span: Span | None) -> None:
    assert parse_range(text, 10) == span


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=11-12", "bytes=-0"])
def test_ranges_outside(text: str) -> None:
    with pytest.raises(RangeError):
        parse_range(text, 10)
