"""Requests that are served together: each its own answer, none another's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from cloud_ingest.gathering import Gathered
from contracts.errors import InputError, TransientError


class Desk:
    """Doubles numbers; each batch waits until it is let go."""

    def __init__(self, most: int = 64) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Semaphore(0)
        self.gathered = Gathered[int, int](self._work, most)

    async def _work(self, batch: Mapping[str, int]) -> dict[str, int | Exception]:
        self.batches.append(sorted(batch))
        await self.gate.acquire()
        if 13 in batch.values():
            raise TransientError("no luck")
        return {
            key: InputError("odd", key) if number % 2 else 2 * number
            for key, number in batch.items()
        }

    def let_go(self, batches: int = 100) -> None:
        for _ in range(batches):
            self.gate.release()


async def _started(*asks: asyncio.Task[int]) -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_while_one_batch_is_served_goes_together() -> None:
    async def main() -> None:
        desk = Desk()
        first = asyncio.create_task(desk.gathered.ask("a", 2))
        await _started(first)
        others = [asyncio.create_task(desk.gathered.ask(key, 4)) for key in "bcd"]
        await _started(*others)
        assert desk.batches == [["a"]]
        desk.let_go()
        assert await asyncio.gather(first, *others) == [4, 8, 8, 8]
        assert desk.batches == [["a"], ["b", "c", "d"]]
        assert await desk.gathered.ask("e", 6) == 12  # and again after a rest

    asyncio.run(main())


def test_of_one_key_a_batch_holds_one_and_no_more_than_it_may() -> None:
    async def main() -> None:
        desk = Desk(most=2)
        desk.let_go()
        keys = ["a", "a", "b", "c", "a"]
        told = await asyncio.gather(*(desk.gathered.ask(key, 2 * n) for n, key in enumerate(keys)))
        assert told == [0, 4, 8, 12, 16]
        assert desk.batches == [["a", "b"], ["a", "c"], ["a"]]

    asyncio.run(main())


def test_an_error_is_raised_to_the_one_whose_it_is() -> None:
    async def main() -> None:
        desk = Desk()
        desk.let_go()
        asked = [desk.gathered.ask(key, number) for key, number in (("a", 2), ("b", 3), ("c", 4))]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert (told[0], told[2]) == (4, 8)
        assert isinstance(told[1], InputError) and told[1].place == "b"

    asyncio.run(main())


def test_a_batch_that_fails_as_a_whole_is_tried_one_by_one() -> None:
    async def main() -> None:
        desk = Desk()
        desk.let_go()
        asked = [desk.gathered.ask(key, number) for key, number in (("a", 2), ("b", 13), ("c", 4))]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert (told[0], told[2]) == (4, 8)
        assert isinstance(told[1], TransientError)
        assert desk.batches == [["a", "b", "c"], ["a"], ["b"], ["c"]]

    asyncio.run(main())


def test_who_has_gone_is_served_all_the_same_and_holds_nobody_up() -> None:
    async def main() -> None:
        desk = Desk()
        gone = asyncio.create_task(desk.gathered.ask("a", 2))
        stays = asyncio.create_task(desk.gathered.ask("b", 4))
        await _started(gone, stays)
        gone.cancel()
        desk.let_go()
        assert await stays == 8
        assert desk.batches == [["a", "b"]]
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(main())
