"""Label review: tasks, their purposes, judgements."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "review_tasks",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column(
            "number",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="order of adding",
        ),
        sa.Column("clip_id", sa.Text(), nullable=False),
        sa.Column(
            "track",
            sa.BigInteger(),
            nullable=True,
            comment="null: the clip is searched for missed objects",
        ),
        sa.Column("proposal_digest", sa.Text(), nullable=False),
        sa.Column("class_name", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.Column(
            "excluded",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="annotators who shall not have it",
        ),
        sa.Column(
            "expires_utc_ns",
            sa.BigInteger(),
            nullable=True,
            comment="when the first held seat ends",
        ),
        sa.Column(
            "task", postgresql.JSONB(), nullable=False, comment="contracts.review.ReviewTask"
        ),
        sa.Column(
            "proposal", postgresql.JSONB(), nullable=False, comment="the boxes shown: FrameBox"
        ),
        sa.Column("review", postgresql.JSONB(), nullable=False, comment="contracts.review.Review"),
        sa.Column("added_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("review_tasks_pkey")),
    )
    op.create_index(
        "review_tasks_content_ix",
        "review_tasks",
        ["clip_id", "track", "proposal_digest"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(
        "review_tasks_state_tier_priority_ix", "review_tasks", ["state", "tier", "priority"]
    )
    op.create_index("review_tasks_expires_utc_ns_ix", "review_tasks", ["expires_utc_ns"])
    op.create_table(
        "review_purposes",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("truth_digest", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["task_id"], ["review_tasks.task_id"], name=op.f("review_purposes_task_id_fkey")
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("review_purposes_pkey")),
    )
    op.create_table(
        "review_judgements",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("received_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "judgement", postgresql.JSONB(), nullable=False, comment="contracts.review.Judgement"
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["review_tasks.task_id"], name=op.f("review_judgements_task_id_fkey")
        ),
        sa.PrimaryKeyConstraint(
            "task_id", "round", "annotator", name=op.f("review_judgements_pkey")
        ),
    )
    op.create_index("review_judgements_annotator_ix", "review_judgements", ["annotator"])


def downgrade() -> None:
    op.drop_index("review_judgements_annotator_ix", table_name="review_judgements")
    op.drop_table("review_judgements")
    op.drop_table("review_purposes")
    op.drop_index("review_tasks_expires_utc_ns_ix", table_name="review_tasks")
    op.drop_index("review_tasks_state_tier_priority_ix", table_name="review_tasks")
    op.drop_index(
        "review_tasks_content_ix",
        table_name="review_tasks",
        postgresql_nulls_not_distinct=True,
    )
    op.drop_table("review_tasks")
