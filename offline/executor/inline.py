"""One task after the other in this process: for tests, and to look into work with a debugger."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from offline.executor.messages import answer_from, request_bytes
from offline.executor.perform import perform
from offline.executor.ports import Outcome, Task


class InlineExecutor:
    """No process of its own: work that ends the process ends this one. Requests and answers
    are bytes here as well, so that what works inline works anywhere.
    """

    def run(self, function: str, tasks: Sequence[Task]) -> Generator[Outcome, None, None]:
        for task in tasks:
            answer = perform(request_bytes(function, task.request))
            yield Outcome(task.clip, answer_from(answer))
