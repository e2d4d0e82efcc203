"""Charging metered bytes to the ledger: before they go, and again after.

Guarantees: on a metered link nothing is sent that was not debited, the socket refuses what
exceeds the debit, and each exchange is settled with what the wire really carried; bytes that
trickle in between exchanges are added to the next settlement. When a free link turns out to
be metered, what went since it was last seen to be free is charged too: at the gate of a part, and
at the end of any exchange, small calls included, which have no gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_agent.ledger import CellularSpent, Ledger
from edge_agent.ports import LinkMonitor
from edge_agent.upload.payload import StoppedError
from edge_agent.upload.policy import (
    OVERHEAD_BYTES,
    CellularLimits,
    event_allowance,
    is_metered,
    payload_allowance,
    wire_estimate,
)
from edge_agent.upload.wire import WireMeter


class Charger:
    """Wraps each exchange with its debit and settlement."""

    def __init__(
        self, ledger: Ledger, links: LinkMonitor, meter: WireMeter, limits: CellularLimits
    ) -> None:
        self._ledger = ledger
        self._links = links
        self._meter = meter
        self._limits = limits
        self._accounted_bytes = meter.total_bytes()
        self._metered = False

    def spent(self) -> CellularSpent:
        """Metered bytes of today and this month, debits that still stand included."""
        return self._ledger.cellular.spent()

    def reason_to_stop(self) -> str | None:
        """For a gate: why the exchange under way must not go on, on this link."""
        link = self._links.link()
        if link.kind == "none":
            return "no_link"
        if is_metered(link) and not self._metered:
            self._charge_remainder()
            return "link_metered"
        if not self._metered:
            self._accounted_bytes = self._meter.total_bytes()
        return None

    @contextmanager
    def exchange(self, payload_bytes: int, event: bool = False) -> Iterator[None]:
        """Around one request with a body of about `payload_bytes`.

        Raises `StoppedError` when the caps leave too little; events draw on their reserve.
        """
        metered = is_metered(self._links.link())
        if self._metered and not metered:
            self._charge_remainder()
        self._metered = metered
        if not metered:
            self._meter.allow(None)
            try:
                yield
            finally:
                if is_metered(self._links.link()):
                    self._charge_remainder()
                else:
                    self._accounted_bytes = self._meter.total_bytes()
            return
        granted_bytes = self._grant(payload_bytes, event)
        if not granted_bytes:
            raise StoppedError("cellular_budget")
        debit = self._ledger.cellular.debit(granted_bytes)
        self._meter.allow(granted_bytes)
        try:
            yield
        finally:
            self._ledger.cellular.settle(debit, self._take_bytes())
            self._meter.allow(0)

    def affords(self, payload_bytes: int, event: bool = False) -> bool:
        """Whether the caps leave enough for such an exchange on the link as it is now."""
        return not is_metered(self._links.link()) or self._grant(payload_bytes, event) > 0

    def _grant(self, payload_bytes: int, event: bool) -> int:
        """Metered wire bytes that an exchange may take, 0 when too few are left to begin it."""
        allowance = event_allowance if event else payload_allowance
        left_bytes = allowance(self.spent(), self._limits)
        wanted_bytes = wire_estimate(payload_bytes)
        is_enough = left_bytes >= min(wanted_bytes, 2 * OVERHEAD_BYTES)
        return min(left_bytes, wanted_bytes) if is_enough else 0

    def _take_bytes(self) -> int:
        """Wire bytes since they were last accounted for."""
        total_bytes = self._meter.total_bytes()
        taken, self._accounted_bytes = total_bytes - self._accounted_bytes, total_bytes
        return taken

    def _charge_remainder(self) -> None:
        taken_bytes = self._meter.total_bytes() - self._accounted_bytes
        if taken_bytes > 0:
            debit = self._ledger.cellular.debit(taken_bytes)
            # Not before: what a full disk could not charge is charged next time.
            self._accounted_bytes += taken_bytes
            self._ledger.cellular.settle(debit, taken_bytes)
