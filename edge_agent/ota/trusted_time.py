"""What time it is, as far as security may rest on it.

Guarantees: once the director has attested the time on this run, trusted time is what it said plus
monotonic time since the question was sent, whatever the wall clock shows: one set back revives
nothing that has expired, one set forward locks nothing out. Before that it is the wall clock, but
never below the floor. The floor is kept over restarts and rises only by attested times, never by
the wall clock, so a wrong wall clock leaves no trace.

An attestation counts from the question, not from the answer: one that was held up on the way
makes trusted time run ahead by at most a request's time limit, never behind. It may lie below
the floor: the nonce proves that it is new, so the floor was wrong then.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from pydantic import ValidationError
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Signature
from tuf.api.metadata import Root, Timestamp

from contracts.clock import NS_PER_S, Clock
from contracts.errors import CorruptError, RefusedError
from contracts.ota import TIME_CONTEXT, SignedTime, TimeStatement
from edge_agent.disk import Disk, replace_file

FLOOR_STEP_NS = 600 * NS_PER_S
"""The floor is written again only when it rises by this much: durable writes are rare."""
_LATEST_NS = 253_370_764_800 * NS_PER_S
"""The year 9999, the last that a calendar here knows."""


class TrustedTime:
    """The floor's file and this run's attestation.

    A floor file that cannot be read counts as none, which `problem` tells.
    """

    def __init__(self, path: Path, disk: Disk, clock: Clock) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._attested: tuple[int, int] | None = None
        self.problem = ""
        self._floor_utc_ns = self._read_floor()

    def _read_floor(self) -> int:
        try:
            floor = json.loads(self._path.read_bytes())["floor_utc_ns"]
            if not isinstance(floor, int) or not 0 <= floor <= _LATEST_NS:
                raise CorruptError("not a time", str(self._path))
        except FileNotFoundError:
            return 0
        except (
            OSError, ValueError, KeyError, TypeError, RecursionError, CorruptError
        ) as error:  # fmt: skip
            self.problem = f"the time's floor cannot be read: {error}"
            return 0
        return floor

    @property
    def is_attested(self) -> bool:
        return self._attested is not None

    @property
    def floor_utc_ns(self) -> int:
        return self._floor_utc_ns

    def now_utc_ns(self) -> int:
        if self._attested is not None:
            utc_ns, mono_ns = self._attested
            return min(_LATEST_NS, utc_ns + self._clock.mono_ns() - mono_ns)
        return min(_LATEST_NS, max(self._clock.utc_ns(), self._floor_utc_ns))

    def now(self) -> dt.datetime:
        """As python-tuf compares it with expiry."""
        return dt.datetime.fromtimestamp(self.now_utc_ns() // NS_PER_S, dt.UTC)

    def attest(
        self, signed: SignedTime, root: Root, vehicle_id: str, nonce: str, asked_mono_ns: int
    ) -> TimeStatement:
        """Take the director's answer to `nonce`, which was asked at `asked_mono_ns`; returns it.

        Raises:
            RefusedError: it is not signed by a key of the root's timestamp role, is for another
                vehicle, or answers another question.
            ExhaustedError, TransientError: the floor could not be kept; the time counts.
        """
        statement = _verified(signed, root)
        if statement.vehicle_id != vehicle_id:
            raise RefusedError(f"time: the answer is for vehicle {statement.vehicle_id!r}")
        if statement.nonce != nonce:
            raise RefusedError("time: the answer is not to this question")
        if not 0 < statement.utc_ns < _LATEST_NS:
            raise RefusedError(f"time: {statement.utc_ns} ns is no time")
        self._attested = (statement.utc_ns, asked_mono_ns)
        if statement.utc_ns >= self._floor_utc_ns + FLOOR_STEP_NS:
            content = json.dumps({"schema_version": 1, "floor_utc_ns": statement.utc_ns})
            replace_file(self._disk, self._path, content.encode() + b"\n")
            self._floor_utc_ns = statement.utc_ns
        return statement


def _verified(signed: SignedTime, root: Root) -> TimeStatement:
    key = root.keys.get(signed.keyid)
    if key is None or signed.keyid not in root.roles[Timestamp.type].keyids:
        raise RefusedError("time: not signed by a key of the director's timestamp role")
    message = TIME_CONTEXT + signed.statement.encode()
    try:
        key.verify_signature(Signature(signed.keyid, signed.signature), message)
    except (UnverifiedSignatureError, VerificationError, ValueError) as error:
        raise RefusedError("time: the signature is wrong") from error
    try:
        return TimeStatement.model_validate_json(signed.statement)
    except ValidationError as error:
        raise RefusedError("time: the statement cannot be read") from error
