"""Webhooks: signed, at least once, retried ever more rarely, and given up in the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.steps_schema import webhook_deliveries
from cloud_ingest.webhooks.sender import MOST_ATTEMPTS, WebhookSender
from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.webhooks import is_signed, signature
from tests.cloud_ingest.after.clips import run_steps
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import RunningServer, make_clip, make_manifest
from tests.cloud_ingest.test_commit import enrolled, rows


class Listener:
    """Somebody's server: answers as told, and keeps what came."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.came: list[tuple[dict[str, str], bytes]] = []
        self._news = threading.Condition()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with listener._news:
                    listener.came.append((dict(self.headers), body))
                    listener._news.notify_all()
                self.send_response(listener.answers.pop(0) if listener.answers else 204)
                self.send_header("Location", listener.url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def wait_for(self, count: int) -> bool:
        """Whether so many deliveries have come within half a minute."""
        with self._news:
            return self._news.wait_for(lambda: len(self.came) >= count, 30)


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def sender(server: RunningServer) -> WebhookSender:
    service = server.app.state.service
    return WebhookSender(service.engine, service.clock)


def test_events_are_told_signed_and_once_each_that_is_taken(
    start_cloud: StartCloud, listener: Listener, tables: sa.Engine
) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock})
    with httpx.Client(base_url=server.url, timeout=30) as http:
        made = http.post("/v1/webhooks", json={"url": listener.url}).json()
        webhook_id, secret = made["webhook"]["webhook_id"], made["secret"]
        vehicle = enrolled(http)
        clip_id = vehicle.upload(make_clip(make_manifest()), make_manifest())
        run_steps(server)
        other = vehicle.upload(b"no clip", make_manifest(start_mono_ns=99 * NS_PER_S))
        run_steps(server)
        listener.answers = [500]
        assert server.run(sender(server).send_due()) == 2
        assert server.run(sender(server).send_due()) == 0  # put off
        server.run(clock.advance_ns(11 * NS_PER_S))
        assert server.run(sender(server).send_due()) == 1
        bodies = [json.loads(body) for _, body in listener.came]
        assert sorted((body["topic"], body["clip_id"]) for body in bodies[:2]) == sorted(
            [("clip.committed", clip_id), ("clip.committed", other)]
        )
        assert bodies[2] in bodies[:2]  # the same event again, by its id
        for headers, body in listener.came:
            stamp, signed = headers["Longtail-Timestamp"], headers["Longtail-Signature"]
            now_s = clock.utc_ns() / NS_PER_S
            assert is_signed(secret, stamp, signed, body, now_s)
            assert not is_signed("another", stamp, signed, body, now_s)
            assert not is_signed(secret, stamp, signed, body + b" ", now_s)
            assert not is_signed(secret, stamp, signed, body, now_s + 1000)
            assert not is_signed(secret, "x", signed, body, now_s)
            assert headers["Longtail-Delivery"] == json.loads(body)["delivery_id"]
        (told,) = http.get("/v1/webhooks").json()["webhooks"]
        assert (told["waiting"], told["given_up"]) == (0, 0)
        assert "secret" not in json.dumps(http.get("/v1/webhooks").json())
        found = http.get(f"/v1/webhooks/{webhook_id}/deliveries").json()["deliveries"]
        assert [each["state"] for each in found] == ["delivered", "delivered"]
        assert http.delete(f"/v1/webhooks/{webhook_id}").status_code == 200
        assert http.delete(f"/v1/webhooks/{webhook_id}").status_code == 404
        assert rows(tables, webhook_deliveries) == []


def test_what_nobody_takes_is_given_up_after_days(
    start_cloud: StartCloud, listener: Listener, tables: sa.Engine
) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock})
    listener.answers = [302] * 100
    with httpx.Client(base_url=server.url, timeout=30) as http:
        http.post("/v1/webhooks", json={"url": listener.url})
        enrolled(http).upload(make_clip(make_manifest()), make_manifest())
        run_steps(server)
        began_ns = clock.utc_ns()
        times = []
        while rows(tables, webhook_deliveries)[0].state == "open":
            if server.run(sender(server).send_due()):
                times.append(clock.utc_ns())
            server.run(clock.advance_ns(60 * NS_PER_S if len(times) < 6 else 3600 * NS_PER_S))
        gaps = [after - before for before, after in pairwise(times)]
        assert len(listener.came) == len(times) == MOST_ATTEMPTS
        assert gaps == sorted(gaps)
        assert 2 * NS_PER_DAY < times[-1] - began_ns < 6 * NS_PER_DAY
        (told,) = http.get("/v1/webhooks").json()["webhooks"]
        assert (told["waiting"], told["given_up"]) == (0, 1)


def test_a_delivery_that_was_claimed_before_a_kill_is_tried_by_another(
    start_cloud: StartCloud, listener: Listener
) -> None:
    clock = VirtualClock()
    first, second = start_cloud({"clock": clock}), start_cloud({"clock": clock})
    with httpx.Client(base_url=first.url, timeout=30) as http:
        made = http.post("/v1/webhooks", json={"url": listener.url}).json()
        enrolled(http).upload(make_clip(make_manifest()), make_manifest())
        run_steps(first)
    webhook_id = made["webhook"]["webhook_id"]
    assert len(first.run(sender(first)._claim(webhook_id))) == 1  # and then it is killed
    assert second.run(sender(second).send_due()) == 0
    first.run(clock.advance_ns(30 * NS_PER_S))
    assert second.run(sender(second).send_due()) == 1
    assert len(listener.came) == 1


def test_a_webhook_is_a_web_address(http: httpx.Client) -> None:
    for url in ("file:///etc/passwd", "ftp://x", "", "http://"):
        assert http.post("/v1/webhooks", json={"url": url}).status_code == 400
    assert signature("s", 1, b"x").startswith("v1=")
