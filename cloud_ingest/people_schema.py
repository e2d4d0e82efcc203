"""The table of people's tokens. One `MetaData` with `schema`; the migrations make it."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, LargeBinary, Table, Text

from cloud_ingest.steps_schema import metadata

__all__ = ["metadata", "people"]
_TIME = DateTime(timezone=True)

people = Table(
    "people",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("token_sha256", LargeBinary, nullable=False, unique=True),
    Column("created_utc", _TIME, nullable=False),
    Column("expires_utc", _TIME, nullable=False),
    Column("revoked_utc", _TIME),
)
