"""Drives in several processes: the same work, in whatever order it gets done."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


def each_drive(
    work: Callable[..., ResultT], asked: Mapping[int, tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, ResultT]]:
    """`work` with each tuple of arguments, as it is done; with one worker in this process.

    Args:
        work: a module's own function, as another process has to find it.
    """
    if workers <= 1 or len(asked) <= 1:
        for number, arguments in asked.items():
            yield number, work(*arguments)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(asked)), mp_context=context) as pool:
        waiting = {pool.submit(work, *arguments): n for n, arguments in asked.items()}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
