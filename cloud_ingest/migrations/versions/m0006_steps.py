"""The tables of what happens after a commit: steps, scenes, tiers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "clip_identity",
        sa.Column(
            "erased_utc",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="erased for good: the id does not come back",
        ),
    )
    op.create_table(
        "step_runs",
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column(
            "round",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="rises when done anew",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="open or ended"),
        sa.Column("due_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True, comment="who has it now"),
        sa.Column(
            "lease_utc",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="until when, unless renewed",
        ),
        sa.Column("changed_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("step_runs_pkey")),
    )
    op.create_index(
        "step_runs_due_utc_ix",
        "step_runs",
        ["due_utc"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "clip_steps",
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="running, waiting, done, skipped or failed"
        ),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("product", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("began_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("clip_id", "step", name=op.f("clip_steps_pkey")),
    )
    op.create_table(
        "scenes",
        sa.Column("scene_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "cell", sa.Text(), nullable=False, comment="h3 cell of resolution 11, about 25 m a side"
        ),
        sa.Column("trigger_id", sa.Text(), nullable=False),
        sa.Column(
            "scene",
            postgresql.JSONB(),
            nullable=False,
            comment="contracts.scenes.Scene, as first met",
        ),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("turned_away", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("scene_id", name=op.f("scenes_pkey")),
    )
    op.create_index("scenes_place_ix", "scenes", ["cell", "trigger_id"], unique=False)
    op.create_table(
        "scene_clips",
        sa.Column("scene_id", sa.BigInteger(), nullable=False),
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("counted_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "expires_utc",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="null: the clip has come",
        ),
        sa.ForeignKeyConstraint(
            ["scene_id"], ["scenes.scene_id"], name=op.f("scene_clips_scene_id_fkey")
        ),
        sa.PrimaryKeyConstraint("scene_id", "clip_id", name=op.f("scene_clips_pkey")),
    )
    op.create_index("scene_clips_clip_id_ix", "scene_clips", ["clip_id"], unique=False)
    op.create_table(
        "scene_lists",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column(
            "content",
            sa.LargeBinary(),
            nullable=False,
            comment="JSON of contracts.scenes.Known",
        ),
        sa.Column("listed", sa.Integer(), nullable=False, comment="how many scenes"),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("scene_lists_pkey")),
    )
    op.create_table(
        "clip_storage",
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False, comment="hot or cold; no row: hot"),
        sa.Column("wanted", sa.Text(), nullable=True, comment="the tier that it is on its way to"),
        sa.Column("changed_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "used_utc", sa.DateTime(timezone=True), nullable=True, comment="last read by anybody"
        ),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("clip_storage_pkey")),
    )
    op.create_table(
        "clip_pins",
        sa.Column("kind", sa.Text(), nullable=False, comment="label_set or dataset_version"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("pinned_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "clip_id", name=op.f("clip_pins_pkey")),
    )
    op.create_index("clip_pins_clip_id_ix", "clip_pins", ["clip_id"], unique=False)
    op.create_table(
        "erasures",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="clip or vehicle"),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_utc", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("request_id", name=op.f("erasures_pkey")),
    )
    op.create_table(
        "erasure_clips",
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("bytes_gone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["erasures.request_id"], name=op.f("erasure_clips_request_id_fkey")
        ),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("erasure_clips_pkey")),
    )
    op.create_index("erasure_clips_request_id_ix", "erasure_clips", ["request_id"], unique=False)
    op.create_table(
        "erasure_flags",
        sa.Column("kind", sa.Text(), nullable=False, comment="label_set or dataset_version"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["erasures.request_id"], name=op.f("erasure_flags_request_id_fkey")
        ),
        sa.PrimaryKeyConstraint("kind", "name", "clip_id", name=op.f("erasure_flags_pkey")),
    )
    op.create_index("erasure_flags_request_id_ix", "erasure_flags", ["request_id"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("webhook_id", name=op.f("webhooks_pkey")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="exact text, as signed"),
        sa.Column("state", sa.Text(), nullable=False, comment="open, delivered or given_up"),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_utc", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.webhook_id"],
            name=op.f("webhook_deliveries_webhook_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("webhook_deliveries_pkey")),
    )
    op.create_index(
        "webhook_deliveries_due_utc_ix",
        "webhook_deliveries",
        ["due_utc"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
    op.drop_table("erasure_flags")
    op.drop_table("erasure_clips")
    op.drop_table("erasures")
    op.drop_table("clip_pins")
    op.drop_table("clip_storage")
    op.drop_table("scene_lists")
    op.drop_table("scene_clips")
    op.drop_table("scenes")
    op.drop_table("clip_steps")
    op.drop_table("step_runs")
    op.drop_column("clip_identity", "erased_utc")
