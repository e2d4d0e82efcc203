"""Clips whose upload was ended when its bytes could be an object already."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ended_clips",
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column("ended_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("ended_clips_pkey")),
    )


def downgrade() -> None:
    op.drop_table("ended_clips")
