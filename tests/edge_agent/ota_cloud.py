"""The cloud that serves both signed repositories over real HTTP, with attacks as data.

The receiver simulator with check-ins beside it. `OtaCloud.doctored` replaces the bytes of one
URL, `cut_after_bytes` breaks the connection in the middle of a target, `replaced` serves a whole
earlier state again.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from tuf.api.metadata import Timestamp

from contracts.check_in import CHECK_IN_CONTEXT, CheckIn, CheckInAnswer, SignedCheckIn
from contracts.clock import NS_PER_S, Clock
from contracts.ota import TIME_CONTEXT, SignedTime, TimeStatement
from tests.edge_agent.ota_repository import (
    FIRST,
    FIRST_UTC_NS,
    ImageRepository,
    SignedRepository,
    VehicleRepository,
)
from tests.edge_agent.receiver_simulator import ReceiverSimulator, drop, model, problem, unpad


@dataclass
class Remembered:
    """A whole earlier state of a cloud."""

    image: dict[str, bytes]
    image_roots: dict[str, bytes]
    director: dict[str, bytes]
    director_roots: dict[str, bytes]


class OtaCloud(ReceiverSimulator):
    """The receiver simulator with both repositories and check-ins."""

    def __init__(self, vehicle_id: str, clock: Clock, *, demo: bool = False) -> None:
        super().__init__(faulty=())
        self.clock = clock
        self.image = ImageRepository(demo=demo)
        self.director = VehicleRepository(vehicle_id)
        self.director.order()
        self.check_ins: list[CheckIn] = []
        self.doctored: dict[str, bytes | Callable[[bytes], bytes]] = {}
        self.missing: set[str] = set()
        self.stalled: set[str] = set()
        self.cut_after_bytes: int | None = None
        self.without_ranges = False
        self.target_bytes = 0
        self.on_target: Callable[[], None] = lambda: None
        self.fetched: list[str] = []
        self.attests = True
        self.poll_s: float | None = None
        self.check_in_status: list[int] = []
        self.utc_offset_ns = FIRST_UTC_NS - clock.mono_ns()
        self.statement_changes: dict[str, object] = {}
        self.announced: int | None = None
        self.replaced: Remembered | None = None
        self.scene_list: Callable[[str], web.Response] | None = None

    def now_utc_ns(self) -> int:
        return self.utc_offset_ns + self.clock.mono_ns()

    def pass_days(self, days: float) -> None:
        """Let the services' time go on alone; the vehicle's clock is its own."""
        self.utc_offset_ns += int(days * 86_400) * NS_PER_S
        now = FIRST + dt.timedelta(seconds=(self.now_utc_ns() - FIRST_UTC_NS) // NS_PER_S)
        self.image.now = self.director.now = now

    def remember(self) -> Remembered:
        return Remembered(
            *(
                copy.copy(held)
                for held in (
                    self.image.served, self.image.roots, self.director.served, self.director.roots
                )
            )
        )  # fmt: skip

    def application(self) -> web.Application:
        application = super().application()
        application.add_routes(
            [
                web.post("/v1/check-ins", self._check_in),
                web.get("/v1/ota/image/metadata/{name}", self._image_metadata),
                web.get("/v1/ota/image/targets/{path:.+}", self._target),
                web.get("/v1/ota/director/{vehicle_id}/metadata/{name}", self._director_metadata),
                web.get("/v1/fleet-scenes/{digest}", self._scene_list),
            ]
        )
        return application

    async def _check_in(self, request: web.Request) -> web.Response:
        if self.check_in_status:
            return problem(self.check_in_status.pop(0), "scripted")
        message = SignedCheckIn.model_validate_json(await request.read())
        manifest = CheckIn.model_validate_json(message.manifest)
        try:
            self.keys[manifest.vehicle_id].verify(
                unpad(message.signature), CHECK_IN_CONTEXT + message.manifest.encode()
            )
        except (InvalidSignature, KeyError):
            return problem(401, "bad_signature")
        self.check_ins.append(manifest)
        newest = max(one.sequence for one in self.check_ins)
        return model(
            CheckInAnswer(
                sequence=newest,
                assignment_counter=(
                    self.director.counter if self.announced is None else self.announced
                ),
                poll_s=self.poll_s,
                time=self.signed_time(manifest) if self.attests else None,
            )
        )

    def signed_time(self, manifest: CheckIn) -> SignedTime:
        statement = TimeStatement(
            vehicle_id=manifest.vehicle_id, nonce=manifest.nonce, utc_ns=self.now_utc_ns()
        ).model_copy(update=self.statement_changes)
        text = statement.model_dump_json()
        signer = self.director.signers[Timestamp.type]
        signature = signer.sign(TIME_CONTEXT + text.encode())
        return SignedTime(statement=text, keyid=signature.keyid, signature=signature.signature)

    async def _scene_list(self, request: web.Request) -> web.Response:
        if self.scene_list is None:
            return problem(404, "absent")
        return self.scene_list(request.match_info["digest"])

    async def _image_metadata(self, request: web.Request) -> web.StreamResponse:
        old = self.replaced
        held = None if old is None else {**old.image, **old.image_roots}
        return await self._metadata(request, "image", self.image, held)

    async def _director_metadata(self, request: web.Request) -> web.StreamResponse:
        old = self.replaced
        held = None if old is None else {**old.director, **old.director_roots}
        return await self._metadata(request, "director", self.director, held)

    async def _metadata(
        self,
        request: web.Request,
        which: str,
        repository: SignedRepository,
        replaced: dict[str, bytes] | None,
    ) -> web.StreamResponse:
        name = request.match_info["name"]
        key = f"{which}/{name}"
        self.fetched.append(key)
        if key in self.stalled:
            return await trickle(request)
        content = repository.file(name) if replaced is None else replaced.get(name)
        content = self._doctor(key, content)
        if content is None or key in self.missing:
            return problem(404, "no_such_file")
        return web.Response(body=content, content_type="application/json")

    def _doctor(self, key: str, content: bytes | None) -> bytes | None:
        change = self.doctored.get(key)
        if change is None:
            return content
        if isinstance(change, bytes):
            return change
        return None if content is None else change(content)

    async def _target(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.fetched.append(path)
        if path in self.stalled:
            return await trickle(request)
        folder, _, name = path.rpartition("/")
        digest, _, base = name.partition(".")
        content = self.image.files.get(f"{digest}.{folder}/{base}")
        content = self._doctor(f"{folder}/{base}", content)
        if content is None:
            return problem(404, "no_such_file")
        begin, end = 0, len(content)
        ranged = request.http_range
        partial = "Range" in request.headers and not self.without_ranges
        if partial:
            begin, end = ranged.start or 0, min(ranged.stop or len(content), len(content))
        headers = {"Content-Length": str(end - begin)}
        if partial:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        await response.prepare(request)
        body = content[begin:end]
        left = self.cut_after_bytes
        if left is not None and left < len(body):
            self.cut_after_bytes = None
            await response.write(body[:left])
            self.target_bytes += left
            await asyncio.sleep(0)
            return drop(request)  # type: ignore[return-value]
        if left is not None:
            self.cut_after_bytes = left - len(body)
        await response.write(body)
        self.target_bytes += len(body)
        self.on_target()
        await response.write_eof()
        return response


async def trickle(request: web.Request) -> web.StreamResponse:
    """An answer that begins and never ends."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b" ")
    await asyncio.Event().wait()
    return response
