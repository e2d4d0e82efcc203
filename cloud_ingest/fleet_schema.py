"""The tables of the way down: signed metadata, releases, assignments, check-ins, rollouts.

One `MetaData` with `schema`; the migrations make them all.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from cloud_ingest.schema import metadata

__all__ = [
    "assignments",
    "audit_log",
    "check_ins",
    "counter_readings",
    "killed_triggers",
    "metadata",
    "ota_files",
    "ota_metadata",
    "ota_pieces",
    "ota_waiting",
    "releases",
    "rollouts",
    "signal_logs",
]
_TIME = DateTime(timezone=True)

ota_metadata = Table(
    "ota_metadata",
    metadata,
    Column("repository", Text, primary_key=True, comment="image or director"),
    Column("role", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False, comment="TUF metadata, exact bytes"),
    Column("created_utc", _TIME, nullable=False),
)

ota_waiting = Table(
    "ota_waiting",
    metadata,
    Column("role", Text, primary_key=True, comment="of the image repository; or director/root"),
    Column("content", LargeBinary, nullable=False, comment="signed by too few so far"),
    Column("actor", Text, nullable=False),
    Column("created_utc", _TIME, nullable=False),
)

ota_files = Table(
    "ota_files",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_utc", _TIME, nullable=False),
)

ota_pieces = Table(
    "ota_pieces",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False, comment="1 MiB each but the last"),
)

releases = Table(
    "releases",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("published_by", Text, nullable=False),
    Column("published_utc", _TIME, nullable=False),
    Column("withdrawn_utc", _TIME),
    Index("releases_digest_ix", "digest"),
)

assignments = Table(
    "assignments",
    metadata,
    Column("vehicle_id", Text, ForeignKey("vehicles.vehicle_id"), primary_key=True),
    Column("counter", Integer, nullable=False, comment="rises with every change"),
    Column("slots", JSONB, nullable=False, comment="slot: {kind, name, version, attempt}"),
    Column("killed", ARRAY(Text), nullable=False, server_default="{}"),
    Column("signed_counter", Integer, nullable=False, server_default="0"),
    Column("targets_version", Integer, nullable=False, server_default="0"),
    Column("snapshot_version", Integer, nullable=False, server_default="0"),
    Column("timestamp_version", Integer, nullable=False, server_default="0"),
    Column("targets", LargeBinary),
    Column("snapshot", LargeBinary),
    Column("timestamp", LargeBinary),
    Column("renew_utc", _TIME, comment="when the signed metadata is made anew"),
)

killed_triggers = Table(
    "killed_triggers",
    metadata,
    Column("trigger_id", Text, primary_key=True),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("killed_utc", _TIME, nullable=False),
)

check_ins = Table(
    "check_ins",
    metadata,
    Column("vehicle_id", Text, ForeignKey("vehicles.vehicle_id"), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("received_utc", _TIME, nullable=False),
    Column("manifest", Text, nullable=False, comment="newest, exact text as signed"),
    Column("signature", Text, nullable=False),
)

counter_readings = Table(
    "counter_readings",
    metadata,
    Column("vehicle_id", Text, ForeignKey("vehicles.vehicle_id"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("received_utc", _TIME, nullable=False),
    Column("counters", JSONB, nullable=False),
    Column("running", JSONB, nullable=False, comment="slot: digest"),
    Index("counter_readings_received_utc_ix", "received_utc"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("rollout_id", Text, primary_key=True),
    Column("request_id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("shadow", Boolean, nullable=False),
    Column("slot", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("state", LargeBinary, nullable=False, comment="rollout.snapshot"),
    Column("told", JSONB, nullable=False, comment="what the last step told people"),
    Column("created_by", Text, nullable=False),
    Column("created_utc", _TIME, nullable=False),
    Column("stepped_utc", _TIME),
    Index(
        "rollouts_live_slot_ix",
        "slot",
        unique=True,
        postgresql_where=text("phase NOT IN ('done', 'halted', 'aborted')"),
    ),
)

signal_logs = Table(
    "signal_logs",
    metadata,
    Column("log_id", Text, primary_key=True),
    Column("vehicle_id", Text, ForeignKey("vehicles.vehicle_id"), nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("drive_id", Text, nullable=False),
    Column("start_utc", _TIME, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("received_utc", _TIME, nullable=False),
    Index("signal_logs_start_utc_ix", "start_utc", "log_id"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("at_utc", _TIME, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
)
