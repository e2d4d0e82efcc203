"""As much of Ray as the driver of steps uses, in one process: tasks run where they are waited for.

A task whose function is `gone` has died with its worker, one whose function is `never` does not end
in time, and `lost` ends the whole process, as Ray does when its cluster goes.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """Ray's root."""


class GetTimeoutError(RayError):
    """The time was over."""


exceptions = SimpleNamespace(RayError=RayError, GetTimeoutError=GetTimeoutError)


def init(address: str, **options: Any) -> None:
    """Nothing has to be started."""
    if address != "local":
        raise ConnectionError("version of another planet\nand more lines")


def shutdown() -> None:
    """Nothing has to be ended."""


def remote(**options: Any) -> Any:
    """A decorator; `task.remote(...)` is a reference."""
    assert options == {"max_retries": 0}
    return lambda task: SimpleNamespace(remote=lambda *given: (task, given))


def get(reference: Any, timeout: float) -> Any:
    """Run it."""
    task, given = reference
    kind = given[2].rpartition(":")[2]
    if kind == "gone":
        raise RayError("The worker died unexpectedly\nand more lines")
    if kind == "never":
        raise GetTimeoutError
    if kind == "lost":
        os._exit(3)
    return task(*given)


def cancel(reference: Any, force: bool) -> None:
    """It does not run."""
