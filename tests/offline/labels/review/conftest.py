"""The queue over a real PostgreSQL."""

from tests.cloud_ingest.conftest import (  # noqa: F401
    database_url,
    postgres,
    tables,
)
