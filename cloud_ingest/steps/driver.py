"""The process that speaks with a Ray cluster for the service, one for each replica.

It is a process of its own since a Ray driver ends with its cluster, whatever else it does, and
takes over signals. Lines in: `{"id", "function", "asked"}`; lines out: first `{"ready": true}` or
an error, then an answer for each id, in whatever order. It ends when its input does, and what it
has running on the cluster ends with it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import IO, Any

from cloud_ingest.steps.answering import Product, answered, own_output
from cloud_ingest.steps.far import performed, source_digest
from contracts.errors import TransientError

LOCAL = "local"
"""An address that starts a cluster on this machine, which ends with this process."""
_CLIENT = "ray://"
_REACH_S, _LONGEST_S = 5.0, 900.0
_MOST_AT_ONCE = 64
_STORE_BYTES = 256 * 1024**2


def main() -> None:
    """Until the input ends."""
    answers = own_output()
    first = sys.stdin.readline()
    if not first:
        return
    told = json.loads(first)
    opened: list[Any] = []
    ready = answered(lambda: _opened(told["address"], opened))
    _write(answers, Lock(), {"ready": True} if "product" in ready else ready)
    if not opened:
        return
    (ray,) = opened
    stores = json.dumps(told["stores"])
    writing = Lock()
    # Ray would try again by itself: whoever leased the step decides that.
    task = ray.remote(max_retries=0)(performed)
    pool = ThreadPoolExecutor(_MOST_AT_ONCE)
    for line in sys.stdin:
        pool.submit(_serve, ray, task, stores, json.loads(line), answers, writing)
    pool.shutdown(wait=False, cancel_futures=True)
    ray.shutdown()


def _opened(address: str, opened: list[Any]) -> Product:
    opened.append(connected(address))
    return {}


def connected(address: str) -> Any:
    """Ray, connected. Raises `TransientError` where no cluster answers at the address."""
    _check_reach(address)
    options: dict[str, Any] = {"address": address}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        if "RAY_AUTH_MODE" not in os.environ:
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        options |= {
            "num_cpus": 2, "include_dashboard": False, "_node_ip_address": "127.0.0.1",
            "object_store_memory": _STORE_BYTES,
        }  # fmt: skip
    import ray

    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        why = f"no Ray cluster: {_first_line(error)}"
        if address != LOCAL:
            why += "; one that asks for a token needs RAY_AUTH_MODE=token"
        raise TransientError(why, address) from error
    return ray


def _check_reach(address: str) -> None:
    """Ray itself waits for a minute and more where nobody answers."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if address == LOCAL:
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _REACH_S):
            return
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise TransientError(f"no Ray cluster: nobody answers ({why})", address) from error


def _serve(
    ray: Any, task: Any, stores: str, line: dict[str, Any], answers: IO[str], writing: Lock
) -> None:
    answer = answered(partial(_done, ray, task, stores, line))
    if set(answer) == {"product"}:
        answer = answer["product"]
    _write(answers, writing, {"id": line["id"], **answer})


def _done(ray: Any, task: Any, stores: str, line: dict[str, Any]) -> Product:
    """The answer that the task gave, as an object."""
    asked = json.dumps(line["asked"])
    reference = task.remote(source_digest(), stores, line["function"], asked)
    try:
        answer: Product = json.loads(ray.get(reference, timeout=_LONGEST_S))
    except ray.exceptions.GetTimeoutError as error:
        with suppress(ray.exceptions.RayError):
            ray.cancel(reference, force=True)
        raise TransientError(f"Ray did not end it within {_LONGEST_S:g} s") from error
    except ray.exceptions.RayError as error:
        raise TransientError(f"its Ray task died: {_first_line(error)}") from error
    return answer


def _write(answers: IO[str], writing: Lock, answer: dict[str, Any]) -> None:
    with writing:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


if __name__ == "__main__":
    main()
