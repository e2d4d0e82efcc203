"""The first tables."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "clip_identity",
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("clip_identity_pkey")),
    )
    op.create_table(
        "enrolment_tokens",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("vehicle_id", sa.Text(), nullable=True),
        sa.Column("expires_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_by", sa.Text(), nullable=True),
        sa.Column("used_key", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("enrolment_tokens_pkey")),
    )
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("outbox_pkey")),
    )
    op.create_table(
        "server_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_jwk", postgresql.JSONB(), nullable=False),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("server_keys_pkey")),
    )
    op.create_table(
        "vehicles",
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("enrolled_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_utc", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("vehicle_id", name=op.f("vehicles_pkey")),
    )
    op.create_table(
        "clips",
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=True),
        sa.Column("drive_id", sa.Text(), nullable=True),
        sa.Column("start_utc", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("weather", sa.Text(), nullable=True),
        sa.Column("tod", sa.Text(), nullable=True),
        sa.Column("road_type", sa.Text(), nullable=True),
        sa.Column("lat_deg", sa.Double(), nullable=True),
        sa.Column("lon_deg", sa.Double(), nullable=True),
        sa.Column("h3", sa.Text(), nullable=True, comment="cell of resolution 9, about 0.1 km2"),
        sa.Column("stream", sa.Text(), nullable=True),
        sa.Column("inclusion_probability", sa.Double(), nullable=True),
        sa.Column("safety", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("causes", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("cause_kinds", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column(
            "detected_objects", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("min_speed_mps", sa.Double(), nullable=True),
        sa.Column("mean_speed_mps", sa.Double(), nullable=True),
        sa.Column("max_speed_mps", sa.Double(), nullable=True),
        sa.Column("max_decel_mps2", sa.Double(), nullable=True),
        sa.Column("max_accel_mps2", sa.Double(), nullable=True),
        sa.Column("max_lat_accel_mps2", sa.Double(), nullable=True),
        sa.Column("max_jerk_mps3", sa.Double(), nullable=True),
        sa.Column("min_ttc_s", sa.Double(), nullable=True),
        sa.Column("max_uncertainty", sa.Double(), nullable=True),
        sa.Column("image_frames", sa.BigInteger(), nullable=True),
        sa.Column("lidar_sweeps", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("model_digest", sa.Text(), nullable=True),
        sa.Column("software_version", sa.Text(), nullable=True),
        sa.Column("scene_hash", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "manifest",
            postgresql.JSONB(),
            nullable=True,
            comment="as the clip says it; null when it could not be read",
        ),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clip_identity.clip_id"], name=op.f("clips_clip_id_fkey")
        ),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("clips_pkey")),
    )
    op.create_index("clips_causes_ix", "clips", ["causes"], unique=False, postgresql_using="gin")
    op.create_index(
        "clips_detected_objects_ix",
        "clips",
        ["detected_objects"],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index("clips_start_utc_ix", "clips", ["start_utc", "clip_id"], unique=False)
    op.create_index(
        "clips_vehicle_event_ix",
        "clips",
        ["vehicle_id", "event_key"],
        unique=True,
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_table(
        "deliveries",
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clip_identity.clip_id"], name=op.f("deliveries_clip_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicles.vehicle_id"], name=op.f("deliveries_vehicle_id_fkey")
        ),
        sa.PrimaryKeyConstraint("vehicle_id", "clip_id", name=op.f("deliveries_pkey")),
    )
    op.create_table(
        "embeddings",
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("model_digest", sa.Text(), nullable=False),
        sa.Column("vector", Vector(), nullable=False, comment="one dimension per model"),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clip_identity.clip_id"], name=op.f("embeddings_clip_id_fkey")
        ),
        sa.PrimaryKeyConstraint("clip_id", "model_digest", name=op.f("embeddings_pkey")),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("record_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=False),
        sa.Column("trigger_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicles.vehicle_id"], name=op.f("events_vehicle_id_fkey")
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("events_pkey")),
        sa.UniqueConstraint("record_sha256", name=op.f("events_record_sha256_key")),
    )
    op.create_index(
        "events_vehicle_id_sequence_ix", "events", ["vehicle_id", "sequence"], unique=False
    )
    op.create_table(
        "uploads",
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("clip_id", sa.Text(), nullable=True, comment="declared, or found at completion"),
        sa.Column(
            "part_digests",
            sa.LargeBinary(),
            nullable=True,
            comment="declared: 32 bytes a part; null: undeclared",
        ),
        sa.Column("declaration", postgresql.JSONB(), nullable=True),
        sa.Column("metadata_header", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_utc", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicles.vehicle_id"], name=op.f("uploads_vehicle_id_fkey")
        ),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("uploads_pkey")),
    )
    op.create_index("uploads_expires_utc_ix", "uploads", ["expires_utc"], unique=False)
    op.create_index(
        "uploads_open_clip_ix",
        "uploads",
        ["vehicle_id", "clip_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open' AND part_digests IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "uploads_open_clip_ix",
        table_name="uploads",
        postgresql_where=sa.text("state = 'open' AND part_digests IS NOT NULL"),
    )
    op.drop_index("uploads_expires_utc_ix", table_name="uploads")
    op.drop_table("uploads")
    op.drop_index("events_vehicle_id_sequence_ix", table_name="events")
    op.drop_table("events")
    op.drop_table("embeddings")
    op.drop_table("deliveries")
    op.drop_index(
        "clips_vehicle_event_ix", table_name="clips", postgresql_where=sa.text("state = 'ready'")
    )
    op.drop_index("clips_start_utc_ix", table_name="clips")
    op.drop_index("clips_detected_objects_ix", table_name="clips", postgresql_using="gin")
    op.drop_index("clips_causes_ix", table_name="clips", postgresql_using="gin")
    op.drop_table("clips")
    op.drop_table("vehicles")
    op.drop_table("server_keys")
    op.drop_table("outbox")
    op.drop_table("enrolment_tokens")
    op.drop_table("clip_identity")
