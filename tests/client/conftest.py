"""The cloud's own fixtures: the client is tested against the real service."""

from tests.cloud_ingest.conftest import (
    cloud,
    database_url,
    http,
    postgres,
    start_cloud,
    tables,
    vehicle,
)

__all__ = ["cloud", "database_url", "http", "postgres", "start_cloud", "tables", "vehicle"]
