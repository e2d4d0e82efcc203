"""Calling again what may be repeated: a few times, with growing, jittered pauses."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from contracts.clock import NS_PER_S, Clock
from contracts.errors import TransientError

ATTEMPTS = 3
FIRST_PAUSE_S = 0.5

Result = TypeVar("Result")


async def again(call: Callable[[], Awaitable[Result]], clock: Clock, rng: random.Random) -> Result:
    """Call until it does not raise `TransientError`, `ATTEMPTS` times at most."""

    def pause_s(state: RetryCallState) -> float:
        return FIRST_PAUSE_S * 2.0 ** (state.attempt_number - 1) * (1.0 + rng.random())

    async def sleep(seconds: float) -> None:
        await clock.sleep_ns(int(seconds * NS_PER_S))

    async def attempt() -> Result:
        return await call()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=pause_s,
        sleep=sleep,
        reraise=True,
    )
    return await retrying(attempt)
