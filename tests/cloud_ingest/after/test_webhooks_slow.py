"""Webhooks whose servers drip or do not answer: they hold up neither the others nor the chores."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.steps_schema import webhook_deliveries
from cloud_ingest.webhooks import sender as sending
from cloud_ingest.webhooks.sender import MOST_AT_ONCE
from contracts.clock import NS_PER_S, VirtualClock
from tests.cloud_ingest.after.clips import run_steps
from tests.cloud_ingest.after.test_erasure import erase
from tests.cloud_ingest.after.test_webhooks import Listener, listener, sender
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import make_clip, make_manifest
from tests.cloud_ingest.test_commit import enrolled, rows

__all__ = ["listener"]


@contextmanager
def answering(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server of bare sockets; `answer` has each connection until the event is set."""
    over, threads = threading.Event(), []
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            answer(connection, over)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def drips(connection: socket.socket, over: threading.Event) -> None:
    """A byte of a header at a time, for ever; often enough for any limit of one read."""
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not over.wait(0.02):
            connection.sendall(b"x")
    except OSError:
        return  # it was given up


def is_silent(_: socket.socket, over: threading.Event) -> None:
    over.wait()


def test_a_server_that_drips_is_given_up_within_the_limit(
    start_cloud: StartCloud, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.5)
    server = start_cloud()
    with answering(drips) as url, httpx.Client(base_url=server.url, timeout=30) as http:
        http.post("/v1/webhooks", json={"url": url})
        enrolled(http).upload(make_clip(make_manifest()), make_manifest())
        run_steps(server)
        assert server.run(sender(server).send_due()) == 1
    (row,) = rows(tables, webhook_deliveries)
    assert (row.state, row.attempts, row.reason) == ("open", 1, "took longer than 0.5 s")


def test_a_webhook_that_does_not_answer_holds_up_nobody(
    start_cloud: StartCloud, listener: Listener, tables: sa.Engine
) -> None:
    """More is owed to the dead one, and sooner, than would be sent at once."""
    clock = VirtualClock()
    server = start_cloud({"clock": clock})
    after = server.app.state.service.after
    with answering(is_silent) as url, httpx.Client(base_url=server.url, timeout=30) as http:
        dead = http.post("/v1/webhooks", json={"url": url}).json()["webhook"]["webhook_id"]
        vehicle = enrolled(http)

        def send(number: int) -> str:
            manifest = make_manifest(start_mono_ns=(10 + 20 * number) * NS_PER_S)
            return vehicle.upload(make_clip(manifest), manifest)

        for number in range(3 * MOST_AT_ONCE):
            send(number)
        run_steps(server)
        http.post("/v1/webhooks", json={"url": listener.url})
        last = send(100)
        run_steps(server)

        async def go() -> None:
            loops = [asyncio.create_task(run()) for run in (after.sender.run, after.chores.run)]
            while not listener.came or erased():
                await asyncio.sleep(0)
                await clock.advance_ns(NS_PER_S // 10)
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)

        def erased() -> bool:
            with tables.connect() as connection:
                query = "SELECT 1 FROM erasures WHERE ended_utc IS NULL"
                return connection.execute(sa.text(query)).first() is not None

        erase(http, "clip", last)
        server.run(asyncio.wait_for(go(), 25))
    assert last.encode() in listener.came[0][1]
    tried = [row for row in rows(tables, webhook_deliveries) if row.webhook_id == dead]
    assert {row.state for row in tried} == {"open"}
    assert sum(row.attempts for row in tried) <= MOST_AT_ONCE


def test_the_service_sends_by_itself(start_cloud: StartCloud, listener: Listener) -> None:
    server = start_cloud(steps_workers=1, steps_poll_s=0.01)
    with httpx.Client(base_url=server.url, timeout=30) as http:
        assert "webhooks" in server.app.state.service.background.states()
        http.post("/v1/webhooks", json={"url": listener.url})
        enrolled(http).upload(make_clip(make_manifest()), make_manifest())
        assert listener.wait_for(1)
