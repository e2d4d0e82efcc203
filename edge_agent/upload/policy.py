"""What to send next, or until when to wait: a pure function of queue, link and budgets.

Guarantees: on a metered link (cellular, or any link that says it is metered) only clips whose
spec allows it are sent, and never more wire bytes than the day's and the month's caps leave;
a slack is kept under both for what a socket cannot count ahead, and a reserve for event
records, which are worth more per byte than any payload. Order: interactive, safety, high,
normal, low; then value per byte; oldest first. A transfer under way goes on unless a more
urgent level turns up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from contracts.ids import PART_BYTES
from edge_agent.ledger import CellularSpent
from edge_agent.ports import Link
from edge_agent.spool import PRIORITIES, Entry

_LEVELS = {priority: level for level, priority in enumerate(PRIORITIES)}

OVERHEAD_RATIO = 0.12
"""Headers of TCP and IP, acknowledgements and TLS records, above payload bytes."""
OVERHEAD_BYTES = 16 * 1024
"""Handshakes and HTTP headers of one exchange."""

WaitReason = Literal[
    "queue_empty", "no_link", "cellular_forbidden", "cellular_budget", "server_advice", "error"
]


def wire_estimate(payload_bytes: int) -> int:
    """What an exchange of this payload may take on the wire, at most, without losses."""
    return payload_bytes + int(payload_bytes * OVERHEAD_RATIO) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class CellularLimits:
    """Hard caps on metered wire bytes, both directions."""

    bytes_per_day: int = 200 * 10**6
    bytes_per_month: int = 3 * 10**9
    event_reserve_bytes: int = 512 * 1024
    slack_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class ServerAdvice:
    """When the server wants to hear again, on the vehicle's monotonic clock."""

    all_until_ns: int = 0
    clip_until_ns: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Send:
    """Send this clip. `max_bytes` bounds its wire bytes, None on a free link."""

    clip_id: str
    max_bytes: int | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing before `until_ns` (monotonic), or before something changes when None."""

    until_ns: int | None
    reason: WaitReason


def is_metered(link: Link) -> bool:
    """True when bytes on the link count against the caps."""
    return link.metered or link.kind == "cellular"


def payload_allowance(spent: CellularSpent, limits: CellularLimits) -> int:
    """Metered wire bytes that payloads may still take now, 0 or more."""
    return max(0, event_allowance(spent, limits) - limits.event_reserve_bytes)


def event_allowance(spent: CellularSpent, limits: CellularLimits) -> int:
    """Metered wire bytes that event records may still take now, 0 or more."""
    left = min(limits.bytes_per_day - spent.day_bytes, limits.bytes_per_month - spent.month_bytes)
    return max(0, left - limits.slack_bytes)


def decide(
    queue: Iterable[Entry],
    link: Link,
    spent: CellularSpent,
    limits: CellularLimits,
    now_ns: int,
    advice: ServerAdvice,
    current: str | None = None,
) -> Send | Wait:
    """The next transfer, or the next wake time.

    Args:
        queue: clips still to be sent.
        link: the connection now.
        spent: metered bytes of today and this month.
        limits: their caps.
        now_ns: monotonic time, the one that `advice` is in.
        advice: what the server asked for.
        current: the clip that is being sent; it stays ahead of others of its level.
    """
    waiting = tuple(queue)
    if not waiting:
        return Wait(None, "queue_empty")
    if link.kind == "none":
        return Wait(None, "no_link")
    if now_ns < advice.all_until_ns:
        return Wait(advice.all_until_ns, "server_advice")
    max_bytes: int | None = None
    if is_metered(link):
        waiting = tuple(entry for entry in waiting if entry.cellular == "allowed")
        if not waiting:
            return Wait(None, "cellular_forbidden")
        max_bytes = payload_allowance(spent, limits)
        waiting = tuple(entry for entry in waiting if _is_worth_starting(entry, max_bytes))
        if not waiting:
            return Wait(None, "cellular_budget")
    due = [entry for entry in waiting if now_ns >= advice.clip_until_ns.get(entry.clip_id, 0)]
    if not due:
        return Wait(min(advice.clip_until_ns[entry.clip_id] for entry in waiting), "server_advice")
    return Send(min(due, key=lambda entry: _order(entry, current)).clip_id, max_bytes)


def _is_worth_starting(entry: Entry, max_bytes: int) -> bool:
    """A part is the least that stays with the receiver, after asking what it holds."""
    least_bytes = min(entry.size_bytes, PART_BYTES)
    return wire_estimate(least_bytes) + 4 * OVERHEAD_BYTES <= max_bytes


def _order(entry: Entry, current: str | None) -> tuple[int, bool, float, int]:
    level = _LEVELS[entry.priority]
    return level, entry.clip_id != current, -entry.value_per_byte, entry.sequence
