"""Small things that are done again and again beside the steps, none in another's way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError

from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError

_log = structlog.get_logger(__name__)


class Chores:
    """Does each chore in turn, then rests.

    Args:
        chores: what each is called, and how it is done; again is as good as once.
        failed: told of each failure, by the chore.
    """

    def __init__(
        self,
        clock: Clock,
        every_s: float,
        chores: Mapping[str, Callable[[], Awaitable[object]]],
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._every_ns = int(every_s * NS_PER_S)
        self._chores = chores
        self._failed = failed

    async def run(self) -> None:
        """Until cancelled. A failure is logged, and tried again in the next round."""
        while True:
            await self.once()
            await self._clock.sleep_ns(self._every_ns)

    async def once(self) -> None:
        for name, chore in self._chores.items():
            try:
                await chore()
            except (LongtailError, SQLAlchemyError, OSError) as error:
                _log.warning("a chore failed", chore=name, error=str(error))
                self._failed(name)
            except Exception:  # noqa: BLE001 - one chore's trouble is not the others'
                _log.exception("a chore failed", chore=name)
                self._failed(name)
