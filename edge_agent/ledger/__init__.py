"""The vehicle's durable ledger: what was spent, suppressed, evicted and is still to be told."""

from edge_agent.ledger.cellular import CellularSpent
from edge_agent.ledger.ledger import Ledger
from edge_agent.ledger.opening import open_ledger
from edge_agent.ledger.outbox import OutboxRow
from edge_agent.ledger.records import SuppressionRow, Tombstone
from edge_agent.ledger.spending import DaySpending, Pool, Spent
from edge_agent.ledger.totals import Totals

__all__ = [
    "CellularSpent",
    "DaySpending",
    "Ledger",
    "OutboxRow",
    "Pool",
    "Spent",
    "SuppressionRow",
    "Tombstone",
    "Totals",
    "open_ledger",
]
