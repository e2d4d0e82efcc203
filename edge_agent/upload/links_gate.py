"""The agent's own view of its link: shut when nothing may be sent, and counted by class.

Every transfer asks for the link before each piece, so a gate that is shut reads as no link at
all and stops what is under way at once. Bytes belong to the class that the link had while they
went, to within the piece during which it changed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from edge_agent.ports import Link, LinkMonitor
from edge_agent.upload.links import NO_LINK


def class_of(link: Link) -> str:
    """A link's class as metrics name it: its kind, `metered_` before one whose bytes cost money.

    Cellular is always metered, so it is called by its kind alone.
    """
    metered = link.metered and link.kind in ("wifi", "ethernet")
    return f"metered_{link.kind}" if metered else link.kind


class GatedLinks:
    """A `LinkMonitor` over another. Any thread.

    Args:
        inner: what the vehicle's network says.
        wire_bytes: bytes on the wire so far, over all links.

    Attributes:
        shut: why nothing may be sent now (power, heat), empty when it may.
    """

    def __init__(self, inner: LinkMonitor, wire_bytes: Callable[[], int]) -> None:
        self._inner = inner
        self._wire_bytes = wire_bytes
        self._lock = threading.Lock()
        self._class = class_of(inner.link())
        self._counted_bytes = wire_bytes()
        self._by_class: Counter[str] = Counter()
        self.shut = ""

    def link(self) -> Link:
        found = self._inner.link()
        if class_of(found) != self._class:
            self._count(class_of(found))
        return NO_LINK if self.shut else found

    def class_now(self) -> str:
        """The link's class as the network tells it, shut or not."""
        self.link()
        return self._class

    def bytes_by_class(self) -> dict[str, int]:
        """Wire bytes since the start, by the link's class while they went."""
        self._count(self._class)
        with self._lock:
            return dict(self._by_class)

    def _count(self, now_class: str) -> None:
        with self._lock:
            total_bytes = self._wire_bytes()
            self._by_class[self._class] += total_bytes - self._counted_bytes
            self._counted_bytes, self._class = total_bytes, now_class
