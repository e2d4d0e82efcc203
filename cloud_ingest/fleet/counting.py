"""From a vehicle's counters to totals that only rise.

A vehicle's counters begin at zero again when its state is wiped. Totals are the service's: they
grow by what the counters grew between two check-ins, and stay where they are when any counter has
fallen: that check-in is a new baseline. So a difference of two totals is never negative and never
counts anything twice; what a vehicle counted between its last check-in and the wipe is lost, and
so is what it counted from the wipe to its next check-in.
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.check_in import CheckIn, Counters
from contracts.errors import InputError

Totals = Mapping[str, float]

COUNTED = tuple(Counters.model_fields)
CHANGED = "changed"
"""In place of a digest: more than one was told in the same reading's time."""

_MOST = 1e15


def checked(counters: Counters) -> dict[str, float]:
    """The counters by name. Raises `InputError` for one that no vehicle can have."""
    values = {name: float(min(getattr(counters, name), 2 * _MOST)) for name in COUNTED}
    for name, value in values.items():
        if not 0 <= value <= _MOST:
            raise InputError("a counter is between 0 and 1e15", f"counters.{name}")
    return values


def totals_after(totals: Totals, before: Totals, now: Totals) -> dict[str, float]:
    """Totals once the counters went from `before` to `now`."""
    if any(now[name] < before.get(name, 0.0) for name in COUNTED):
        return {name: totals.get(name, 0.0) for name in COUNTED}
    return {name: totals.get(name, 0.0) + now[name] - before.get(name, 0.0) for name in COUNTED}


def running_of(manifest: CheckIn) -> dict[str, str]:
    """Slot's text → digest of what runs in it, as `CheckIn.running_digest` tells each."""
    running: dict[str, str] = {}
    for trigger in manifest.triggers:
        if trigger.state != "killed":
            mode = "@shadow" if trigger.state == "shadow" else ""
            running.setdefault(f"trigger:{trigger.trigger_id}{mode}", trigger.digest)
    for model in manifest.models:
        running.setdefault("model@shadow" if model.shadow else "model", model.digest)
    return running


def joined(earlier: Mapping[str, str], later: Mapping[str, str]) -> dict[str, str]:
    """What ran over two readings that become one; `CHANGED` where they differ."""
    return {
        slot: later[slot] if earlier.get(slot) == later.get(slot) else CHANGED
        for slot in earlier.keys() | later.keys()
    }
