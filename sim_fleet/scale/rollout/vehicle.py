"""One vehicle of a fleet that is driven through a rollout: its key, its word, what it holds.

It does what the agent does with the service: earns tokens, checks in with a signed manifest,
and when the answer's counter is above its own fetches root, timestamp, snapshot and targets of its
director repository and believes them only by the director's signatures, its own id and a counter
that has risen. Then it runs the release, or refuses it, and its next check-in says so.

Not here: the release's file itself, whose digest the targets name; the agent's updater fetches that
from the image repository.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from contracts.check_in import CheckIn, CheckInAnswer, Counters, RejectedRelease, RunningTrigger
from contracts.clock import Clock, ClockQuality
from contracts.errors import LongtailError, RefusedError, TransientError
from contracts.ota import NOTE_FIELD, DirectorNote, TargetNote, parse_slot, release_of_path
from contracts.upload import Challenge, TokenAnswer
from edge_agent.identity import Token, VehicleKey, answer_challenge, token_of
from edge_agent.ota.manifest import bounded_text, sign
from sim_fleet.scale.rollout.line import Line

_QUALITY = ClockQuality(synchronised=True)
_DRIVEN_M, _DRIVEN_S = 900.0, 60.0
"""Between two check-ins."""


@dataclass(slots=True)
class Traffic:
    """What all vehicles have asked for."""

    requests: int = 0
    check_ins: int = 0
    metadata_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """The release in one slot, by the director's word."""

    slot: str
    version: int
    digest: str
    attempt: int


class DrivenVehicle:
    """Args: `is_unfit`: it refuses each release at its self-test."""

    __slots__ = ("_counter", "_key", "_sequence", "_token", "held", "is_unfit", "vehicle_id")

    def __init__(self, vehicle_id: str, *, is_unfit: bool) -> None:
        self.vehicle_id = vehicle_id
        self.is_unfit = is_unfit
        self.held: Held | None = None
        self._key = VehicleKey(vehicle_id, Ed25519PrivateKey.generate())
        self._token: Token | None = None
        self._sequence = 0
        self._counter = 0

    @property
    def public_key(self) -> str:
        return self._key.public_key

    async def poll(self, line: Line, clock: Clock, root: Root, traffic: Traffic) -> None:
        """Check in; fetch what is new, take it up, and say so.

        Raises `LongtailError` for whatever the service should not have answered.
        """
        if await self._check_in(line, clock, traffic) <= self._counter:
            return
        await self._update(line, clock, root, traffic)
        await self._check_in(line, clock, traffic)

    async def _check_in(self, line: Line, clock: Clock, traffic: Traffic) -> int:
        """The counter of the newest order."""
        self._sequence += 1
        text = bounded_text(self._manifest(clock))
        body = sign(text, self._key).model_dump_json().encode()
        content = await self._ask(line, clock, traffic, "POST", "/v1/check-ins", body)
        answer = CheckInAnswer.model_validate_json(content)
        traffic.check_ins += 1
        if answer.sequence != self._sequence:
            raise RefusedError(f"sequence {answer.sequence}, not {self._sequence}", self.vehicle_id)
        return answer.assignment_counter

    def _manifest(self, clock: Clock) -> CheckIn:
        held, sequence = self.held, self._sequence
        running: tuple[RunningTrigger, ...] = ()
        rejected: tuple[RejectedRelease, ...] = ()
        if held is not None and self.is_unfit:
            rejected = (
                RejectedRelease(slot=held.slot, digest=held.digest, attempt=held.attempt,
                                stage="self_test", reason="this vehicle is unfit"),
            )  # fmt: skip
        elif held is not None:
            running = (
                RunningTrigger(trigger_id=parse_slot(held.slot).name, version=held.version,
                               digest=held.digest, origin="ota", state="active"),
            )  # fmt: skip
        return CheckIn(
            vehicle_id=self.vehicle_id, boot_id="driven", sequence=sequence,
            nonce=secrets.token_hex(16), utc_ns=clock.utc_ns(), mono_ns=clock.mono_ns(),
            clock=_QUALITY, assignment_counter=self._counter, triggers=running, rejected=rejected,
            counters=Counters(
                driven_m=_DRIVEN_M * sequence, driving_s=_DRIVEN_S * sequence,
                connected_driving_s=_DRIVEN_S * sequence, starts=1,
            ),
        )  # fmt: skip

    async def _update(self, line: Line, clock: Clock, root: Root, traffic: Traffic) -> None:
        """Refresh the director's word as TUF has it, and hold what it names."""

        async def fetch(name: str, *, may_lack: bool = False) -> bytes:
            path = f"/v1/ota/director/{self.vehicle_id}/metadata/{name}"
            content = await self._ask(line, clock, traffic, "GET", path, may_lack=may_lack)
            traffic.metadata_bytes += len(content)
            return content

        if await fetch(f"{root.version + 1}.root.json", may_lack=True):
            raise RefusedError("a root that nobody has signed", self.vehicle_id)
        timestamp = Metadata[Timestamp].from_bytes(await fetch("timestamp.json"))
        root.verify_delegate("timestamp", timestamp.signed_bytes, timestamp.signatures)
        version = timestamp.signed.snapshot_meta.version
        snapshot = Metadata[Snapshot].from_bytes(await fetch(f"{version}.snapshot.json"))
        root.verify_delegate("snapshot", snapshot.signed_bytes, snapshot.signatures)
        version = snapshot.signed.meta["targets.json"].version
        targets = Metadata[Targets].from_bytes(await fetch(f"{version}.targets.json"))
        root.verify_delegate("targets", targets.signed_bytes, targets.signatures)
        if targets.signed.version != version:
            raise RefusedError("another version than the snapshot names", self.vehicle_id)
        self._take_up(targets.signed)

    def _take_up(self, targets: Targets) -> None:
        note = DirectorNote.model_validate(targets.unrecognized_fields[NOTE_FIELD])
        if note.vehicle_id != self.vehicle_id:
            raise RefusedError(f"the director speaks to {note.vehicle_id}", self.vehicle_id)
        if note.release_counter <= self._counter:
            raise RefusedError("the release counter has not risen", self.vehicle_id)
        held = []
        for path, file in targets.targets.items():
            release = release_of_path(path)
            told = TargetNote.model_validate(file.custom)
            held.append(Held(told.slot, release.version, file.hashes["sha256"], told.attempt))
        if len(held) > 1:
            raise RefusedError("more than was rolled out", self.vehicle_id)
        self.held = held[0] if held else None
        self._counter = note.release_counter

    async def _ask(
        self, line: Line, clock: Clock, traffic: Traffic, method: str, path: str,
        body: bytes = b"", *, may_lack: bool = False,
    ) -> bytes:  # fmt: skip
        """A request under a token that holds; empty for what may lack and does."""
        if self._token is None or not self._token.is_fresh(clock.mono_ns()):
            self._token = await self._earn_token(line, clock, traffic)
        traffic.requests += 1
        status, content = await line.ask(method, path, body, self._token.text)
        if may_lack and status == 404:
            return b""
        return _good(status, content, path)

    async def _earn_token(self, line: Line, clock: Clock, traffic: Traffic) -> Token:
        asked_ns = clock.mono_ns()
        path = "/v1/auth/challenge"
        body = json.dumps({"vehicle_id": self.vehicle_id}).encode()
        challenge = Challenge.model_validate_json(_good(*await line.ask("POST", path, body), path))
        path = "/v1/auth/token"
        body = answer_challenge(self._key, challenge).model_dump_json().encode()
        answer = TokenAnswer.model_validate_json(_good(*await line.ask("POST", path, body), path))
        traffic.requests += 2
        return token_of(answer, asked_ns)


def _good(status: int, content: bytes, path: str) -> bytes:
    if 200 <= status < 300:
        return content
    error: type[LongtailError] = TransientError if status >= 500 else RefusedError
    raise error(f"{status}: {content[:200]!r}", path)
