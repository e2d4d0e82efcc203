"""One enrolled vehicle that sends rows of the stream: the agent's own key, client and session.

Guarantees: signatures, tokens, event keys and clips are valid and unlike any other's; nothing is
noted as acknowledged but by the receiver's readable answer, a clip only by its receipt.

What stands in: an identity speaks for many of the stream's vehicles; each clip has the size that
was asked for, in one part; a clip's event key is its own, apart from those of event records.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from contracts import SOFTWARE_VERSION
from contracts.check_in import BudgetUse, CheckIn, CheckInAnswer, Counters, QueueDepth
from contracts.check_in import RunningTrigger as Running
from contracts.clip import Cause, ClipManifest, Window
from contracts.clock import NS_PER_DAY, NS_PER_S, Clock, ClockQuality
from contracts.errors import TransientError
from contracts.ids import EventKey
from contracts.trigger_spec import LoadedSpec
from contracts.upload import EventRecord, UploadRequest
from edge_agent.identity import VehicleKey
from edge_agent.ledger.outbox import event_body
from edge_agent.ota.check_in import CHECK_INS_PATH
from edge_agent.ota.manifest import bounded_text, sign
from edge_agent.upload import Receiver, Transport, WireMeter
from edge_agent.upload.protocol import (
    Authenticate,
    Authenticated,
    Command,
    Declare,
    Event,
    Failed,
    FileChecked,
    Finish,
    Pause,
    ReadOffset,
    ReadStatus,
    Replied,
    Resumed,
    SendPart,
    Started,
    Uploaded,
    VerifyFile,
)
from edge_agent.upload.session import UploadSession
from kernels.clip.encoding import encode_log
from kernels.clip.writer import write_clip
from sim_fleet.scale.events import Kind
from sim_fleet.scale.load.report import Acknowledged
from sim_fleet.scale.stream import FIRST_DAY

_UTC_NS = FIRST_DAY * NS_PER_DAY
_CLIP_NS = 10 * NS_PER_S
_QUALITY = ClockQuality(synchronised=True)
_STEPS: dict[type[Command], Kind] = {
    Declare: Kind.CREATE, ReadOffset: Kind.OFFSET, SendPart: Kind.PART, ReadStatus: Kind.DONE
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the stream, as an identity needs it. `triggers` index the published specs."""

    kind: Kind
    time_s: float
    triggers: tuple[int, ...]


class Identity:
    """A vehicle of the pool.

    Args:
        name: its id. boot: of this run, so that its event keys are new.
        specs: the published ones, which its manifests say it runs.
        clip: where its clip of the moment is written.
    """

    def __init__(
        self, url: str, name: str, boot: str, specs: list[LoadedSpec], clip: Path,
        clip_bytes: int, clock: Clock, told: Acknowledged,
    ) -> None:  # fmt: skip
        self._key = VehicleKey(name, Ed25519PrivateKey.generate())
        self._transport = Transport(url, clock, WireMeter())
        self._receiver = Receiver(self._transport, self._key, clock, random.Random(name))
        self._clock, self._told = clock, told
        self._boot, self._specs, self._clip = boot, specs, clip
        self._filling = secrets.token_hex(clip_bytes // 2)
        self._sequence = 0
        self._moments = 0
        self._running = tuple(
            Running(trigger_id=each.spec.id, version=each.spec.version, digest=each.digest,
                    origin="built_in", state="active")
            for each in specs
        )  # fmt: skip

    async def enrol(self) -> None:
        """Present the key and earn a token. Raises `LongtailError` when it is not let in."""
        await self._receiver.enrol(None)
        found = await self._receiver.authenticate(renew=True)
        if not isinstance(found, Authenticated):
            raise TransientError(f"no token: {found}", self._key.vehicle_id)

    async def close(self) -> None:
        await self._transport.close()

    async def do(self, row: Row) -> None:
        """Send what the row stands for; a clip's `CREATE` is its whole upload."""
        begin_ns = self._clock.mono_ns()
        match row.kind:
            case Kind.AUTHENTICATE:
                found = await self._receiver.authenticate(renew=True)
                if isinstance(found, Authenticated):
                    self._told.note(Kind.AUTHENTICATE, self._since(begin_ns))
                else:
                    self._refuse(Kind.AUTHENTICATE, found)
            case Kind.CHECK_IN:
                await self._check_in(row)
            case Kind.EVENT:
                await self._event(row)
            case Kind.CREATE:
                await self._upload(row)

    async def _check_in(self, row: Row) -> None:
        self._sequence += 1
        utc_ns = _UTC_NS + round(row.time_s * NS_PER_S)
        manifest = CheckIn(
            vehicle_id=self._key.vehicle_id, boot_id=self._boot, sequence=self._sequence,
            nonce=secrets.token_hex(16), utc_ns=utc_ns, mono_ns=utc_ns, clock=_QUALITY,
            triggers=self._running, queue=QueueDepth(clips=3, size_bytes=15_000_000),
            budget=BudgetUse(day=FIRST_DAY, clips=3, size_bytes=15_000_000, clips_per_day=300,
                             bytes_per_day=30 * 10**9),
            counters=Counters(driven_m=12.0 * self._sequence, driving_s=float(self._sequence),
                              fires=self._moments, starts=1),
        )  # fmt: skip
        text = bounded_text(manifest)
        body = sign(text, self._key).model_dump_json()
        begin_ns = self._clock.mono_ns()
        try:
            reply = await self._transport.call(
                "POST", CHECK_INS_PATH, body, self._receiver.bearer()
            )
            if not 200 <= reply.status < 300:
                self._told.refuse(Kind.CHECK_IN, reply.status, "")
                return
            answer = CheckInAnswer.model_validate_json(reply.body)
        except (TransientError, ValidationError) as error:
            self._told.refuse(Kind.CHECK_IN, None, type(error).__name__)
            return
        if answer.sequence == self._sequence:
            self._told.note(Kind.CHECK_IN, self._since(begin_ns))
            self._told.check_ins[self._key.vehicle_id] = self._sequence, text
        else:
            self._told.refuse(Kind.CHECK_IN, reply.status, "another sequence")

    async def _event(self, row: Row) -> None:
        event, cause = self._moment(row)
        record = EventRecord(
            event=event, utc_ns=_UTC_NS + cause.fired_mono_ns, cause=cause, outcome="captured"
        )
        body = event_body(record)
        begin_ns = self._clock.mono_ns()
        found = await self._receiver.post_event(body)
        if isinstance(found, Replied) and 200 <= found.status < 300:
            self._told.note(Kind.EVENT, self._since(begin_ns))
            key = (self._key.vehicle_id, event.text(), cause.trigger_id)
            self._told.records.append(key)
        else:
            self._refuse(Kind.EVENT, found)

    async def _upload(self, row: Row) -> None:
        request = self._write_clip(row)
        session = UploadSession(request)
        command = session.step(Started())
        while not isinstance(command, Finish):
            begin_ns = self._clock.mono_ns()
            event = await self._ask(command, request)
            kind = _STEPS.get(type(command))
            if kind is not None:
                if isinstance(event, Replied) and 200 <= event.status < 300:
                    self._told.note(kind, self._since(begin_ns))
                else:
                    self._refuse(kind, event)
            command = session.step(event)
        if isinstance(command.outcome, Uploaded):
            self._told.clips.append((self._key.vehicle_id, request.clip_id))

    async def _ask(self, command: Command, request: UploadRequest) -> Event:
        """Carry out one command of the session, as the agent's uploader does on a free link."""
        match command:
            case Authenticate(renew):
                return await self._receiver.authenticate(renew)
            case Declare():
                return await self._receiver.declare(request)
            case ReadOffset(url):
                return await self._receiver.read_offset(url)
            case SendPart():
                return await self._receiver.send_part(command, self._clip, lambda: None)
            case ReadStatus():
                return await self._receiver.read_status(request.clip_id)
            case Pause(delay_s, _):
                await self._clock.sleep_ns(round(delay_s * NS_PER_S))
                return Resumed()
            case VerifyFile():
                return FileChecked(True)
        raise TypeError(f"not a request: {command}")

    def _moment(self, row: Row) -> tuple[EventKey, Cause]:
        """A new event of the row's first trigger; no two of a boot share a nanosecond."""
        self._moments += 1
        loaded = self._specs[row.triggers[0]]
        at_ns = round(row.time_s) * NS_PER_S + self._moments
        event = EventKey(
            vehicle_id=self._key.vehicle_id, boot_id=self._boot, start_mono_ns=at_ns,
            end_mono_ns=at_ns,
        )  # fmt: skip
        cause = Cause(
            trigger_id=loaded.spec.id, trigger_version=loaded.spec.version,
            spec_digest=loaded.digest, kind=loaded.spec.kind, fired_mono_ns=at_ns,
            start_mono_ns=at_ns, end_mono_ns=at_ns, score=1.0, safety=loaded.is_safety,
        )  # fmt: skip
        return event, cause

    def _write_clip(self, row: Row) -> UploadRequest:
        event, cause = self._moment(row)
        window = Window(
            start_mono_ns=event.start_mono_ns, end_mono_ns=event.start_mono_ns + _CLIP_NS
        )
        manifest = ClipManifest(
            event=event, drive_id=f"drive-{self._boot}", software_version=SOFTWARE_VERSION,
            stream="triggered", causes=(cause,), requested=window, actual=window,
            utc_minus_mono_ns=_UTC_NS, clock=_QUALITY,
        )  # fmt: skip
        loaded = self._specs[row.triggers[0]]
        filling = encode_log(window.start_mono_ns, _UTC_NS, "scale", self._filling)
        with self._clip.open("wb") as stream:
            written = write_clip(
                stream, manifest, [filling], {f"{loaded.spec.id}.yaml": loaded.text}
            )
        return UploadRequest(
            clip_id=written.clip_id, size_bytes=written.size_bytes,
            part_digests=written.part_digests, event=event, window=window,
            trigger_ids=(cause.trigger_id,), safety=cause.safety,
        )  # fmt: skip

    def _refuse(self, kind: Kind, event: Event) -> None:
        match event:
            case Replied(status=status, reason=reason):
                self._told.refuse(kind, status, reason.partition(":")[0])
            case Failed(reason):
                self._told.refuse(kind, None, reason.partition(":")[0])
            case _:
                self._told.refuse(kind, None, type(event).__name__)

    def _since(self, begin_ns: int) -> float:
        return (self._clock.mono_ns() - begin_ns) / NS_PER_S
