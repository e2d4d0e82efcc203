"""The tables of the mining index: spaces, jobs, saved searches, pictures, what was deleted.

One `MetaData` with `schema`; the migrations make them. The migration also makes the triggers
that keep `embeddings.changed_xid` and `mining_deletions` (see `mining.feed`).
"""

from __future__ import annotations

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from cloud_ingest.receiver_schema import metadata

__all__ = [
    "CAPTION",
    "PICTURE",
    "embedding_jobs",
    "embedding_spaces",
    "metadata",
    "mining_deletions",
    "pictures",
    "saved_searches",
]

CAPTION, PICTURE = "caption", "picture"
"""What a space compares: sentences with captions, or pictures with what sensors saw."""

_TIME = DateTime(timezone=True)
_XID = text("pg_current_xact_id()::text::bigint")

embedding_spaces = Table(
    "embedding_spaces",
    metadata,
    Column("space", Text, primary_key=True, comment="digest of the encoder, as model_digest"),
    Column("kind", Text, nullable=False, comment="caption or picture"),
    Column("encoder", Text, nullable=False, comment="its name for people"),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    Column("created_utc", _TIME, nullable=False),
    Index(
        "embedding_spaces_default_ix",
        "kind",
        unique=True,
        postgresql_where=text("is_default"),
    ),
)

embedding_jobs = Table(
    "embedding_jobs",
    metadata,
    Column("space", Text, primary_key=True),
    Column("last_row", BigInteger, nullable=False, comment="of clips.mining_row: to be done"),
    Column("done_row", BigInteger, nullable=False, server_default="0", comment="done up to here"),
    Column("embedded", Integer, nullable=False, server_default="0"),
    Column("makes_default", Boolean, nullable=False),
    Column("started_utc", _TIME, nullable=False),
    Column("finished_utc", _TIME),
)

saved_searches = Table(
    "saved_searches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("where_text", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("saved_utc", _TIME, nullable=False),
)

pictures = Table(
    "pictures",
    metadata,
    Column("picture_id", Text, primary_key=True),
    Column("space", Text, nullable=False),
    Column("vector", Vector(), nullable=False),
    Column("put_utc", _TIME, nullable=False),
)

mining_deletions = Table(
    "mining_deletions",
    metadata,
    Column("mining_row", BigInteger, nullable=False),
    Column("model_digest", Text, comment="null: the clip itself has gone, with all its spaces"),
    Column("changed_xid", BigInteger, nullable=False, server_default=_XID),
    Index("mining_deletions_changed_xid_ix", "changed_xid"),
)
