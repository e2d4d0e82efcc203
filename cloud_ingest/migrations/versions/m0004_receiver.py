"""Uploads over several replicas: where their parts lie, and how far each has come.

Uploads that are open are forgotten: their bytes lie as an earlier version kept them. Vehicles
declare them again.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM uploads WHERE state = 'open'")
    op.add_column("uploads", sa.Column("kind", sa.Text(), server_default="whole", nullable=False))
    op.add_column(
        "uploads",
        sa.Column(
            "joined",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="of a final upload: its partial ones, in order",
        ),
    )
    op.add_column(
        "uploads", sa.Column("stored_bytes", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column(
        "uploads",
        sa.Column(
            "place",
            sa.Text(),
            nullable=True,
            comment="what the part store calls it; null before the first byte",
        ),
    )
    op.create_index(
        "uploads_open_ix",
        "uploads",
        ["clip_id"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "upload_pieces",
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("start_bytes", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "sha256",
            sa.LargeBinary(),
            nullable=True,
            comment="of a whole part; null: bytes of one that is not full",
        ),
        sa.Column(
            "token", sa.Text(), nullable=False, comment="what the part store calls these bytes"
        ),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["uploads.upload_id"],
            name=op.f("upload_pieces_upload_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upload_id", "start_bytes", name=op.f("upload_pieces_pkey")),
    )


def downgrade() -> None:
    op.drop_table("upload_pieces")
    op.drop_index(
        "uploads_open_ix", table_name="uploads", postgresql_where=sa.text("state = 'open'")
    )
    for name in ("place", "stored_bytes", "joined", "kind"):
        op.drop_column("uploads", name)
