"""What to give up when room is short: a pure choice.

Guarantees: uploaded clips go first, then those the cloud does not want, then ordinary clips,
then the random stream, and safety clips only when nothing else is left; within a rank the
lowest value per byte goes first, the oldest first among equals. No more is given up than the
room asked for needs, and nothing at all when even everything would not be enough.
"""

from __future__ import annotations

from collections.abc import Iterable

from contracts.ids import EventKey
from edge_agent.ledger import Pool, Tombstone
from edge_agent.spool.entry import Entry

Rank = tuple[int, float, int]
_POOL_LEVELS: dict[Pool, int] = {"ordinary": 2, "random": 3, "safety": 4}


def eviction_rank(entry: Entry) -> Rank:
    """Sort key: the smallest is given up first."""
    if entry.state == "uploaded":
        level = 0
    elif entry.state == "unwanted":
        level = 1
    elif entry.safety:
        level = _POOL_LEVELS["safety"]
    else:
        level = _POOL_LEVELS["random" if entry.stream == "random" else "ordinary"]
    return level, entry.value_per_byte, entry.sequence


def newcomer_rank(pool: Pool, value_per_byte: float) -> Rank:
    """The rank that a clip yet to come will have: what is below may be given up for it."""
    return _POOL_LEVELS[pool], value_per_byte, 0


def tombstone_of(
    entry: Entry, event: EventKey | None, reason: str, budget_utc_ns: int
) -> Tombstone:
    """What stays of a clip that is not here any more."""
    return Tombstone(
        clip_id=entry.clip_id,
        budget_utc_ns=budget_utc_ns,
        size_bytes=entry.size_bytes,
        value=entry.value,
        priority=entry.priority,
        stream=entry.stream,
        safety=entry.safety,
        uploaded=entry.state == "uploaded",
        reason=reason,
        event=event,
    )


def choose_victims(
    entries: Iterable[Entry], needed_bytes: int, below: Rank | None = None
) -> tuple[Entry, ...] | None:
    """The clips to give up for `needed_bytes`, in order; None when it cannot be done.

    Args:
        entries: all clips that may be given up.
        needed_bytes: room to gain; 0 or less needs nothing.
        below: give up only clips that rank under this, so that a newcomer never drives out
            one that is worth more.
    """
    victims: list[Entry] = []
    gained_bytes = 0
    for entry in sorted(entries, key=eviction_rank):
        if gained_bytes >= needed_bytes or (below is not None and eviction_rank(entry) >= below):
            break
        victims.append(entry)
        gained_bytes += entry.size_bytes
    return tuple(victims) if gained_bytes >= needed_bytes else None
