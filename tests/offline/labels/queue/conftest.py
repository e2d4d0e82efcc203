"""The queue over a real PostgreSQL, one for all of these tests."""

from tests.cloud_ingest.conftest import (  # noqa: F401
    database_url,
    postgres,
    tables,
)
