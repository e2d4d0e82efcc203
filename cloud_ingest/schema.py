"""The catalog's tables. The migrations make them; a test keeps both alike.

`clip_identity` is apart from `clips` so that `clips` may be partitioned by time one day:
PostgreSQL cannot keep an id unique across time partitions.

An event key is unique per vehicle among clips in state `ready`; see `commit` for what happens
to a second clip of the same event.
"""

from __future__ import annotations

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_ix",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

READY = "ready"
QUARANTINED = "quarantined"
OPEN = "open"
COMMITTED = "committed"
REFUSED = "refused"
WHOLE = "whole"
PARTIAL = "partial"
FINAL = "final"
SPAN = "span"
"""A run of a declared upload's parts, sent beside others of them; it becomes that one."""

_TIME = DateTime(timezone=True)

vehicles = Table(
    "vehicles",
    metadata,
    Column("vehicle_id", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("enrolled_utc", _TIME, nullable=False),
    Column("revoked_utc", _TIME),
    Column("first_contact_utc", _TIME, comment="first authenticated request of an update check"),
    Column("last_contact_utc", _TIME),
)

enrolment_tokens = Table(
    "enrolment_tokens",
    metadata,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("vehicle_id", Text),
    Column("expires_utc", _TIME, nullable=False),
    Column("used_by", Text),
    Column("used_key", LargeBinary),
)

server_keys = Table(
    "server_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key_jwk", JSONB, nullable=False),
    Column("created_utc", _TIME, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("upload_id", Text, primary_key=True),
    Column("vehicle_id", Text, ForeignKey("vehicles.vehicle_id"), nullable=False),
    Column("length_bytes", BigInteger, nullable=False),
    Column("clip_id", Text, comment="declared, or found at completion"),
    Column("part_digests", LargeBinary, comment="declared: 32 bytes a part; null: undeclared"),
    Column("declaration", JSONB),
    Column("metadata_header", Text),
    Column("state", Text, nullable=False, server_default=OPEN),
    Column("reason", Text),
    Column("created_utc", _TIME, nullable=False),
    Column("expires_utc", _TIME, nullable=False),
    Column("kind", Text, nullable=False, server_default=WHOLE),
    Column("joined", ARRAY(Text), comment="of a final upload: its partial ones, in order"),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    Column("place", Text, comment="what the part store calls it; null before the first byte"),
    Column(
        "parent_id",
        Text,
        ForeignKey("uploads.upload_id", ondelete="CASCADE"),
        comment="of a span: the declared upload whose bytes it takes",
    ),
    Column("first_byte", BigInteger, nullable=False, server_default="0", comment="of a span"),
    Index("uploads_span_ix", "parent_id", "first_byte", unique=True),
    Index(
        "uploads_open_clip_ix",
        "vehicle_id",
        "clip_id",
        unique=True,
        postgresql_where=text("state = 'open' AND part_digests IS NOT NULL"),
    ),
    Index("uploads_expires_utc_ix", "expires_utc"),
    Index("uploads_open_ix", "clip_id", postgresql_where=text("state = 'open'")),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("vehicle_id", Text, ForeignKey("vehicles.vehicle_id"), primary_key=True),
    Column("clip_id", Text, ForeignKey("clip_identity.clip_id"), primary_key=True),
    Column("received_utc", _TIME, nullable=False),
)

clip_identity = Table(
    "clip_identity",
    metadata,
    Column("clip_id", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("received_utc", _TIME, nullable=False),
    Column("erased_utc", _TIME, comment="erased for good: the id does not come back"),
)

clips = Table(
    "clips",
    metadata,
    Column("clip_id", Text, ForeignKey("clip_identity.clip_id"), primary_key=True),
    Column("vehicle_id", Text, nullable=False),
    Column("event_key", Text),
    Column("drive_id", Text),
    Column("start_utc", _TIME),
    Column("duration_s", Double),
    Column("weather", Text(collation="C")),
    Column("tod", Text(collation="C")),
    Column("road_type", Text(collation="C")),
    Column("lat_deg", Double),
    Column("lon_deg", Double),
    Column("h3", Text, comment="cell of resolution 9, about 0.1 km2"),
    Column("stream", Text(collation="C")),
    Column("inclusion_probability", Double),
    Column("safety", Boolean, nullable=False, server_default=text("false")),
    Column("causes", ARRAY(Text), nullable=False, server_default="{}"),
    Column("cause_kinds", ARRAY(Text), nullable=False, server_default="{}"),
    Column("detected_objects", ARRAY(Text), nullable=False, server_default="{}"),
    Column("min_speed_mps", Double),
    Column("mean_speed_mps", Double),
    Column("max_speed_mps", Double),
    Column("max_decel_mps2", Double),
    Column("max_accel_mps2", Double),
    Column("max_lat_accel_mps2", Double),
    Column("max_jerk_mps3", Double),
    Column("min_ttc_s", Double),
    Column("max_uncertainty", Double),
    Column("image_frames", BigInteger),
    Column("lidar_sweeps", BigInteger),
    Column("size_bytes", BigInteger, nullable=False),
    Column("model_digest", Text),
    Column("software_version", Text),
    Column("scene_hash", Text),
    Column("state", Text, nullable=False),
    Column("state_reason", Text),
    Column("received_utc", _TIME, nullable=False),
    Column("manifest", JSONB, comment="as the clip says it; null when it could not be read"),
    Column("caption", Text),
    Column(
        "mining_row", BigInteger, Identity(always=True), nullable=False,
        comment="number of the clip in the mining index",
    ),
    Index(
        "clips_vehicle_event_ix",
        "vehicle_id",
        "event_key",
        unique=True,
        postgresql_where=text("state = 'ready'"),
    ),
    Index("clips_start_utc_ix", "start_utc", "clip_id"),
    Index("clips_detected_objects_ix", "detected_objects", postgresql_using="gin"),
    Index("clips_causes_ix", "causes", postgresql_using="gin"),
    Index(
        "clips_mining_row_ix", "mining_row", unique=True, postgresql_include=["clip_id", "state"]
    ),
    # A condition over these columns gives its rows without a look at the clips themselves.
    Index(
        "clips_scene_ix", "weather", "tod", "road_type", "start_utc",
        postgresql_where=text("state = 'ready'"),
        postgresql_include=[
            "mining_row", "stream", "safety", "min_ttc_s", "max_decel_mps2",
            "max_lat_accel_mps2", "mean_speed_mps", "max_speed_mps", "max_uncertainty",
        ],
    ),
    *(
        Index(
            f"clips_{name}_row_ix", name,
            postgresql_where=text("state = 'ready'"), postgresql_include=["mining_row"],
        )
        for name in ("start_utc", "min_ttc_s", "max_decel_mps2")
    ),
    Index(
        "clips_uncaptioned_ix", "mining_row",
        postgresql_where=text("state = 'ready' AND caption IS NULL"),
    ),
)  # fmt: skip

embeddings = Table(
    "embeddings",
    metadata,
    Column("clip_id", Text, ForeignKey("clip_identity.clip_id"), primary_key=True),
    Column("model_digest", Text, primary_key=True),
    Column("vector", Vector(), nullable=False, comment="one dimension per model"),
    Column(
        "changed_xid", BigInteger, nullable=False,
        server_default=text("pg_current_xact_id()::text::bigint"),
        comment="transaction that wrote the row",
    ),
    Index("embeddings_model_digest_changed_xid_ix", "model_digest", "changed_xid"),
)  # fmt: skip

ended_clips = Table(
    "ended_clips",
    metadata,
    Column("clip_id", Text, primary_key=True),
    Column("ended_utc", _TIME, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("record_sha256", LargeBinary, nullable=False, unique=True),
    Column("vehicle_id", Text, ForeignKey("vehicles.vehicle_id"), nullable=False),
    Column("event_key", Text, nullable=False),
    Column("trigger_id", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("received_utc", _TIME, nullable=False),
    Column("record", JSONB, nullable=False),
    Index("events_vehicle_id_sequence_ix", "vehicle_id", "sequence"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("clip_id", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("created_utc", _TIME, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
)
