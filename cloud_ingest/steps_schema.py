"""The tables of what happens after a commit: steps, scenes, tiers, erasures, webhooks.

One `MetaData` with `schema`; the migrations make them. Every row that derives from one clip has a
column `clip_id`: `erasure` finds it by that.
"""

from __future__ import annotations

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
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from cloud_ingest.mining_schema import metadata

__all__ = [
    "clip_pins",
    "clip_steps",
    "clip_storage",
    "erasure_clips",
    "erasure_flags",
    "erasures",
    "metadata",
    "scene_clips",
    "scene_lists",
    "scenes",
    "step_runs",
    "webhook_deliveries",
    "webhooks",
]
_TIME = DateTime(timezone=True)

step_runs = Table(
    "step_runs",
    metadata,
    Column("clip_id", Text, primary_key=True),
    Column("round", Integer, nullable=False, server_default="1", comment="rises when done anew"),
    Column("state", Text, nullable=False, comment="open or ended"),
    Column("due_utc", _TIME, nullable=False),
    Column("worker", Text, comment="who has it now"),
    Column("lease_utc", _TIME, comment="until when, unless renewed"),
    Column("changed_utc", _TIME, nullable=False),
    Index("step_runs_due_utc_ix", "due_utc", postgresql_where=text("state = 'open'")),
)

clip_steps = Table(
    "clip_steps",
    metadata,
    Column("clip_id", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("round", Integer, nullable=False),
    Column("state", Text, nullable=False, comment="running, waiting, done, skipped or failed"),
    Column("reason", Text, nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False),
    Column("product", JSONB, nullable=False, server_default="{}"),
    Column("began_utc", _TIME, nullable=False),
    Column("changed_utc", _TIME, nullable=False),
)

scenes = Table(
    "scenes",
    metadata,
    Column("scene_id", BigInteger, Identity(always=True), primary_key=True),
    Column("cell", Text, nullable=False, comment="h3 cell of resolution 11, about 25 m a side"),
    Column("trigger_id", Text, nullable=False),
    Column("scene", JSONB, nullable=False, comment="contracts.scenes.Scene, as first met"),
    Column("created_utc", _TIME, nullable=False),
    Column("turned_away", BigInteger, nullable=False, server_default="0"),
    Index("scenes_place_ix", "cell", "trigger_id"),
)

scene_clips = Table(
    "scene_clips",
    metadata,
    Column("scene_id", BigInteger, ForeignKey("scenes.scene_id"), primary_key=True),
    Column("clip_id", Text, primary_key=True),
    Column("counted_utc", _TIME, nullable=False),
    Column("expires_utc", _TIME, comment="null: the clip has come"),
    Index("scene_clips_clip_id_ix", "clip_id"),
)

scene_lists = Table(
    "scene_lists",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False, comment="JSON of contracts.scenes.Known"),
    Column("listed", Integer, nullable=False, comment="how many scenes"),
    Column("created_utc", _TIME, nullable=False),
)

clip_storage = Table(
    "clip_storage",
    metadata,
    Column("clip_id", Text, primary_key=True),
    Column("tier", Text, nullable=False, comment="hot or cold; no row: hot"),
    Column("wanted", Text, comment="the tier that it is on its way to"),
    Column("changed_utc", _TIME, nullable=False),
    Column("used_utc", _TIME, comment="last read by anybody"),
)

clip_pins = Table(
    "clip_pins",
    metadata,
    Column("kind", Text, primary_key=True, comment="label_set or dataset_version"),
    Column("name", Text, primary_key=True),
    Column("clip_id", Text, primary_key=True),
    Column("pinned_utc", _TIME, nullable=False),
    Index("clip_pins_clip_id_ix", "clip_id"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("kind", Text, nullable=False, comment="clip or vehicle"),
    Column("subject", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_utc", _TIME, nullable=False),
    Column("ended_utc", _TIME),
)

erasure_clips = Table(
    "erasure_clips",
    metadata,
    Column("clip_id", Text, primary_key=True),
    Column("request_id", Text, ForeignKey("erasures.request_id"), nullable=False),
    Column("bytes_gone", Boolean, nullable=False, server_default=text("false")),
    Index("erasure_clips_request_id_ix", "request_id"),
)

erasure_flags = Table(
    "erasure_flags",
    metadata,
    Column("kind", Text, primary_key=True, comment="label_set or dataset_version"),
    Column("name", Text, primary_key=True),
    Column("clip_id", Text, primary_key=True),
    Column("request_id", Text, ForeignKey("erasures.request_id"), nullable=False),
    Index("erasure_flags_request_id_ix", "request_id"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("webhook_id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_utc", _TIME, nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column(
        "webhook_id",
        Text,
        ForeignKey("webhooks.webhook_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("topic", Text, nullable=False),
    Column("clip_id", Text, nullable=False),
    Column("body", Text, nullable=False, comment="exact text, as signed"),
    Column("state", Text, nullable=False, comment="open, delivered or given_up"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("reason", Text, nullable=False, server_default=""),
    Column("seconds", Double, nullable=False, server_default="0"),
    Column("created_utc", _TIME, nullable=False),
    Column("due_utc", _TIME, nullable=False),
    Index("webhook_deliveries_due_utc_ix", "due_utc", postgresql_where=text("state = 'open'")),
)
