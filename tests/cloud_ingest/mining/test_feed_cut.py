"""A database that goes away while vectors are read is our transient error, not a driver's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloud_ingest.mining.matrix_index import MatrixIndex
from cloud_ingest.mining.similar import SimilarClips
from contracts.errors import TransientError
from tests.cloud_ingest.mining.support import SPACE, fill, unit_vectors, with_index


@pytest.mark.parametrize("cut", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_reading_that_is_cut_in_the_middle_is_transient(
    database_url: str, tables: sa.Engine, tmp_path: Path, cut: str
) -> None:
    """The statement alone, or its connection with it: then SQLAlchemy says so at its end."""
    found = f"""
        SELECT {cut}(pid) FROM pg_stat_activity
        WHERE query LIKE 'COPY%' AND wait_event_type = 'Lock'
    """
    fill(tables, unit_vectors(20))

    def cut_when_it_waits() -> None:
        with tables.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.execute(sa.text(found)).all():
                pass

    async def go(index: MatrixIndex, _: SimilarClips) -> int | None:
        with tables.begin() as holding:
            # What is read before does not look at clips; the COPY does.
            holding.execute(sa.text("LOCK TABLE clips IN ACCESS EXCLUSIVE MODE"))
            cutting = asyncio.create_task(asyncio.to_thread(cut_when_it_waits))
            with pytest.raises((TransientError, sa.exc.OperationalError)):
                await index.catch_up(SPACE)
            await cutting
        return await index.catch_up(SPACE)

    assert with_index(database_url, tmp_path, go) == 20
