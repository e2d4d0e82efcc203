"""The fleet's list of known scenes: fetched when the director names a new one.

Guarantees: what lies in `fleet-scenes.json` is a list that the director named in its signed answer
to a question of this vehicle, verified by its digest and read to its end before it took the old
one's place, which stands until then. A list that cannot be had, or read, changes nothing. It is
fetched on links without cost only: without it too much is kept, never too little.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from contracts.errors import CorruptError, LongtailError
from contracts.scenes import MAX_LIST_BYTES, Known
from edge_agent.disk import Disk, replace_file
from edge_agent.ota.fetcher import OtaHttp, StatusError
from edge_agent.ports import LinkMonitor
from edge_agent.upload.policy import is_metered

PATH = "/v1/fleet-scenes"
_LIST = TypeAdapter(tuple[Known, ...])
log = structlog.get_logger(__name__)


class FleetSceneList:
    """The file that `clip_gate` reads.

    Args:
        path: `<state>/fleet-scenes.json`.
    """

    def __init__(self, path: Path, disk: Disk, http: OtaHttp, links: LinkMonitor) -> None:
        self._path = path
        self._disk = disk
        self._http = http
        self._links = links
        self._held: str | None = None
        self.problem = ""

    async def follow(self, digest: str | None) -> None:
        """Have the list that the director named. Raises nothing: `problem` tells."""
        self.problem = ""
        if digest is None or digest == self._held or is_metered(self._links.link()):
            return
        try:
            if await asyncio.to_thread(self._digest) != digest:
                content = await self._http.read(f"{PATH}/{digest}", MAX_LIST_BYTES)
                await asyncio.to_thread(self._take, content, digest)
        except (LongtailError, StatusError, OSError) as error:
            self.problem = f"the fleet's scenes: {error}"
            log.info("fleet_scenes_not_taken", reason=str(error))
            return
        self._held = digest

    def _digest(self) -> str | None:
        try:
            return hashlib.sha256(self._path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return None

    def _take(self, content: bytes, digest: str) -> None:
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptError("is not the list that was signed", digest)
        try:
            listed = len(_LIST.validate_json(content))
        except ValidationError as error:
            raise CorruptError(f"cannot be read: {error.error_count()} faults", digest) from error
        replace_file(self._disk, self._path, content)
        log.info("fleet_scenes_taken", digest=digest, scenes=listed)
