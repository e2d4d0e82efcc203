"""The heavy steps on a Ray cluster, by its address; the light ones where they were.

Heavy are the film (`video`) and key frames through the encoder (`embedding`). The runner, its
leases and what an error means stay as they are: a task that dies is a `TransientError`, so its step
waits and is begun again, and only who has the clip's lease begins it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from cloud_ingest.mining.picture_encoder import PictureEncoder
from cloud_ingest.mining.pictures import Pictures
from cloud_ingest.settings import Settings
from cloud_ingest.steps.answering import Product, product_of, stores_line
from cloud_ingest.steps.computing import Computing
from cloud_ingest.steps.driver import LOCAL
from cloud_ingest.steps.far import COMPUTE, ENCODE, encode_request, vectors_of
from contracts.clip import ClipManifest
from contracts.errors import InputError, TransientError
from contracts.samples import Float32s

HEAVY = frozenset({"video"})
_SETTING = "LONGTAIL_STEPS_RAY"
_ADDRESS = re.compile(r"^(ray://)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$")
_READY_S, _LEAVE_S = 120.0, 15.0
_LINE_BYTES = 64 * 1024**2


class RayDriver:
    """The cluster at an address, through a driver process that is started when it is needed.

    Raises `InputError` where Ray is not installed, or the address is none.
    """

    def __init__(self, address: str, settings: Settings) -> None:
        if address != LOCAL and not _ADDRESS.match(address):
            raise InputError(f"an address is HOST:PORT, ray://HOST:PORT or {LOCAL!r}, not "
                             f"{address!r}", _SETTING)  # fmt: skip
        if importlib.util.find_spec("ray") is None:
            raise InputError("needs Ray: pip install 'longtail[ray]'", _SETTING)
        self._first = json.dumps({"address": address, "stores": json.loads(stores_line(settings))})
        self._starting = asyncio.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def ask(self, function: str, asked: dict[str, Any]) -> Product:
        """What a function of the cluster (`far`) makes of a question. Raises what it does, and
        `TransientError` where no cluster answers, or a task died.
        """
        async with self._starting:
            process = self._process or await self._started()
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": number, "function": function, "asked": asked})
        try:
            assert process.stdin is not None
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()
            return product_of(await answer)
        except OSError as error:
            raise TransientError(f"Ray's driver failed: {type(error).__name__}") from error
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """End the driver, and with it what it has running."""
        process, self._process = self._process, None
        if process is not None:
            await _ended(process)
        if self._reading is not None:
            await self._reading

    async def _started(self) -> Process:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cloud_ingest.steps.driver",
            stdin=PIPE, stdout=PIPE, env=environment, limit=_LINE_BYTES,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(self._first.encode() + b"\n")
            line = await asyncio.wait_for(process.stdout.readline(), _READY_S)
            if not line:
                raise TransientError(f"Ray's driver ended, with status {await process.wait()}")
            if "ready" not in (ready := json.loads(line)):
                product_of(ready)
        except TimeoutError as error:
            await _ended(process)
            raise TransientError(f"no Ray cluster within {_READY_S:g} s") from error
        except BaseException:
            await _ended(process)
            raise
        self._process = process
        self._reading = asyncio.create_task(self._read(process))
        return process

    async def _read(self, process: Process) -> None:
        """Hand answers on; where there are no more, all that wait have failed."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            answer = json.loads(line)
            waiting = self._waiting.get(answer["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        if self._process is process:
            self._process = None
        status = await process.wait()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(
                    TransientError(f"Ray's driver ended, with status {status}: its cluster is gone")
                )


def ray_driver(settings: Settings) -> RayDriver | None:
    """The cluster that the settings name, where this replica works on steps at all."""
    if settings.steps_ray is None or not settings.steps_workers:
        return None
    return RayDriver(settings.steps_ray, settings)


class OnRay:
    """Computing for the runner: heavy steps far away, the others by `near`."""

    def __init__(self, driver: RayDriver, near: Computing) -> None:
        self._driver = driver
        self._near = near

    async def __call__(self, name: str, clip_id: str, manifest: ClipManifest) -> Product:
        if name not in HEAVY:
            return await self._near(name, clip_id, manifest)
        asked = {"name": name, "clip_id": clip_id, "manifest": manifest.model_dump_json()}
        return await self._driver.ask(COMPUTE, asked)

    async def close(self) -> None:
        await self._driver.close()
        await self._near.close()


def encoding_by(ray: RayDriver | None, pictures: Pictures, encoder: PictureEncoder) -> Pictures:
    """Keeps clips' vectors; with a cluster, which has the encoder's file at the same path, key
    frames are encoded there.
    """
    if ray is None:
        return pictures

    async def elsewhere(frames: Sequence[bytes]) -> Float32s:
        asked = encode_request(encoder.path, encoder.space, frames)
        return vectors_of(await ray.ask(ENCODE, asked))

    return pictures.encoding(elsewhere)


async def _ended(process: Process) -> None:
    """By the end of its input, so that it can leave the cluster; else by force."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _LEAVE_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
