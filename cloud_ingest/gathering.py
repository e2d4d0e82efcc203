"""Gathers what many requests ask at once, so that one transaction serves them all.

While one batch is with the database the next one gathers; nobody waits for company: a request that
comes alone goes alone, at once. So it costs nothing where there is little to do, and the more there
is the less each one costs.

Guarantees: of one key a batch holds one request, in the order in which they came; each request gets
its own answer or error; when a batch as a whole fails, each of its requests is tried alone, so that
none suffers from another; who is no longer waiting is served all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

AskedT = TypeVar("AskedT")
ToldT = TypeVar("ToldT")
Work = Callable[[Mapping[str, AskedT]], Awaitable[Mapping[str, ToldT | Exception]]]
_Waiting = tuple[str, AskedT, asyncio.Future[ToldT]]

MOST_AT_ONCE = 64


class Gathered(Generic[AskedT, ToldT]):
    """One batch after the other, of one event loop.

    Args:
        work: serves a batch, by key; an exception among its answers is raised to the one who asked.
        most: requests of a batch.
    """

    def __init__(self, work: Work[AskedT, ToldT], most: int = MOST_AT_ONCE) -> None:
        self._work = work
        self._most = most
        self._waiting: list[_Waiting[AskedT, ToldT]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, key: str, asked: AskedT) -> ToldT:
        """The answer to one request. Raises what `work` told or raised."""
        future: asyncio.Future[ToldT] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, asked, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        batch: dict[str, _Waiting[AskedT, ToldT]] = {}
        try:
            while self._waiting:
                batch = self._next()
                await self._answer(batch)
        finally:  # cancelled: nobody else will answer
            for _, _, future in (*batch.values(), *self._waiting):
                future.cancel()
            self._waiting = []

    def _next(self) -> dict[str, _Waiting[AskedT, ToldT]]:
        batch: dict[str, _Waiting[AskedT, ToldT]] = {}
        left = []
        for waiting in self._waiting:
            if waiting[0] in batch or len(batch) == self._most:
                left.append(waiting)
            else:
                batch[waiting[0]] = waiting
        self._waiting = left
        return batch

    async def _answer(self, batch: Mapping[str, _Waiting[AskedT, ToldT]]) -> None:
        try:
            told = await self._work({key: asked for key, asked, _ in batch.values()})
        except Exception as error:  # noqa: BLE001 - raised to who asked
            if len(batch) > 1:
                for key, waiting in batch.items():
                    await self._answer({key: waiting})
                return
            told = dict.fromkeys(batch, error)
        for key, _, future in batch.values():
            if future.done():  # who asked has gone
                continue
            answer = told[key]
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
