"""A worker process of the local pool: takes requests from its pipe until the pipe ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import MutableMapping
from multiprocessing.connection import Connection, wait

from offline.executor.perform import perform

_STDOUT, _STDERR = 1, 2
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def serve(pipe: Connection) -> None:
    """Answer one request after the other. Runs as the whole of a process."""
    # The pool's own process ends its workers; an interrupt from the keyboard reaches all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the work prints is no part of the command's output.
    with contextlib.suppress(OSError):
        os.dup2(_STDERR, _STDOUT)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread(os.environ)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send_bytes(perform(pipe.recv_bytes()))


def one_thread(environment: MutableMapping[str, str]) -> None:
    """One core a worker: libraries that are imported later take it from here. The same number
    everywhere also keeps the last bits of a sum from depending on it.
    """
    for name in _THREADS:
        environment[name] = "1"


def _end_with_parent() -> None:
    """Work whose pool was killed is of no use to anyone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
