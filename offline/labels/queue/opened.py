"""The review queue of this machine, or of the database that the environment names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from sqlalchemy.exc import InterfaceError, OperationalError

from cloud_ingest.database import migrate, open_engine
from cloud_ingest.folder_lock import folder_lock
from cloud_ingest.postgres import EmbeddedPostgres
from cloud_ingest.settings import Settings
from contracts.clock import Clock
from contracts.errors import ConflictError, InputError, TransientError
from offline.labels.queue.store import HOLD_NS, ReviewQueue


@asynccontextmanager
async def opened_queue(
    settings: Settings, clock: Clock, *, hold_ns: int = HOLD_NS, create: bool = False
) -> AsyncIterator[ReviewQueue]:
    """The queue, in the database that `longtail cloud serve` uses with the same settings.

    Where that is the embedded one and nobody runs it, it runs while the queue is open; `create`
    makes it where there is none yet.

    Raises `InputError` where there is no database, `TransientError` when it goes away.
    """
    with opened_database(settings, create=create) as url:
        migrate(url)
        engine = open_engine(url)
        try:
            yield ReviewQueue(engine, clock, hold_ns)
        except (OperationalError, InterfaceError) as error:
            raise TransientError(f"the database went away: {error.orig}") from error
        finally:
            await engine.dispose()


@contextmanager
def opened_database(settings: Settings, *, create: bool = False) -> Iterator[str]:
    """The database's URL. The embedded one runs for as long as the context lasts, where it does not
    run already. Raises as `opened_queue` does.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    folder = settings.folder / "postgres"
    if not (create or folder.is_dir()):
        raise InputError("no database of a service is here", str(settings.folder))
    settings.folder.mkdir(parents=True, exist_ok=True)
    postgres = EmbeddedPostgres(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(settings.folder))
        except ConflictError:
            # A service, or another such command, runs it: its socket is this user's too.
            if not postgres.is_running():
                raise TransientError("the database is starting or stopping", str(folder)) from None
        else:
            stack.callback(postgres.stop)
            postgres.start()
        yield postgres.url
