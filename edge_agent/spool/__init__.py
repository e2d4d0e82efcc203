"""Packed clips on the vehicle's disk, until the cloud holds them."""

from edge_agent.spool.entry import (
    PRIORITIES,
    CellularRule,
    ClipDescription,
    Describe,
    Entry,
    Priority,
    Receipt,
)
from edge_agent.spool.folder import SpoolRow, list_spool
from edge_agent.spool.spool import Spool

__all__ = [
    "PRIORITIES",
    "CellularRule",
    "ClipDescription",
    "Describe",
    "Entry",
    "Priority",
    "Receipt",
    "Spool",
    "SpoolRow",
    "list_spool",
]
