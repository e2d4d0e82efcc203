"""Work on a Ray cluster, by its address.

`local` starts a cluster on this machine that ends with the run. Any other address must be told in
full: Ray's search for whatever cluster was last started here is not used. The cluster's machines
hold the same version of this project (it is checked) and see the same files under the same paths.

A local cluster speaks of itself as 127.0.0.1 and asks for a token that is made for it; Ray's
servers listen on all interfaces nevertheless. Neither usage reports nor a dashboard are started.
What crosses to the cluster is bytes and text.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from contracts.errors import InputError, TransientError
from offline.executor.messages import answer_bytes, answer_from, request_bytes
from offline.executor.perform import failure_of, perform
from offline.executor.ports import Failure, Outcome, Product, Task
from offline.executor.source import source_digest

LOCAL = "local"
_SEARCHED = ("", "auto")
_AHEAD = 2  # Tasks that wait on the cluster for each that runs: none idles while we store.
_STORE_BYTES = 256 * 1024**2


class RayCluster:
    """Executor on the cluster at `address`; `workers` limits how many tasks run at once."""

    def __init__(self, address: str, workers: int | None = None) -> None:
        if address in _SEARCHED:
            raise InputError(f"tell the cluster's address or {LOCAL!r}, not {address!r}", "ray")
        if workers is not None and workers < 1:
            raise InputError(f"there is at least 1 worker, not {workers}", "workers")
        self._address = address
        self._workers = workers

    def run(self, function: str, tasks: Sequence[Task]) -> Generator[Outcome, None, None]:
        waiting = deque((task.clip, request_bytes(function, task.request)) for task in tasks)
        if not waiting:
            return
        code = source_digest(function)
        with self._connected() as ray:
            # Ray would try again by itself; whoever started the run decides that.
            remote = ray.remote(max_retries=0)(performed)
            most = _AHEAD * (self._workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
            running: dict[Any, str] = {}
            while waiting or running:
                while waiting and len(running) < most:
                    clip, content = waiting.popleft()
                    running[remote.remote(function, code, content)] = clip
                ready, _ = ray.wait(list(running), num_returns=1)
                for reference in ready:
                    yield Outcome(running.pop(reference), _result(ray, reference))

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        options: dict[str, Any] = {"address": self._address}
        _prepare(local=self._address == LOCAL)
        if self._address == LOCAL:
            options |= {
                "num_cpus": self._workers, "include_dashboard": False,
                "_node_ip_address": "127.0.0.1", "object_store_memory": _STORE_BYTES,
            }  # fmt: skip
        try:
            import ray
        except ModuleNotFoundError as error:
            raise InputError("needs Ray: pip install 'longtail[ray]'", "ray") from error
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            reason = f"no Ray cluster: {_first_line(error)}"
            if self._address != LOCAL:
                reason += "; one that asks for a token needs RAY_AUTH_MODE=token"
            raise TransientError(reason, self._address) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _prepare(*, local: bool) -> None:
    """Settings that Ray, and the processes that it starts, read when Ray is first imported.
    What the user has set stays.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if local and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def performed(function: str, code: str, content: bytes) -> bytes:
    """The work, on the cluster: a request's bytes to its answer's."""
    try:
        if source_digest(function) != code:
            raise InputError("the cluster has other code of this than we have", function)
    except InputError as error:
        return answer_bytes(failure_of(error))
    return perform(content)


def _result(ray: Any, reference: Any) -> Product | Failure:
    try:
        return answer_from(ray.get(reference))
    except ray.exceptions.RayError as error:
        return Failure("WorkerDied", f"its Ray worker died: {_first_line(error)}", str(error))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
