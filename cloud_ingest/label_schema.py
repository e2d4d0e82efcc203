"""The tables of label review: tasks, what each is for, and what people answered.

One `MetaData` with `schema`; the migrations make them. What a task is for (a gold task, an audit)
stands in a table of its own, so that no query for annotators can show it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from cloud_ingest.fleet_schema import metadata

__all__ = ["metadata", "review_judgements", "review_purposes", "review_tasks"]
_TIME = DateTime(timezone=True)

review_tasks = Table(
    "review_tasks",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, comment="order of adding"),
    Column("clip_id", Text, nullable=False),
    Column("track", BigInteger, comment="null: the clip is searched for missed objects"),
    Column("proposal_digest", Text, nullable=False),
    Column("class_name", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("priority", Double, nullable=False),
    Column("excluded", ARRAY(Text), nullable=False, comment="annotators who shall not have it"),
    Column("expires_utc_ns", BigInteger, comment="when the first held seat ends"),
    Column("task", JSONB, nullable=False, comment="contracts.review.ReviewTask"),
    Column("proposal", JSONB, nullable=False, comment="the boxes shown: FrameBox"),
    Column("review", JSONB, nullable=False, comment="contracts.review.Review"),
    Column("added_utc", _TIME, nullable=False),
    Column("changed_utc", _TIME, nullable=False),
    Index(
        "review_tasks_content_ix",
        "clip_id",
        "track",
        "proposal_digest",
        unique=True,
        postgresql_nulls_not_distinct=True,
    ),
    Index("review_tasks_state_tier_priority_ix", "state", "tier", "priority"),
    Index("review_tasks_expires_utc_ns_ix", "expires_utc_ns"),
)

review_purposes = Table(
    "review_purposes",
    metadata,
    Column("task_id", Text, ForeignKey("review_tasks.task_id"), primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("truth_digest", Text),
)

review_judgements = Table(
    "review_judgements",
    metadata,
    Column("task_id", Text, ForeignKey("review_tasks.task_id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("annotator", Text, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("received_utc", _TIME, nullable=False),
    Column("judgement", JSONB, nullable=False, comment="contracts.review.Judgement"),
    Index("review_judgements_annotator_ix", "annotator"),
)
