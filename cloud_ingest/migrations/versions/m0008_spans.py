"""Spans: runs of parts of one declared upload, sent side by side."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "uploads",
        sa.Column(
            "parent_id",
            sa.Text(),
            nullable=True,
            comment="of a span: the declared upload whose bytes it takes",
        ),
    )
    op.add_column(
        "uploads",
        sa.Column(
            "first_byte", sa.BigInteger(), server_default="0", nullable=False, comment="of a span"
        ),
    )
    op.create_foreign_key(
        op.f("uploads_parent_id_fkey"),
        "uploads",
        "uploads",
        ["parent_id"],
        ["upload_id"],
        ondelete="CASCADE",
    )
    op.create_index("uploads_span_ix", "uploads", ["parent_id", "first_byte"], unique=True)


def downgrade() -> None:
    op.drop_index("uploads_span_ix", table_name="uploads")
    op.drop_constraint(op.f("uploads_parent_id_fkey"), "uploads", type_="foreignkey")
    op.drop_column("uploads", "first_byte")
    op.drop_column("uploads", "parent_id")
