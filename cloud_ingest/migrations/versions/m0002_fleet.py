"""The way down: signed metadata, releases, assignments, check-ins and rollouts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("audit_log_pkey")),
    )
    op.create_table(
        "killed_triggers",
        sa.Column("trigger_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("killed_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("trigger_id", name=op.f("killed_triggers_pkey")),
    )
    op.create_table(
        "ota_files",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("ota_files_pkey")),
    )
    op.create_table(
        "ota_metadata",
        sa.Column("repository", sa.Text(), nullable=False, comment="image or director"),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="TUF metadata, exact bytes"),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("repository", "role", "version", name=op.f("ota_metadata_pkey")),
    )
    op.create_table(
        "ota_pieces",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="1 MiB each but the last"),
        sa.PrimaryKeyConstraint("sha256", "number", name=op.f("ota_pieces_pkey")),
    )
    op.create_table(
        "ota_waiting",
        sa.Column(
            "role", sa.Text(), nullable=False, comment="of the image repository; or director/root"
        ),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="signed by too few so far"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("role", name=op.f("ota_waiting_pkey")),
    )
    op.create_table(
        "releases",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("published_by", sa.Text(), nullable=False),
        sa.Column("published_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_utc", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kind", "name", "version", name=op.f("releases_pkey")),
    )
    op.create_index("releases_digest_ix", "releases", ["digest"], unique=False)
    op.create_table(
        "rollouts",
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False, comment="rollout.snapshot"),
        sa.Column(
            "told",
            postgresql.JSONB(),
            nullable=False,
            comment="what the last step told people",
        ),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stepped_utc", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("rollout_id", name=op.f("rollouts_pkey")),
        sa.UniqueConstraint("request_id", name=op.f("rollouts_request_id_key")),
    )
    op.create_index(
        "rollouts_live_slot_ix",
        "rollouts",
        ["slot"],
        unique=True,
        postgresql_where=sa.text("phase NOT IN ('done', 'halted', 'aborted')"),
    )
    op.create_table(
        "assignments",
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("counter", sa.Integer(), nullable=False, comment="rises with every change"),
        sa.Column(
            "slots",
            postgresql.JSONB(),
            nullable=False,
            comment="slot: {kind, name, version, attempt}",
        ),
        sa.Column("killed", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("signed_counter", sa.Integer(), server_default="0", nullable=False),
        sa.Column("targets_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("snapshot_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("timestamp_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("targets", sa.LargeBinary(), nullable=True),
        sa.Column("snapshot", sa.LargeBinary(), nullable=True),
        sa.Column("timestamp", sa.LargeBinary(), nullable=True),
        sa.Column(
            "renew_utc",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the signed metadata is made anew",
        ),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicles.vehicle_id"], name=op.f("assignments_vehicle_id_fkey")
        ),
        sa.PrimaryKeyConstraint("vehicle_id", name=op.f("assignments_pkey")),
    )
    op.create_table(
        "check_ins",
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False, comment="newest, exact text as signed"),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicles.vehicle_id"], name=op.f("check_ins_vehicle_id_fkey")
        ),
        sa.PrimaryKeyConstraint("vehicle_id", name=op.f("check_ins_pkey")),
    )
    op.create_table(
        "counter_readings",
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counters", postgresql.JSONB(), nullable=False),
        sa.Column("running", postgresql.JSONB(), nullable=False, comment="slot: digest"),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicles.vehicle_id"], name=op.f("counter_readings_vehicle_id_fkey")
        ),
        sa.PrimaryKeyConstraint("vehicle_id", "sequence", name=op.f("counter_readings_pkey")),
    )
    op.create_index(
        "counter_readings_received_utc_ix", "counter_readings", ["received_utc"], unique=False
    )
    op.create_table(
        "signal_logs",
        sa.Column("log_id", sa.Text(), nullable=False),
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("drive_id", sa.Text(), nullable=False),
        sa.Column("start_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicles.vehicle_id"], name=op.f("signal_logs_vehicle_id_fkey")
        ),
        sa.PrimaryKeyConstraint("log_id", name=op.f("signal_logs_pkey")),
    )
    op.create_index(
        "signal_logs_start_utc_ix", "signal_logs", ["start_utc", "log_id"], unique=False
    )
    op.add_column(
        "vehicles",
        sa.Column(
            "first_contact_utc",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="first authenticated request of an update check",
        ),
    )
    op.add_column(
        "vehicles", sa.Column("last_contact_utc", sa.DateTime(timezone=True), nullable=True)
    )


def downgrade() -> None:
    op.drop_column("vehicles", "last_contact_utc")
    op.drop_column("vehicles", "first_contact_utc")
    op.drop_index("signal_logs_start_utc_ix", table_name="signal_logs")
    op.drop_table("signal_logs")
    op.drop_index("counter_readings_received_utc_ix", table_name="counter_readings")
    op.drop_table("counter_readings")
    op.drop_table("check_ins")
    op.drop_table("assignments")
    op.drop_index(
        "rollouts_live_slot_ix",
        table_name="rollouts",
        postgresql_where=sa.text("phase NOT IN ('done', 'halted', 'aborted')"),
    )
    op.drop_table("rollouts")
    op.drop_index("releases_digest_ix", table_name="releases")
    op.drop_table("releases")
    op.drop_table("ota_waiting")
    op.drop_table("ota_pieces")
    op.drop_table("ota_metadata")
    op.drop_table("ota_files")
    op.drop_table("killed_triggers")
    op.drop_table("audit_log")
