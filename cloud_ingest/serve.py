"""Runs the service: database, migrations, web server, and an orderly end.

Guarantees: one service a folder (a lock says so); on SIGTERM or Ctrl-C running requests end,
then the database is stopped; after a SIGKILL the next start clears up. The ready file, when
asked for, appears as a whole once requests are answered, and holds the URL with the real port.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from cloud_ingest.app import create_app
from cloud_ingest.database import migrate
from cloud_ingest.folder_lock import folder_lock
from cloud_ingest.http_protocol import LargeBodiesProtocol
from cloud_ingest.postgres import EmbeddedPostgres
from cloud_ingest.settings import Settings
from contracts.errors import InputError, TransientError

GRACE_S = 10
_TICKS_PER_CHECK = 20
_log = structlog.get_logger(__name__)


class _Stopped(SystemExit):
    """SIGTERM came while no web server was there to take it."""


class _Server(uvicorn.Server):
    """Says when it answers, and ends when its database has ended."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], None],
        postgres: EmbeddedPostgres | None,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._postgres = postgres
        self.database_lost = False

    async def on_tick(self, counter: int) -> bool:
        """uvicorn asks ten times a second whether to end."""
        if self._postgres is not None and counter % _TICKS_PER_CHECK == 0:
            self.database_lost = not self._postgres.is_running()
        return self.database_lost or await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; returns after the database has stopped.

    Raises `ConflictError` when another service runs on the folder, `InputError` when the
    address cannot be bound, `TransientError` when the database does not start, or ends while
    the service runs.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    with _stop_signals(), folder_lock(settings.folder):
        listener = _listen(settings.host, settings.port)
        with listener, _database(settings) as (url, postgres):
            migrate(url)
            _run(settings, url, listener, postgres)
    _log.info("stopped", folder=str(settings.folder))


def _run(
    settings: Settings,
    database_url: str,
    listener: socket.socket,
    postgres: EmbeddedPostgres | None,
) -> None:
    url = _url(settings.host, listener.getsockname()[1])

    def ready() -> None:
        # What was made so far stays: no collection has to look through it again and again.
        gc.collect()
        gc.freeze()
        if settings.ready_file is not None:
            _write_whole(settings.ready_file, url + "\n")
        _log.info("ready", url=url, folder=str(settings.folder.resolve()))

    app = create_app(settings, database_url)
    config = uvicorn.Config(
        app,
        http=LargeBodiesProtocol,
        ws="none",
        lifespan="on",
        proxy_headers=False,  # laptop mode must see who really asks
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config, ready, postgres)
    try:
        server.run(sockets=[listener])
    except _Stopped:
        _log.info("stopping")
    except SystemExit:
        # uvicorn's way to say that the application did not start.
        if hasattr(app.state, "start_error"):
            raise app.state.start_error from None
        raise
    finally:
        if settings.ready_file is not None:
            settings.ready_file.unlink(missing_ok=True)
    if server.database_lost:
        # Whoever started the service starts it again; half of it alive would only look well.
        raise TransientError(
            "the embedded database ended by itself; postgres.log tells why",
            str(settings.folder / "postgres"),
        )


def _url(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise InputError(f"cannot listen here: {error.strerror}", f"{host}:{port}") from error
    listener.set_inheritable(False)
    # Accepted connections take it over. Without it a small answer waits for a delayed
    # acknowledgement: 44 ms each on a kept-alive connection.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def _database(settings: Settings) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value(), None
        return
    postgres = EmbeddedPostgres(settings.folder / "postgres")
    try:
        postgres.start()
        yield postgres.url, postgres
    finally:
        postgres.stop()


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM and Ctrl-C unwind the stack, so that the database is stopped on every road.

    While the web server runs they are its own; it raises them again once it has ended.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped(0)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_whole(path: Path, text: str) -> None:
    """The file appears with all of its text, or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
