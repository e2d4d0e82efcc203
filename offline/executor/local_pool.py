"""Worker processes on this machine.

Each worker is spawned, not forked, and has one task at a time, so that a process that dies names
its clip and takes no other's work with it: a fresh one takes its place. Requests and answers go
over pipes as bytes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from contracts.errors import InputError, TransientError
from offline.executor.messages import answer_from, request_bytes
from offline.executor.ports import Failure, Outcome, Product, Task
from offline.executor.worker import serve

_GRACE_S = 5.0


class LocalPool:
    """`workers` processes, by default one for each core that this process may use."""

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"there is at least 1 worker, not {workers}", "workers")
        self._workers = workers or len(os.sched_getaffinity(0))

    def run(self, function: str, tasks: Sequence[Task]) -> Generator[Outcome, None, None]:
        waiting = deque((task.clip, request_bytes(function, task.request)) for task in tasks)
        workers: list[_Worker] = []
        ended: list[Outcome] = []
        try:
            while True:
                busy = sum(worker.clip is not None for worker in workers)
                wanted = min(self._workers, busy + len(waiting))
                workers += [_started() for _ in range(wanted - len(workers))]
                for worker in workers:
                    if worker.clip is None and waiting:
                        worker.take(*waiting.popleft())
                # Only now, so that the workers have work while the caller stores what ended.
                yield from ended
                if not wanted:
                    return
                ended = []
                for worker in _ready([one for one in workers if one.clip is not None]):
                    clip, result = worker.finish()
                    if result is None:
                        workers.remove(worker)
                        result = worker.died()
                    ended.append(Outcome(clip, result))
        finally:
            for worker in workers:
                worker.stop()


@dataclass(eq=False, slots=True)
class _Worker:
    """A process, our end of its pipe, and the clip that it works on."""

    process: SpawnProcess
    pipe: Connection
    clip: str | None = None

    def take(self, clip: str, content: bytes) -> None:
        self.clip = clip
        # A worker that is dead already is found when its answer is waited for.
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(content)

    def finish(self) -> tuple[str, Product | Failure | None]:
        """Its clip and the answer; None when it died without one."""
        clip, self.clip = self.clip or "", None
        try:
            return clip, answer_from(self.pipe.recv_bytes()) if self.pipe.poll() else None
        except (EOFError, OSError):
            return clip, None

    def died(self) -> Failure:
        """How it ended, as the failure of the clip that it held."""
        self.process.join(_GRACE_S)
        exit_code = self.process.exitcode
        self.stop()
        return Failure("WorkerDied", f"its worker process died: {_how(exit_code)}")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


def _started() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    try:
        process.start()
    except OSError as error:
        raise TransientError(f"no worker process can be started: {error.strerror}") from error
    theirs.close()
    return _Worker(process, ours)


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """Those that answered or died; blocks until there is one."""
    found = wait([source for one in workers for source in (one.pipe, one.process.sentinel)])
    return [one for one in workers if one.pipe in found or one.process.sentinel in found]


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "its pipe ended"
    if exit_code >= 0:
        return f"it ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    more = ", perhaps for want of memory" if name == "SIGKILL" else ""
    return f"{name}{more}"
