"""How long signed metadata holds. What has expired changes nothing that runs: a vehicle only
takes up nothing new until fresh metadata comes.

| role                      | life  | why                                                         |
|---------------------------|-------|-------------------------------------------------------------|
| root                      | 5 y   | a meeting of key holders; a vehicle that stood long must    |
|                           |       | still get from its root to the newest                       |
| targets, triggers, models | 1 y   | people sign them; a forgotten role is noticed within a year |
| snapshot                  | 7 d   | signed online; bounds how old a view a mirror may replay    |
| timestamp                 | 1 d   | the freshness of everything else                            |
| the director's targets    | 7 d   | as the snapshot that names them                             |

What is signed online is signed anew once less than half of its life is left, so that a vehicle
has always at least the other half to fetch and check it.
"""

from __future__ import annotations

import datetime as dt

from cloud_ingest.database import to_time
from contracts.errors import InputError

ROOT = dt.timedelta(days=5 * 365 + 1)
PEOPLES_ROLE = dt.timedelta(days=365)
SNAPSHOT = dt.timedelta(days=7)
TIMESTAMP = dt.timedelta(days=1)
DIRECTOR_TARGETS = dt.timedelta(days=7)

NOTICE = dt.timedelta(days=90)
"""How long before its end people are warned of a role that they sign."""

LONGEST_ROOT = 2 * ROOT
LONGEST_PEOPLES_ROLE = 2 * PEOPLES_ROLE


def expiry(now_utc_ns: int, life: dt.timedelta) -> dt.datetime:
    """When what is signed now ends, in whole seconds."""
    return (to_time(now_utc_ns) + life).replace(microsecond=0)


def is_due(expires: dt.datetime, now_utc_ns: int, life: dt.timedelta) -> bool:
    """True when less than half of its life is left."""
    return expires - to_time(now_utc_ns) < life / 2


def ends_soon(expires: dt.datetime, now_utc_ns: int) -> bool:
    """True when people should sign it again."""
    return expires - to_time(now_utc_ns) < NOTICE


def check_expiry(expires: dt.datetime, now_utc_ns: int, longest: dt.timedelta) -> None:
    """Raises `InputError` for an end that has passed or lies absurdly far away."""
    left = expires - to_time(now_utc_ns)
    if left <= dt.timedelta(0):
        raise InputError(f"it has expired on {expires:%Y-%m-%d %H:%M} UTC", "expires")
    if left > longest:
        raise InputError(
            f"it would hold until {expires:%Y-%m-%d}; at most {longest.days} days", "expires"
        )
