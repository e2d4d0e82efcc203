"""What an executor is given, what it gives back, and what it is."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

Request = dict[str, JsonValue]
Figure = int | float | str


@dataclass(frozen=True, slots=True)
class Task:
    """One clip's work; `request` is what the work's function is called with."""

    clip: str
    request: Request


@dataclass(frozen=True, slots=True)
class Product:
    """What the work made: files by name, and figures about them that a command may show."""

    files: Mapping[str, bytes]
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no product: the error's `kind` (its class), its words, and where it arose."""

    kind: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended."""

    clip: str
    result: Product | Failure


class Executor(Protocol):
    """Runs a function on many tasks."""

    def run(self, function: str, tasks: Sequence[Task]) -> Generator[Outcome, None, None]:
        """One outcome a task, each as soon as it is there, in any order.

        A task that fails, even one that brings down its process, is an outcome as well and
        harms no other. When the iterator is closed early, unfinished work is given up.

        Args:
            function: `module:function`, importable wherever the work runs.
            tasks: with requests that are JSON values.

        Raises `InputError` for a request that is none, `TransientError` when nothing can run.
        """
        ...
