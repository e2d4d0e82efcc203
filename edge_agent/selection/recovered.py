"""Charges clips that a crash kept from being settled.

Guarantees: each is charged once, whatever was charged before; one that cannot be read now is left
to the upload's own check of its bytes, and holds up nothing.
"""

from __future__ import annotations

import structlog

from contracts.errors import LongtailError
from edge_agent.selection.budget import BudgetBook
from edge_agent.spool import Spool
from kernels.clip.reader import read_manifest

log = structlog.get_logger(__name__)


def settle_recovered(spool: Spool, book: BudgetBook) -> None:
    """Settle the spool's recovered clips against the budget, once for each event."""
    for entry in spool.queue():
        if entry.note != "recovered":
            continue
        try:
            manifest = read_manifest(spool.path(entry.clip_id))
            book.settle(
                manifest.event, manifest.causes, manifest.stream == "random", entry.size_bytes
            )
        except (LongtailError, OSError) as error:
            log.warning("clip not settled", clip=entry.clip_id[:12], reason=str(error))
