"""The queue in the embedded database: made, found again, shared with who runs it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_ingest.postgres import EmbeddedPostgres
from cloud_ingest.settings import Settings
from contracts.clock import VirtualClock
from contracts.errors import InputError, TransientError
from offline.labels.queue.opened import opened_queue
from tests.offline.labels.queue.tasks import new_task


@pytest.fixture
def settings() -> Iterator[Settings]:
    folder = Path(tempfile.mkdtemp(prefix="lt-queue-"))
    yield Settings(folder=folder / "cloud", database_url=None)
    shutil.rmtree(folder)


def test_who_comes_second_shares_the_running_database(settings: Settings) -> None:
    async def inside() -> None:
        with pytest.raises(InputError, match="no database of a service is here"):
            async with opened_queue(settings, VirtualClock()):
                pass
        async with opened_queue(settings, VirtualClock(), create=True) as queue:
            await queue.add([new_task(1)], "router")
            async with opened_queue(settings, VirtualClock()) as other:
                assert (await other.add([new_task(1)], "router")).new == 0
                assert await other.reserve("ann") is not None
            # It was not the second one's to stop.
            assert await queue.reserve("ann") is None
            postgres = EmbeddedPostgres(settings.folder / "postgres")
            postgres.stop()
            with pytest.raises(TransientError, match="starting or stopping"):
                async with opened_queue(settings, VirtualClock()):
                    pass

    # It ended under the first one, which had nothing left to ask.
    asyncio.run(inside())
    assert not EmbeddedPostgres(settings.folder / "postgres").is_running()


def test_a_database_that_is_away_may_come_back(settings: Settings) -> None:
    away = settings.model_copy(
        update={"database_url": Settings(database_url="postgresql://x@127.0.0.1:1/x").database_url}
    )

    async def inside() -> None:
        async with opened_queue(away, VirtualClock()):
            pass

    with pytest.raises(TransientError, match="does not answer"):
        asyncio.run(inside())


_HOLDS_IT = """
import signal, sys
from pathlib import Path
from cli.main import end_when_told
from cloud_ingest.settings import Settings
from offline.labels.queue.opened import opened_database
end_when_told()
with opened_database(Settings(folder=Path(sys.argv[1]), database_url=None), create=True) as url:
    print(url, flush=True)
    signal.pause()
"""


def test_the_database_ends_with_a_command_that_is_told_to_end(settings: Settings) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDS_IT, str(settings.folder)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert any(line.startswith("postgresql") for line in holder.stdout)
    postgres = EmbeddedPostgres(settings.folder / "postgres")
    assert postgres.is_running()
    holder.terminate()
    assert holder.wait(timeout=60) == 128 + signal.SIGTERM
    holder.stdout.close()
    assert not postgres.is_running()
