"""The tables of the mining index: spaces, jobs, saved searches; rows and change marks.

Index-only scans need pages that vacuum has seen: a table that is only added to is vacuumed
after each 2 % here, not after each fifth.
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_XID = "pg_current_xact_id()::text::bigint"
_READY = sa.text("state = 'ready'")
_TIME = sa.DateTime(timezone=True)

_FUNCTIONS = """
CREATE FUNCTION embedding_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END $$;
CREATE FUNCTION embedding_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mining_deletions (mining_row, model_digest)
    SELECT mining_row, OLD.model_digest FROM clips WHERE clip_id = OLD.clip_id;
    RETURN NULL;
END $$;
CREATE FUNCTION clip_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mining_deletions (mining_row) VALUES (OLD.mining_row);
    RETURN NULL;
END $$;
CREATE FUNCTION clip_state_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'ready' THEN
        UPDATE embeddings SET vector = vector WHERE clip_id = NEW.clip_id;
    ELSE
        INSERT INTO mining_deletions (mining_row) VALUES (NEW.mining_row);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER embeddings_changed BEFORE UPDATE ON embeddings
    FOR EACH ROW EXECUTE FUNCTION embedding_changed();
CREATE TRIGGER embeddings_deleted AFTER DELETE ON embeddings
    FOR EACH ROW EXECUTE FUNCTION embedding_deleted();
CREATE TRIGGER clips_deleted AFTER DELETE ON clips
    FOR EACH ROW EXECUTE FUNCTION clip_deleted();
CREATE TRIGGER clips_state_changed AFTER UPDATE OF state ON clips
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
    EXECUTE FUNCTION clip_state_changed();
"""


def upgrade() -> None:
    op.add_column(
        "clips",
        sa.Column(
            "mining_row", sa.BigInteger(), sa.Identity(always=True), nullable=False,
            comment="number of the clip in the mining index",
        ),
    )  # fmt: skip
    op.add_column("clips", sa.Column("caption", sa.Text(), nullable=True))
    for name in ("weather", "tod", "road_type", "stream"):
        op.alter_column("clips", name, type_=sa.Text(collation="C"), existing_type=sa.Text())
    op.create_index(
        "clips_mining_row_ix", "clips", ["mining_row"], unique=True,
        postgresql_include=["clip_id", "state"],
    )  # fmt: skip
    op.create_index(
        "clips_scene_ix", "clips", ["weather", "tod", "road_type", "start_utc"],
        postgresql_where=_READY,
        postgresql_include=[
            "mining_row", "stream", "safety", "min_ttc_s", "max_decel_mps2",
            "max_lat_accel_mps2", "mean_speed_mps", "max_speed_mps", "max_uncertainty",
        ],
    )  # fmt: skip
    for name in ("start_utc", "min_ttc_s", "max_decel_mps2"):
        op.create_index(
            f"clips_{name}_row_ix", "clips", [name],
            postgresql_where=_READY, postgresql_include=["mining_row"],
        )  # fmt: skip
    op.create_index(
        "clips_uncaptioned_ix", "clips", ["mining_row"],
        postgresql_where=sa.text("state = 'ready' AND caption IS NULL"),
    )  # fmt: skip
    op.add_column(
        "embeddings",
        sa.Column(
            "changed_xid", sa.BigInteger(), server_default=sa.text(_XID), nullable=False,
            comment="transaction that wrote the row",
        ),
    )  # fmt: skip
    op.create_index(
        "embeddings_model_digest_changed_xid_ix", "embeddings", ["model_digest", "changed_xid"]
    )
    op.create_table(
        "embedding_spaces",
        sa.Column(
            "space", sa.Text(), nullable=False, comment="digest of the encoder, as model_digest"
        ),
        sa.Column("kind", sa.Text(), nullable=False, comment="caption or picture"),
        sa.Column("encoder", sa.Text(), nullable=False, comment="its name for people"),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_utc", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("space", name=op.f("embedding_spaces_pkey")),
    )
    op.create_index(
        "embedding_spaces_default_ix", "embedding_spaces", ["kind"], unique=True,
        postgresql_where=sa.text("is_default"),
    )  # fmt: skip
    op.create_table(
        "embedding_jobs",
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column(
            "last_row", sa.BigInteger(), nullable=False, comment="of clips.mining_row: to be done"
        ),
        sa.Column(
            "done_row", sa.BigInteger(), server_default="0", nullable=False,
            comment="done up to here",
        ),
        sa.Column("embedded", sa.Integer(), server_default="0", nullable=False),
        sa.Column("makes_default", sa.Boolean(), nullable=False),
        sa.Column("started_utc", _TIME, nullable=False),
        sa.Column("finished_utc", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("space", name=op.f("embedding_jobs_pkey")),
    )  # fmt: skip
    op.create_table(
        "saved_searches",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("where_text", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("saved_utc", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("saved_searches_pkey")),
    )
    op.create_table(
        "pictures",
        sa.Column("picture_id", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("vector", Vector(), nullable=False),
        sa.Column("put_utc", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("picture_id", name=op.f("pictures_pkey")),
    )
    op.create_table(
        "mining_deletions",
        sa.Column("mining_row", sa.BigInteger(), nullable=False),
        sa.Column(
            "model_digest", sa.Text(), nullable=True,
            comment="null: the clip itself has gone, with all its spaces",
        ),
        sa.Column("changed_xid", sa.BigInteger(), server_default=sa.text(_XID), nullable=False),
    )  # fmt: skip
    op.create_index("mining_deletions_changed_xid_ix", "mining_deletions", ["changed_xid"])
    for table in ("clips", "embeddings"):
        op.execute(f"ALTER TABLE {table} SET (autovacuum_vacuum_insert_scale_factor = 0.02)")
    op.execute(_FUNCTIONS)


def downgrade() -> None:
    raise NotImplementedError
