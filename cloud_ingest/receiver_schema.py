"""The tables of uploads over several replicas: the pieces that a part store has acknowledged.

One `MetaData` with `schema`; the migrations make them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text

from cloud_ingest.label_schema import metadata

__all__ = ["metadata", "upload_pieces"]

upload_pieces = Table(
    "upload_pieces",
    metadata,
    Column(
        "upload_id",
        Text,
        ForeignKey("uploads.upload_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("start_bytes", BigInteger, primary_key=True, autoincrement=False),
    Column("length_bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary, comment="of a whole part; null: bytes of one that is not full"),
    Column("token", Text, nullable=False, comment="what the part store calls these bytes"),
)
