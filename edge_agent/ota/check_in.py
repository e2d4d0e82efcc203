"""One check-in: the signed manifest goes out, the answer and the attested time come back.

Guarantees: each question has a nonce of its own, and only the answer to it attests the time; an
answer that cannot be read proves nothing. What each refusal means is told by its error: 401 asks
for a new token, 403 is a vehicle that is not wanted, 409 a number that was used, the rest may work
later.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from contracts.check_in import CheckInAnswer
from contracts.clock import Clock
from contracts.errors import (
    ConflictError,
    InputError,
    LongtailError,
    RefusedError,
    TransientError,
)
from edge_agent.identity import Signer
from edge_agent.ota.book import OtaBook
from edge_agent.ota.fetcher import OtaHttp
from edge_agent.ota.manifest import (
    Figures,
    Sequence,
    VehicleFacts,
    bounded_text,
    build_check_in,
    sign,
)
from edge_agent.ota.ports import Runtime
from edge_agent.ota.repositories import Repositories
from edge_agent.ota.trusted_time import TrustedTime
from edge_agent.upload.transport import Reply

CHECK_INS_PATH = "/v1/check-ins"


@dataclass(slots=True)
class CheckInCaller:
    """Checks in. `time_problem` tells why the last answer attested no time; `fleet_scenes` is the
    digest of the list of known scenes that the last answer named, signed with the time.
    """

    signer: Signer
    facts: VehicleFacts
    clock: Clock
    http: OtaHttp
    runtime: Runtime
    book: OtaBook
    figures: Figures
    sequence: Sequence
    time: TrustedTime
    repositories: Repositories | None
    time_problem: str = ""
    fleet_scenes: str | None = None

    async def check_in(self, note: str, reasons: Mapping[str, str]) -> CheckInAnswer:
        """Tell how things are, with what keeps the updater from its work.

        Args:
            note: why the last update check failed.
            reasons: by slot, why an ordered release is not here yet.

        Raises `LongtailError` when the service did not take the manifest.
        """
        nonce = secrets.token_hex(16)
        # Ledger, spool and disk are asked off the event loop.
        number, body = await asyncio.to_thread(self._compose, nonce, note, reasons)
        asked_mono_ns = self.clock.mono_ns()

        async def attempt() -> Reply:
            nonlocal asked_mono_ns
            asked_mono_ns = self.clock.mono_ns()
            return await self.http.post(CHECK_INS_PATH, body)

        answer = _answer(await self.http.repeat(attempt))
        self.sequence.at_least(max(number, answer.sequence))
        self._take_time(answer, nonce, asked_mono_ns)
        return answer

    def _compose(self, nonce: str, note: str, reasons: Mapping[str, str]) -> tuple[int, str]:
        number = self.sequence.next()
        manifest = build_check_in(
            vehicle_id=self.signer.vehicle_id,
            facts=self.facts,
            clock=self.clock,
            sequence=number,
            nonce=nonce,
            state=self.book.state,
            report=self.runtime.report(),
            figures=self.figures,
            reasons=reasons,
            note=note,
        )
        return number, sign(bounded_text(manifest), self.signer).model_dump_json()

    def _take_time(self, answer: CheckInAnswer, nonce: str, asked_mono_ns: int) -> None:
        self.time_problem, self.fleet_scenes = "", None
        if self.repositories is None:
            return  # no key to check the time by
        if answer.time is None:
            self.time_problem = "the service attests no time"
            return
        root = self.repositories.director_root()
        try:
            statement = self.time.attest(
                answer.time, root, self.signer.vehicle_id, nonce, asked_mono_ns
            )
            self.fleet_scenes = statement.fleet_scenes
        except LongtailError as error:
            self.time_problem = str(error)


def _answer(reply: Reply) -> CheckInAnswer:
    if 200 <= reply.status < 300:
        try:
            return CheckInAnswer.model_validate_json(reply.body)
        except ValidationError as error:
            raise TransientError("the answer to a check-in cannot be read") from error
    reason = f"check-in: HTTP {reply.status}"
    if reply.status == 409:
        raise ConflictError(reason)
    if reply.status in (400, 413, 422):
        raise InputError(reason)
    raise RefusedError(reason)
