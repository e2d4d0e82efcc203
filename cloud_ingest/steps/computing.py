"""Where steps compute: in processes of their own, or in threads of this one.

A film takes seconds of a processor, most of it in code that shares this interpreter's lock with the
receiver. So the service has it done by child processes of the lowest priority: an upload waits
for none of it, and a clip that takes its reader down takes down a child. What goes between them is
a line of JSON each way. A child ends when its parent does, however that ends.

`InThreads` does the same within the process, for services whose stores are no settings' (tests).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Protocol

from cloud_ingest.ports import ObjectStore
from cloud_ingest.settings import Settings
from cloud_ingest.steps.answering import Product, product_of, stores_line
from cloud_ingest.steps.ports import ViewStore
from contracts.clip import ClipManifest
from contracts.errors import TransientError


@dataclass(frozen=True, slots=True)
class Material:
    """One clip to compute on. All of it blocks."""

    clip_id: str
    manifest: ClipManifest
    objects: ObjectStore
    views: ViewStore

    def open(self) -> IO[bytes]:
        """A seekable stream over the clip's bytes."""
        return self.objects.open(self.clip_id)


Compute = Callable[[Material], Product]


class Computing(Protocol):
    """Computes a step by its name. Raises what `Compute` does of `contracts.errors`, and
    `TransientError` for one that was cut off.
    """

    async def __call__(self, name: str, clip_id: str, manifest: ClipManifest) -> Product: ...

    async def close(self) -> None:
        """End what runs; it will be done again."""
        ...


def computations() -> Mapping[str, Compute]:
    """Those of all steps, by name."""
    from cloud_ingest.steps import frames, reading, video

    return {"read": reading.count, "frames": frames.make, "video": video.film}


class InThreads:
    """In the event loop's threads."""

    def __init__(self, objects: ObjectStore, views: ViewStore) -> None:
        self._objects = objects
        self._views = views

    async def __call__(self, name: str, clip_id: str, manifest: ClipManifest) -> Product:
        material = Material(clip_id, manifest, self._objects, self._views)
        return await asyncio.to_thread(computations()[name], material)

    async def close(self) -> None:
        return


class InProcesses:
    """In children that are started when they are needed, and kept."""

    def __init__(self, settings: Settings) -> None:
        self._first = stores_line(settings)
        self._idle: list[Process] = []
        self._busy: set[Process] = set()

    async def __call__(self, name: str, clip_id: str, manifest: ClipManifest) -> Product:
        child = self._idle.pop() if self._idle else await self._started()
        self._busy.add(child)
        asked = {"name": name, "clip_id": clip_id, "manifest": manifest.model_dump_json()}
        try:
            answer = await _exchange(child, json.dumps(asked))
        except BaseException:
            # Cut off in the middle: what it says next would be the answer to another question.
            await _ended(child)
            raise
        finally:
            self._busy.discard(child)
        self._idle.append(child)
        return product_of(answer)

    async def close(self) -> None:
        children, self._idle = [*self._idle, *self._busy], []
        for child in children:
            await _ended(child)

    async def _started(self) -> Process:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cloud_ingest.steps.child",
            stdin=PIPE, stdout=PIPE, env=environment,
        )  # fmt: skip
        assert child.stdin is not None
        child.stdin.write(self._first.encode() + b"\n")
        return child


async def _exchange(child: Process, question: str) -> Any:
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(question.encode() + b"\n")
        await child.stdin.drain()
        line = await child.stdout.readline()
    except (OSError, ValueError) as error:
        raise TransientError(f"the process of a step failed: {type(error).__name__}") from error
    if not line.endswith(b"\n"):
        raise TransientError(f"the process of a step ended, with status {await child.wait()}")
    return json.loads(line)


async def _ended(child: Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()
    await child.wait()
