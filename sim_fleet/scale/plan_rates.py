"""What a plan assumes beyond the fleet itself: storage, labelling, and what units cost.

Prices are parameters in units of any one currency. They are nobody's price list.
"""

from __future__ import annotations

from pydantic import Field

from contracts.trigger_spec import Strict


class Store(Strict):
    """How long things are kept, and what a row takes in PostgreSQL with its indices."""

    retention_days: float | None = Field(None, gt=0, description="of clips; none: for ever")
    copies: float = Field(1.0, ge=1, le=10, description="bytes stored for each byte received")
    clip_row_bytes: int = Field(10_000, ge=0, description="all rows of one clip")
    event_row_bytes: int = Field(1500, ge=0)
    reading_row_bytes: int = Field(850, ge=0, description="one a vehicle and minute of contact")
    vehicle_row_bytes: int = Field(4000, ge=0, description="vehicle, newest check-in, orders")
    reading_days: float = Field(40.0, gt=0)


class Labels(Strict):
    """From clips to the hours of people who draw or correct boxes."""

    clip_share: float = Field(0.05, ge=0, le=1, description="of clips, chosen for labelling")
    frames_per_clip: float = Field(20.0, ge=0)
    boxes_per_frame: float = Field(12.0, ge=0)
    auto_accept_share: float = Field(0.9, ge=0, le=1, description="of boxes, seen by nobody")
    seconds_per_box: float = Field(10.0, ge=0)
    labeller_hours_per_day: float = Field(6.0, gt=0, le=24)


class Prices(Strict):
    """What units cost."""

    store_tb_month: float = Field(20.0, ge=0)
    million_puts: float = Field(5.0, ge=0)
    database_gb_month: float = Field(0.2, ge=0)
    cpu_hour: float = Field(0.05, ge=0)
    cellular_gb: float = Field(1.0, ge=0)
    labeller_hour: float = Field(15.0, ge=0)
    request_cpu_ms: float = Field(6.5, ge=0, description="of service and database, a request")
    gigabyte_cpu_s: float = Field(2.0, ge=0, description="of service, a gigabyte received")
